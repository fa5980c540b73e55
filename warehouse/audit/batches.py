"""Invariants of what was loaded: meta.batches and marts.data_quality."""

from warehouse.audit.invariant import Invariant

_BATCHES = "meta.batches"
_QUALITY = "marts.data_quality"

INVARIANTS = (
    Invariant(
        id="20_rows_accounted_for",
        numbers=(20,),
        table=_BATCHES,
        description="Rows extracted are rows accepted + quarantined + superseded, for every batch.",
        advice="Rows were lost or counted twice on the way in: load the source again, and report the batch.",
        sql=f"""
            SELECT batch_id, source, "table", rows_extracted, rows_accepted, rows_quarantined, rows_superseded
            FROM {_BATCHES}
            WHERE (rows_accepted + rows_quarantined + rows_superseded = rows_extracted
                AND least(rows_accepted, rows_quarantined, rows_superseded) >= 0) IS NOT TRUE""",
    ),
    Invariant(
        id="20_refused_rows_kept",
        numbers=(20,),
        table=_BATCHES,
        description="The quarantine holds as many rows of a batch as the batch says were refused.",
        advice="Refused rows were lost: load the source again.",
        sql=f"""
            WITH refused AS (
                SELECT batch_id, count(DISTINCT (file, row)) AS rows_in_quarantine FROM staging.quarantine
                GROUP BY batch_id
            )
            SELECT batch_id, source, "table", rows_quarantined, rows_in_quarantine
            FROM {_BATCHES} FULL JOIN refused USING (batch_id)
            WHERE rows_quarantined IS DISTINCT FROM coalesce(rows_in_quarantine, 0)""",
    ),
    Invariant(
        id="20_batches_are_complete",
        numbers=(20,),
        table=_QUALITY,
        description="Every source gave what it promised, no less than before, and no day is missing.",
        advice="Deliver the files again, or correct the control file. Months stay open until the source is complete; "
        "where the rows are gone for good, a later complete batch settles it.",
        sql=f"SELECT source, table_name, incomplete FROM {_QUALITY} WHERE incomplete IS NOT NULL",
        blocks=False,
    ),
    Invariant(
        id="20_data_quality_accounts_for_rows",
        numbers=(20,),
        table=_QUALITY,
        description="Every source and table is reported with the rows of its newest batch, and these add up.",
        advice="Materialize marts/data_quality again after the sources are loaded.",
        sql=f"""
            WITH newest AS (
                SELECT * FROM {_BATCHES}
                QUALIFY load_seq = max(load_seq) OVER (PARTITION BY source, "table")
            )
            SELECT source, table_name, q.batch_id, b.batch_id AS newest_batch_id, q.rows_extracted, q.rows_accepted,
                q.rows_quarantined, q.rows_superseded
            FROM {_QUALITY} AS q FULL JOIN (SELECT *, "table" AS table_name FROM newest) AS b USING (source, table_name)
            WHERE (q.batch_id = b.batch_id AND q.rows_extracted = b.rows_extracted
                AND q.rows_accepted + q.rows_quarantined + q.rows_superseded = b.rows_extracted) IS NOT TRUE""",
    ),
)
