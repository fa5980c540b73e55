"""Whether a batch holds all that it should: a gap keeps months open. Definitions section 11, completeness."""

from collections.abc import Sequence
from datetime import date, timedelta

LOOK_BACK_DAYS = 35
_WEEKS_BEFORE = 4
_MAY_SHRINK = 0.1
"""Share of a full list that may be gone since the last one; more looks like an export that broke off."""


def shrunk(rows: int, rows_before: int) -> str | None:
    """What is wrong where a full list holds many fewer rows than the last one."""
    return f"{rows:,} rows, where there were {rows_before:,} before" if rows < rows_before * (1 - _MAY_SHRINK) else None


def missing_days(days: Sequence[date], as_of: date) -> str | None:
    """What is wrong where a day of the last week has no row, though that weekday had some in the 4 weeks before."""
    known = set(days)
    before = (as_of - timedelta(days=ago) for ago in range(1, LOOK_BACK_DAYS - 7 * _WEEKS_BEFORE + 1))
    missing = sorted(
        day
        for day in before
        if day not in known and all(day - timedelta(weeks=week) in known for week in range(1, _WEEKS_BEFORE + 1))
    )
    return f"no rows of {', '.join(map(str, missing))}" if missing else None
