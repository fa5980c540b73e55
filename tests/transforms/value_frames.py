"""Small frames that the tests of costs, revenue and lifetime value share."""

from datetime import date
from typing import Any

import polars as pl

from schemas.contract import polars_schema
from schemas.facts import AccountDay
from transforms.money import RATE_SCALE
from transforms.slices import DIMENSIONS

CUSTOMER_COUNTS = (
    "opening_customers",
    "customers_new",
    "intraperiod_new_customers",
    "customers_lost",
    "closing_customers",
)


def month_rates(**by_currency: int) -> pl.DataFrame:
    """The same rate in every month of 2023 to 2027, in reporting minor units per `RATE_SCALE` native ones."""
    months = pl.date_range(date(2023, 1, 1), date(2027, 12, 1), "1mo", eager=True)
    return pl.concat(
        pl.DataFrame({"currency": [currency] * len(months), "month": months, "rate": [rate] * len(months)})
        for currency, rate in sorted(({"USD": RATE_SCALE} | by_currency).items())
    )


def attributes(**segments: str) -> pl.DataFrame:
    """Account = segment; all other members are `x`."""
    return pl.DataFrame(
        [
            {"account_id": account, "month": date(2020, 1, 1), **dict.fromkeys(DIMENSIONS, "x"), "segment": segment}
            for account, segment in segments.items()
        ],
        schema={"account_id": pl.String, "month": pl.Date, **dict.fromkeys(DIMENSIONS, pl.String)},
    )


def account_days(*stays: tuple[str, date, date | None]) -> pl.DataFrame:
    """Accounts that are customers from one day to before another."""
    rows = []
    for account, start, end in stays:
        for day, before, after in ((start, "none", "paying"), (end, "paying", "none")):
            if day is not None:
                rows.append(
                    dict.fromkeys(polars_schema(AccountDay))
                    | {"account_id": account, "day": day, "opening_state": before, "closing_state": after}
                    | {"ever_paid_before": before != "none", "first_paid_date": start}
                )
    return pl.DataFrame(rows, schema=polars_schema(AccountDay)).sort("account_id", "day")


def customers(*rows: dict[str, Any]) -> pl.DataFrame:
    """Rows as `customer_days` returns them: of all customers in a month of 30 days, unless said otherwise."""
    plain = dict.fromkeys((*CUSTOMER_COUNTS, "customer_days"), 0) | {
        "grain": "month",
        "is_complete": True,
        "dimension": "all",
        "member": "all",
        "days": 30,
    }
    return pl.DataFrame(
        [plain | row for row in rows],
        schema={
            "grain": pl.String,
            "period_start": pl.Date,
            "period_end": pl.Date,
            "is_complete": pl.Boolean,
            "dimension": pl.String,
            "member": pl.String,
            **dict.fromkeys(CUSTOMER_COUNTS, pl.Int64),
            "days": pl.Int64,
            "customer_days": pl.Int64,
        },
    ).with_columns(
        period_end=pl.coalesce(
            "period_end",
            pl.when(pl.col("grain") == "year")
            .then(pl.col("period_start").dt.offset_by("1y"))
            .otherwise(pl.col("period_start").dt.offset_by("1mo")),
        )
    )
