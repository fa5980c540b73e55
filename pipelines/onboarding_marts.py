"""Onboarding of a run: from staged milestones and outcomes to facts and marts."""

import duckdb
import polars as pl

from pipelines.accounts import identities
from pipelines.core import Progress, account_members
from pipelines.run import Run, staged, write
from transforms import identity
from transforms.onboarding import milestones_due, onboarding, onboardings, outcomes_due

ONBOARDING_TABLES = ("facts.onboarding", "facts.milestone", "facts.outcome", "marts.onboarding")


def build_onboarding(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> dict[str, pl.DataFrame]:
    """Rebuilds the onboarding of each account, milestones, outcomes and the mart on them."""
    progress("onboarding")
    who = identities(con, run)
    sources = [staged(con, run, table) for table in ("milestones", "outcomes", "contracts")]
    refs = pl.concat([frame.select("source", ref="account_id") for frame in sources])
    mapping = identity.account_of_refs(refs, who.mapping, who.known)
    reached, agreed, contracts = (
        identity.without_excluded(
            identity.resolve(frame.with_columns(account_ref="account_id"), mapping, "account_id")
        )[0]
        for frame in sources
    )
    accounts = onboardings(reached, contracts, run.as_of)
    milestones = milestones_due(reached, run.as_of)
    outcomes = outcomes_due(agreed, run.as_of)
    attributes = account_members(con)
    frames = (
        accounts,
        milestones,
        outcomes,
        onboarding(accounts, milestones, outcomes, attributes, run.policy, run.as_of),
    )
    return {name: write(con, run, name, frame) for name, frame in zip(ONBOARDING_TABLES, frames, strict=True)}
