"""Identity tables of the sample company: which ids mean which account, and which accounts do not count."""

import numpy as np
import polars as pl

from pipelines.sample.billing import NO_REFERENCE_SHARE, TWICE_IN_CRM_SHARE, UNMAPPED_SHARE, reference_lot
from pipelines.sample.extract import Company, code, word
from pipelines.sample.surveys import MAPPED_BELOW, UNMAPPED_BELOW, respondent_lot

ORGANISATION_SHARE = 0.15
"""Share of accounts whose tickets carry the support tool's own organisation id."""
_REASONS = ("test", "internal", "partner")


def identity_map(company: Company) -> pl.DataFrame:
    """One row per id that is not the account's own: customers without a reference, moved ones, merged accounts."""
    lot = reference_lot(company, company.accounts["account"])
    who = company.accounts
    moved = (
        company.history.changes.filter(pl.col("customer") == 1)
        .group_by("account")
        .agg(known=pl.col("effective").min())
        .sort("account")
    )
    parts = [
        who.filter((lot >= UNMAPPED_SHARE) & (lot < NO_REFERENCE_SHARE)).select(
            "account", source_id=code("cus_"), known=pl.col("sign_up")
        ),
        moved.select("account", source_id=code("cuz_"), known=pl.col("known") + 2),
        who.filter(lot >= 1.0 - TWICE_IN_CRM_SHARE).select(
            "account", source_id=code("D"), known=pl.col("sign_up") + 75
        ),
        who.filter(has_organisation(company, who["account"])).select(
            "account", source_id=code("org_"), known=pl.col("sign_up")
        ),
        _respondents(company),
    ]
    return pl.concat(parts).with_columns(source=pl.lit("*"), account_id=code("A"))


def _respondents(company: Company) -> pl.DataFrame:
    """Respondents whose survey tool does not know their account."""
    customers = company.accounts.filter(pl.col("paid_from") >= 0)
    parts = []
    for person in range(3):
        lot = respondent_lot(company, customers["account"].to_numpy(), np.full(len(customers), person))
        mapped = customers.filter(lot.is_between(UNMAPPED_BELOW, MAPPED_BELOW))
        parts.append(mapped.select("account", source_id=code("r") + f"-{person}", known=pl.col("paid_from")))
    return pl.concat(parts)


def has_organisation(company: Company, accounts: pl.Series) -> pl.Series:
    """Whether an account's tickets carry an organisation id."""
    return pl.Series(company.dice.uniform("organisation id", accounts.to_numpy()) < ORGANISATION_SHARE)


def excluded_accounts(company: Company) -> pl.DataFrame:
    """Accounts of tests, of the company itself and of partners."""
    lot = company.dice.uniform("does not count", company.accounts["account"].to_numpy())
    chosen = lot < 0.006
    reason = np.searchsorted([0.0025, 0.004], lot[chosen])
    return company.accounts.filter(pl.Series(chosen)).with_columns(
        account_id=code("A"), reason=word(_REASONS, reason), known=pl.col("sign_up")
    )
