"""The sample company: raw extracts of every source table, made in memory and the same for the same seed."""

from collections.abc import Callable, Collection
from datetime import date

import polars as pl

from pipelines.sample import billing, crm, finance, identity, invoicing, support, surveys, usage
from pipelines.sample.days import day_number
from pipelines.sample.dice import Dice
from pipelines.sample.dirt import repeated, wrong_rows
from pipelines.sample.extract import Company, extract
from pipelines.sample.population import population
from pipelines.sample.stories import story_rows
from pipelines.sample.subscriptions import histories
from schemas.sources import CONTRACTS

_TABLES: dict[str, Callable[[Company], pl.DataFrame]] = {
    "customers": billing.customers,
    "prices": billing.prices,
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
    "surveys": surveys.surveys,
    "survey_invitations": surveys.survey_invitations,
    "survey_responses": surveys.survey_responses,
    "tickets": support.tickets,
    "ticket_replies": support.ticket_replies,
    "resource_ratings": support.resource_ratings,
    "seats": usage.seats,
    "daily_use": usage.daily_use,
    "feature_entitlements": usage.feature_entitlements,
    "costs": finance.costs,
    "fx_rates": finance.fx_rates,
    "identity_map": identity.identity_map,
    "excluded_accounts": identity.excluded_accounts,
}


def sample_company(
    accounts: int = 2_000, seed: int = 7, as_of: date = date(2026, 9, 30), tables: Collection[str] | None = None
) -> dict[str, pl.DataFrame]:
    """Extracts of the sample company as of a day: one frame per source table, with its contract's columns and types.

    The rows are raw: a few are late, corrected, repeated or wrong on purpose. The frame of an earlier day holds what
    was known then. `tables` limits the work to some tables, which is how a very large company fits into memory.
    """
    dice = Dice(seed)
    people = population(accounts, dice)
    company = Company(people, dice, histories(people, dice, as_of), day_number(as_of))
    return {
        name: pl.concat(
            extract(rows, contract, company.as_of)
            for rows in (repeated(name, _TABLES[name](company), company), story_rows(contract), wrong_rows(contract))
        )
        for name, contract in CONTRACTS.items()
        if tables is None or name in tables
    }
