"""Support of a run: from staged tickets and resource ratings to facts and marts."""

import duckdb
import polars as pl

from pipelines.accounts import identities
from pipelines.core import Progress, account_members, customer_counts
from pipelines.run import Run, read, staged, write
from transforms import identity
from transforms.customer_days import customer_days
from transforms.support import resource_ratings, support, support_by_type, tickets

SUPPORT_TABLES = ("facts.ticket", "marts.support", "marts.support_by_type", "marts.resource_ratings")


def build_support(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> dict[str, pl.DataFrame]:
    """Rebuilds the tickets and the marts on them."""
    progress("tickets and their answers")
    who = identities(con, run)
    sources = [staged(con, run, table) for table in ("tickets", "resource_ratings")]
    refs = pl.concat([frame.select("source", ref="account_ref") for frame in sources])
    mapping = identity.account_of_refs(refs, who.mapping, who.known)
    asked, viewed = (identity.resolve(frame, mapping, "account_ref") for frame in sources)
    attributes = account_members(con)
    facts = tickets(asked, staged(con, run, "ticket_replies"), run.policy, run.as_of)
    customers = customer_days(read(con, "facts.account_day"), customer_counts(con), attributes, run.as_of)
    frames = (
        facts,
        support(facts, customers, attributes, run.policy, run.as_of),
        support_by_type(facts, attributes, run.policy, run.as_of),
        resource_ratings(identity.without_excluded(viewed)[0], attributes, run.policy, run.as_of),
    )
    return {name: write(con, run, name, frame) for name, frame in zip(SUPPORT_TABLES, frames, strict=True)}
