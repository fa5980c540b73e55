"""A private warehouse file of a small sample company, built by the pipeline as a run builds it.

The sample company's billing system does not state its own MRR; here one does, right for some subscriptions.
"""

from datetime import date
from pathlib import Path

import duckdb

from pipelines import loading
from pipelines.config import SampleSource, load_settings
from pipelines.run import Run
from pipelines.steps import STEPS
from schemas.policy import Policy
from warehouse.store import prepare

AS_OF = date(2026, 9, 17)
"""In the middle of a week, a month, a quarter and a year: all these periods are open."""


def build(folder: Path, accounts: int = 120) -> Path:
    """Builds every table of the warehouse in a new file in the folder."""
    source = SampleSource(kind="sample", accounts=accounts, seed=7)
    run = Run(AS_OF, Policy())
    path = folder / "warehouse.duckdb"
    with duckdb.connect(path) as con:
        prepare(con)
        loading.extract("sample", source, folder, folder / "raw", AS_OF)
        loading.stage(con, "sample", source, folder / "raw", AS_OF)
        _state_mrr(con, folder)
        for step in STEPS:
            step.build(con, run, _ignore)
    return path


VENDOR = """
sources:
  vendor:
    kind: files
    tables:
      vendor_mrr:
        files: vendor_mrr.csv
        columns: {is_whole_history: {const: true}}
"""
STATEMENTS = """
    SELECT change_id AS statement_id, customer_id, subscription_id, item_id, effective_at AS stated_at,
        CASE WHEN status IN ('active', 'past_due', 'paused') THEN
            CAST(round(coalesce(s.unit_amount_minor, p.unit_amount_minor) * coalesce(quantity, 1)
                / coalesce(p.interval_count, 1) *
                CASE p.interval WHEN 'year' THEN 1 / 12 WHEN 'quarter' THEN 1 / 3 ELSE 1 END) AS BIGINT)
        ELSE 0 END + CASE WHEN md5(subscription_id) LIKE '%f' THEN 300 ELSE 0 END AS mrr_minor,
        p.currency
    FROM staging.subscription_changes AS s JOIN staging.prices AS p USING (price_id)
    WHERE s.valid_to_seq IS NULL AND s.deleted_on IS NULL AND withdrawn_at IS NULL AND md5(subscription_id) > '5'
"""


def _state_mrr(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """A vendor that states two of three subscriptions, gross, with pauses, and for some 3.00 a month too much."""
    con.sql(STATEMENTS).write_csv(str(folder / "vendor_mrr.csv"))
    (folder / "sources.yaml").write_text(VENDOR)
    source = load_settings(folder).sources.sources["vendor"]
    loading.extract("vendor", source, folder, folder / "raw", AS_OF)
    loading.stage(con, "vendor", source, folder / "raw", AS_OF)


def _ignore(message: str) -> None:
    """Progress is of no interest here."""
