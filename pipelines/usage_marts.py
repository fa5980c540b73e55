"""Product use of a run: from staged seats and daily use to facts and marts."""

from datetime import date

import duckdb
import polars as pl

from pipelines.accounts import Identities, identities
from pipelines.core import Progress, account_members, customer_counts
from pipelines.run import Run, read, staged, write
from transforms import identity
from transforms.adoption import Sources, Sums, adoption, adoption_sums, feature_adoption, usage_days

ADOPTION_TABLES = ("facts.usage_day", "marts.adoption", "marts.feature_adoption")
ACCOUNTS_PER_SHARD = 10_000


def build_adoption(con: duckdb.DuckDBPyConnection, run: Run, progress: Progress) -> dict[str, pl.DataFrame]:
    """Rebuilds the days of use and the marts on them, in shards of whole accounts."""
    progress("product use")
    who = identities(con, run)
    use, seats = (_resolved(staged(con, run, table), who) for table in ("daily_use", "seats"))
    usage = usage_days(use, run.as_of)
    first = usage["day"].min()
    first_use = first if isinstance(first, date) else None
    nothing = Sums(pl.DataFrame(), pl.DataFrame())
    sums = nothing if first_use is None else _sums(con, run, use, seats, first_use)
    frames = (
        usage,
        adoption(sums.adoption, customer_counts(con), first_use, run.policy, run.as_of),
        feature_adoption(sums.features, first_use, run.policy, run.as_of),
    )
    return {name: write(con, run, name, frame) for name, frame in zip(ADOPTION_TABLES, frames, strict=True)}


def _resolved(rows: pl.DataFrame, who: Identities) -> pl.DataFrame:
    mapping = identity.account_of_refs(rows.select("source", ref="account_ref"), who.mapping, who.known)
    return identity.without_excluded(identity.resolve(rows, mapping, "account_ref"))[0]


def _sums(con: duckdb.DuckDBPyConnection, run: Run, use: pl.DataFrame, seats: pl.DataFrame, first_use: date) -> Sums:
    attributes, entitlements = account_members(con), staged(con, run, "feature_entitlements")
    changed = con.sql("SELECT DISTINCT account_id FROM facts.account_day").pl()
    ids = pl.concat([frame["account_id"] for frame in (use, seats, changed)]).unique().sort()
    parts = []
    for start in range(0, max(ids.len(), 1), ACCOUNTS_PER_SHARD):
        accounts = ids.slice(start, ACCOUNTS_PER_SHARD)
        days, states = (read(con, name, accounts) for name in ("facts.account_day", "facts.subscription_state"))
        known = Sources(use, seats, days, states, attributes).of(accounts)
        parts.append(adoption_sums(known, entitlements, first_use, run.as_of))
    return Sums.add_up(parts)
