"""Contract of marts.kpi_values: every KPI of the catalogue in one long table."""

import polars as pl

from schemas import catalogue
from schemas.contract import Contract
from schemas.marts import Column, count, mart, period_columns, text

KpiValues: type[Contract] = mart(
    "KpiValues",
    "marts.kpi_values",
    ("kpi", "grain", "dimension", "member", "part", "period_start"),
    """One row per KPI, period, dimension, member and part: the value, and what it is made of.

    Holds the headline rows of every KPI (`marts.kpi_catalogue` says which) by month, quarter and year; days, weeks and
    native currencies, and the members of curves by age, are in the KPI's own table. Members of an additive KPI add up
    to the total, as do their numerators; of a rate, add up numerators and denominators and divide again. Definitions
    sections 0 and 17.
    """,
    [
        text("kpi", "Identifier of the KPI, as in marts.kpi_catalogue."),
        text("grain", "Length of the period: month, quarter, year.", catalogue.LONG_GRAINS),
        Column(
            "period_start", pl.Date, "First day of the period; of a cohort KPI that in which the cohort first paid."
        ),
        Column("period_end", pl.Date, "First day after the period; of a cohort KPI that at whose end it is measured."),
        *period_columns(catalogue.LONG_GRAINS)[3:],
        text("dimension", "What accounts or surveys are told apart by; `all` for the total."),
        text("member", "Member of the dimension; `all` for dimension all, `unassigned` where nothing is known."),
        text(
            "part", "Issue type, feature, instrument, age, or churn type and reason; `all` for the total, or without."
        ),
        text("currency", "ISO 4217 currency of the money in the row; null where there is none.", nullable=True),
        Column("value", pl.Float64, "The KPI in its unit; money in major units.", nullable=True),
        Column("numerator", pl.Int64, "Numerator of a rate, or the exact integer behind a sum.", nullable=True),
        Column("denominator", pl.Int64, "Denominator of a rate; null for others.", nullable=True),
        count("n", "Number of cases; null where the KPI's table has none.", nullable=True),
        Column("small_n", pl.Boolean, "True where n is below the policy's `small_n`; null without n.", nullable=True),
        Column("not_observed", pl.Boolean, "True where what the value rests on was not recorded: then it is null."),
    ],
)
