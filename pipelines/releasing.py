"""The end of a run: what was audited is published, and with it the months that the run has closed become final."""

from datetime import datetime
from pathlib import Path

import duckdb

from pipelines import closing_marts, core, health_marts, journal, records, reuse
from pipelines.journal import RunRecord
from pipelines.run import Run
from pipelines.steps import STEPS
from schemas.contract import column_specs, key_columns
from schemas.tables import PUBLISHED
from warehouse.publish import Release, publish
from warehouse.views import VIEWS, create_views

_MERGED = (*core.ACCOUNT_FACTS, "marts.segments", health_marts.DRIVER)
"""Tables of which only what has changed is written, so their rows are stored in no order."""


class OtherTables(ValueError):
    """Tables to be published were built for another day or policy, by another program, or by a run that failed."""


def refuse_other_tables(data_dir: Path, run: Run, record: RunRecord) -> None:
    """`OtherTables` where other runs have built tables otherwise: steps may be materialized one by one, on any day."""
    missing = {step.name for step in STEPS} - {step.step for step in record.steps}
    for former in reversed(journal.records(data_dir)) if missing else ():
        theirs = {step.step: step.failure for step in former.steps if step.step in missing}
        is_broken = former.outcome == "unfinished" or (theirs and (former.failed_checks or any(theirs.values())))
        built_for = (former.as_of, former.policy_version, former.program)
        is_other = theirs and built_for != (run.as_of, run.policy.version, record.program)
        if former.run_id != record.run_id and (is_broken or is_other):
            break
        missing -= set(theirs)
    if missing:
        raise OtherTables(
            f"{', '.join(sorted(missing))}: built for another day or policy, by another version of the program, or by "
            "a run that failed. Run the whole job"
        )


def publish_run(con: duckdb.DuckDBPyConnection, run: Run, record: RunRecord, now: datetime) -> Release:
    """Publishes all tables of an audited run as a new release, and notes it in the report of the run.

    Where nothing was built, only the list of runs is new. ValueError for a run without a data folder.
    """
    if run.data_dir is None:
        raise ValueError("a run without a data folder has nowhere to publish to")
    name = f"{run.as_of.isoformat()}-{now:%Y%m%dT%H%M%S%f}"
    same = reuse.reusable(con, run)
    records.note_run(con, run, record, name, now, reused=same is not None)
    closing_marts.prepare(con, run, name)
    create_views(con)
    published = publish(
        con,
        run.data_dir / "published",
        name,
        [*PUBLISHED, *(view.name for view in VIEWS)],
        as_of=run.as_of,
        policy_version=run.policy.version,
        published_at=now,
        without=personal_columns(),
        sort={table: key_columns(PUBLISHED[table]) for table in _MERGED},
        same_but_for=(same.release, [records.RUNS]) if same else None,
    )
    record.release = name
    closing_marts.settle(con, run)
    if same is None:
        # The release that is the same kept its own when it was published.
        health_marts.keep_history(con, run)
    if {step.name for step in STEPS} <= {step.step for step in record.steps if step.failure is None}:
        # Tables that another run has built may hold other rows than are staged by now.
        reuse.remember(con, run, name, record)
    return published


def personal_columns() -> dict[str, list[str]]:
    """Columns with personal data, by published table: they stay in the private warehouse."""
    return {
        table: [spec.name for spec in column_specs(contract) if spec.personal] for table, contract in PUBLISHED.items()
    }
