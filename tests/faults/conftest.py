"""The small companies of `tests/pipelines`, for runs that are disturbed from outside."""

from tests.pipelines.conftest import (
    company,
    copy_of,
    kpis,
    no_settings_from_outside,
    quick_dagster,
    six_customers,
    tables,
)

__all__ = ["company", "copy_of", "kpis", "no_settings_from_outside", "quick_dagster", "six_customers", "tables"]
