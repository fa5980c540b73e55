"""The sample company: raw extracts of every source table, made in memory and the same for the same seed."""

from collections.abc import Callable, Iterator
from datetime import date

import numpy as np
import polars as pl

from pipelines.sample import billing, crm, finance, identity, invoicing, support, surveys, usage
from pipelines.sample.catalogue import PRICES
from pipelines.sample.days import day_number, month_number, month_of
from pipelines.sample.dice import Dice
from pipelines.sample.dirt import repeated, wrong_rows
from pipelines.sample.extract import Company, extract
from pipelines.sample.population import population
from pipelines.sample.stories import story_rows
from pipelines.sample.subscriptions import LOOK_AHEAD, histories
from schemas.sources import CONTRACTS

SLICE = 50_000
"""Accounts that are made at a time: it bounds the memory that making them takes."""

_BY_ACCOUNT: dict[str, Callable[[Company], pl.DataFrame]] = {
    "customers": billing.customers,
    "subscription_changes": billing.subscription_changes,
    "discounts": billing.discounts,
    "invoices": invoicing.invoices,
    "invoice_lines": invoicing.invoice_lines,
    "payment_attempts": invoicing.payment_attempts,
    "credit_notes": invoicing.credit_notes,
    "refunds": invoicing.refunds,
    "usage_charges": invoicing.usage_charges,
    "accounts": crm.accounts,
    "contracts": crm.contracts,
    "opportunities": crm.opportunities,
    "milestones": crm.milestones,
    "outcomes": crm.outcomes,
    "loss_reasons": crm.loss_reasons,
    "survey_invitations": surveys.survey_invitations,
    "survey_responses": surveys.survey_responses,
    "tickets": support.tickets,
    "ticket_replies": support.ticket_replies,
    "resource_ratings": support.resource_ratings,
    "seats": usage.seats,
    "daily_use": usage.daily_use,
    "identity_map": identity.identity_map,
    "excluded_accounts": identity.excluded_accounts,
}


DELIVERED = tuple(name for name in CONTRACTS if name != "vendor_mrr")
"""The tables of the sample company: its billing system does not state its own MRR."""


def sample_company(accounts: int = 2_000, seed: int = 7, as_of: date = date(2026, 9, 30)) -> dict[str, pl.DataFrame]:
    """Extracts of the sample company as of a day: one frame per source table, with its contract's columns and types.

    The rows are raw: a few are late, corrected, repeated or wrong on purpose. The frame of an earlier day holds what
    was known then.
    """
    parts = list(sample_slices(accounts, seed, as_of))
    return {name: pl.concat(part[name] for part in parts if name in part) for name in DELIVERED}


def sample_slices(accounts: int, seed: int, as_of: date) -> Iterator[dict[str, pl.DataFrame]]:
    """The tables of `sample_company` in parts, for companies that are larger than memory.

    Each part holds all rows of `SLICE` accounts; the last one the hand-placed accounts, the wrong rows and the tables
    that are not about accounts.
    """
    dice, today = Dice(seed), day_number(as_of)
    people = population(accounts, dice)
    months = month_number(as_of) + LOOK_AHEAD + 1
    running = np.zeros(months, np.int64)
    for first in range(0, accounts, SLICE):
        last = min(first + SLICE, accounts)
        history = histories(people.part(first, last), dice, as_of)
        running += np.bincount(history.months["month"].to_numpy(), minlength=months)
        company = Company(people, first, last, dice, history, today)
        yield {
            name: extract(repeated(name, make(company), company), CONTRACTS[name], today)
            for name, make in _BY_ACCOUNT.items()
        }
    new = np.bincount(month_of(people.paid_from[people.paid_from >= 0]), minlength=months)
    whole = {
        "prices": PRICES,
        "surveys": surveys.surveys(),
        "feature_entitlements": usage.feature_entitlements(),
        "fx_rates": finance.fx_rates(dice, today),
        "costs": finance.costs(dice, today, new, running),
    }
    yield {
        name: pl.concat(
            extract(rows, contract, today)
            for rows in (*((whole[name],) if name in whole else ()), story_rows(contract), wrong_rows(contract))
        )
        for name, contract in CONTRACTS.items()
        if name in DELIVERED
    }
