"""Renewals of a run: from staged contract terms to facts and marts."""

import duckdb
import polars as pl

from pipelines.accounts import identities
from pipelines.core import Progress, account_members, exchange_rates
from pipelines.run import Run, staged, write
from transforms import identity
from transforms.renewals import contract_terms, renewals

RENEWAL_TABLES = ("facts.contract_term", "marts.renewals")


def build_renewals(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> dict[str, pl.DataFrame]:
    """Rebuilds the contract terms and the marts on them."""
    progress("contract terms")
    who = identities(con, run)
    contracts = staged(con, run, "contracts")
    mapping = identity.account_of_refs(contracts.select("source", ref="account_id"), who.mapping, who.known)
    counted, _ = identity.without_excluded(identity.resolve(contracts, mapping, "account_id"))
    terms = contract_terms(counted, run.policy, run.as_of)
    attributes = account_members(con)
    needed = counted.select("currency", month=pl.col("term_start").dt.truncate("1mo"))
    rates = exchange_rates(con, run, needed)
    frames = (
        terms,
        renewals(terms, attributes, run.policy, run.as_of, rates),
    )
    return {name: write(con, run, name, frame) for name, frame in zip(RENEWAL_TABLES, frames, strict=True)}
