"""Contracts of the marts: the KPI tables that readers query, and the tables about the data and the runs themselves.

A KPI row is one slice: period x dimension x member (definitions section 0). Rates are declared once, in the catalogue;
`mart` gives each its three columns: value, numerator and denominator. Money is in annualised minor units of `currency`
(`*_minor`) and, for reading, in its major units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import new_class
from typing import Any

import polars as pl

from schemas import catalogue
from schemas.contract import Contract, Instant, optional, required
from schemas.facts import PERIOD_GRAINS

DIMENSIONS = ("all", "segment", "plan", "country", "industry", "channel", "owner", "tenure")
BASES = ("native", "reporting")
SERIES = ("net", "gross")

_UNITS = "annualised minor units of `currency`"
_LEVELS = {
    "arr": "net ARR (after recurring discounts)",
    "arr_list": "ARR at contract price",
    "arr_committed": "committed ARR (net less what is scheduled to end or shrink)",
    "arr_past_due": "past-due ARR within grace, a part of net ARR",
    "arr_renewal_grace": "ARR of ended terms awaiting renewal, a part of net ARR",
}
_CATEGORIES = {
    "new": "ARR of accounts that pay for the first time",
    "expansion": "ARR that paying accounts added",
    "contraction": "ARR that accounts gave up while they went on paying",
    "churn": "ARR of accounts that stopped paying altogether",
    "reactivation": "ARR of accounts that pay again after they had stopped",
}
_CHURN_TYPES = ("voluntary", "involuntary", "unknown")
_PARTS = {
    "seat": "units (seats)",
    "price": "price or plan",
    "discount": "discounts",
    "product_added": "products added",
    "product_removed": "products removed",
}


@dataclass(frozen=True)
class Column:
    """One column of a mart. Measures are columns like any other; rates come from `rate_columns`."""

    name: str
    dtype: Any
    description: str
    nullable: bool = False
    rules: Mapping[str, Any] = field(default_factory=dict)


def mart(name: str, table: str, key: Sequence[str], doc: str, columns: Sequence[Column]) -> type[Contract]:
    """A contract of these columns and, at the end, `policy_version`. `doc` begins with the grain."""
    columns = [*columns, Column("policy_version", pl.String, "Version of the policy under which the row was computed.")]
    namespace = {
        column.name: (optional if column.nullable else required)(column.description, **column.rules)
        for column in columns
    }
    namespace["__annotations__"] = {column.name: column.dtype for column in columns}
    namespace["__doc__"] = doc
    namespace["__module__"] = __name__
    contract: type[Contract] = new_class(
        name, (Contract,), {"table": table, "key": tuple(key)}, lambda body: body.update(namespace)
    )
    return contract


def count(name: str, description: str, *, nullable: bool = False) -> Column:
    """A number of things, 0 or more."""
    return Column(name, pl.Int64, description, nullable, {"ge": 0})


def minor(name: str, description: str, *, nullable: bool = False) -> Column:
    """An exact amount of money."""
    return Column(name, pl.Int64, f"{description}; {_UNITS}.", nullable)


def text(name: str, description: str, among: Sequence[str] = (), *, nullable: bool = False) -> Column:
    """A text, one of `among` if given."""
    return Column(name, pl.String, description, nullable, {"isin": list(among)} if among else {})


def period_columns(grains: Sequence[str]) -> list[Column]:
    """Which period a row is about."""
    return [
        text("grain", f"Length of the period: {', '.join(grains)}.", grains),
        Column("period_start", pl.Date, "First day of the period, in the reporting time zone."),
        Column("period_end", pl.Date, "First day after the period."),
        Column("is_complete", pl.Boolean, "False for the current period, which the run's `as_of` cuts short."),
    ]


def basis_columns() -> list[Column]:
    """In which money a row is."""
    return [
        text("basis", "native: the ledger of one currency; reporting: all currencies, converted.", BASES),
        text("currency", "ISO 4217 currency of the row's money."),
    ]


def slice_columns(dimensions: Sequence[str] = DIMENSIONS) -> list[Column]:
    """Which accounts a row is about: members are frozen at the start of the month in which the period begins."""
    return [
        text("dimension", f"What accounts are told apart by: {', '.join(dimensions)}.", dimensions),
        text("member", "Member of the dimension; `all` for dimension all, `unassigned` where nothing is known."),
    ]


def rate_columns(table: str, *, nullable: bool = False) -> list[Column]:
    """Value, numerator and denominator of every rate that the catalogue lists for a table, in its order.

    `nullable`: numerators and denominators may be null, where a rate does not apply to a row.
    """
    columns = []
    for kpi in catalogue.rates_of(table):
        assert kpi.ratio and kpi.numerator and kpi.denominator
        value = f"{kpi.meaning.en} Formula: {kpi.formula.en}. {kpi.null_rule.en}"
        top = f"Numerator of {kpi.column}: {kpi.ratio.numerator_text.en}."
        bottom = f"Denominator of {kpi.column}: {kpi.ratio.denominator_text.en}."
        columns += [
            Column(kpi.column, pl.Float64, value, nullable=True),
            Column(kpi.numerator, pl.Int64, top, nullable),
            Column(kpi.denominator, pl.Int64, bottom, nullable),
        ]
    return columns


def size_columns(cases: str) -> list[Column]:
    """How many cases stand behind the rates of a row."""
    return [
        count("n", f"Cases behind the rates: {cases}."),
        Column("small_n", pl.Boolean, "True where n is below the policy's `small_n`: read the rates with care."),
    ]


def _in_every_language(name: str, description: str) -> list[Column]:
    """A text of the catalogue, one column per language."""
    languages = {"en": "English", "es": "Spanish", "pt": "Portuguese"}
    return [text(f"{name}_{code}", f"{description} in {language}.") for code, language in languages.items()]


def _movement_measures() -> list[Column]:
    return [
        *(minor(f"{name}_arr_minor", what) for name, what in _CATEGORIES.items()),
        minor("retained_change_arr_minor", "Change of the accounts with an opening above 0: NRR less 1, as an amount"),
        minor("kept_change_arr_minor", "Losses of the accounts with an opening above 0: GRR less 1, as an amount"),
        minor(
            "intraperiod_arr_minor",
            "ARR that came in the period from accounts that are customers at neither end (0 in the net series)",
        ),
        minor("churn_logo_lost_arr_minor", "Churn of accounts that are no longer customers"),
        minor("churn_logo_kept_arr_minor", "Churn of accounts that stay customers: paused or temporarily free"),
        minor("reactivation_logo_kept_arr_minor", "Reactivation of accounts that had stayed customers"),
        minor("reactivation_logo_returned_arr_minor", "Reactivation of accounts that had left"),
        *(minor(f"churn_{kind}_arr_minor", f"Churn of lost customers, type {kind}") for kind in _CHURN_TYPES),
        *(
            minor(f"{category}_{part}_arr_minor", f"Part of {category} that comes from {what}")
            for part, what in _PARTS.items()
            for category in ("expansion", "contraction")
        ),
        minor("fx_impact_arr_minor", "Change of the opening that comes from exchange rates (0 on native rows)"),
    ]


def _sides(side: str, when: str) -> list[Column]:
    return [
        *(minor(f"{side}_{level}_minor", f"{what[0].upper()}{what[1:]} {when}") for level, what in _LEVELS.items()),
        count(f"{side}_paying_customers", f"Accounts with net ARR above 0 {when}; not to be added over currencies."),
    ]


MrrMovements = mart(
    "MrrMovements",
    catalogue.MOVEMENTS,
    ("grain", "series", "basis", "currency", "dimension", "member", "period_start"),
    """One row per series, basis, currency, slice and period: opening, movements and closing of ARR.

    opening + fx_impact + new + reactivation + expansion - contraction - churn = closing, exactly, in every row.
    Definitions section 3.
    """,
    [
        period_columns(catalogue.EVERY_GRAIN)[0],
        text("series", "net: opening against closing of the period; gross: the sum of daily movements.", SERIES),
        *basis_columns(),
        *slice_columns(),
        *period_columns(catalogue.EVERY_GRAIN)[1:],
        *_sides("opening", "at the start of the period"),
        *_movement_measures(),
        *_sides("closing", "at the end of the period"),
        Column("opening_mrr", pl.Float64, "MRR at the start of the period, major units of `currency` per month."),
        *(
            Column(kpi.column, pl.Float64, f"{kpi.meaning.en} Major units of `currency` per month.")
            for kpi in catalogue.of_table(catalogue.MOVEMENTS)
        ),
        Column("closing_mrr", pl.Float64, "MRR at the end of the period, major units of `currency` per month."),
        Column("closing_arr", pl.Float64, "ARR at the end of the period, major units of `currency` per year."),
    ],
)

Retention = mart(
    "Retention",
    catalogue.RETENTION,
    ("grain", "basis", "currency", "dimension", "member", "period_start"),
    """One row per basis, currency, slice and period: customers and all churn and retention rates.

    Customers belong to no currency: their columns are null on native rows. Revenue rates use constant currency: the
    opening is at the closing rate. Definitions section 4.
    """,
    [
        *period_columns(catalogue.EVERY_GRAIN),
        *basis_columns(),
        *slice_columns(),
        count("opening_customers", "S: customers at the start of the period.", nullable=True),
        count("customers_new", "N: customers at the end that are new in the period.", nullable=True),
        count("customers_returned", "R: customers at the end that came back in the period.", nullable=True),
        count("customers_lost", "C: customers at the start that are none at the end.", nullable=True),
        count("closing_customers", "E = S - C + N + R: customers at the end of the period.", nullable=True),
        *(
            count(f"customers_lost_{kind}", f"Customers lost, churn type {kind}.", nullable=True)
            for kind in _CHURN_TYPES
        ),
        count(
            "intraperiod_new_customers", "I: customers won for the first time and lost in the period.", nullable=True
        ),
        count(
            "intraperiod_churned_customers",
            "Customers that came (new or returned) and left within the period.",
            nullable=True,
        ),
        count("closing_paying", "Customers at the end that pay.", nullable=True),
        count("closing_paused", "Customers at the end that are paused.", nullable=True),
        count("closing_temporarily_free", "Customers at the end that are temporarily free.", nullable=True),
        minor("intraperiod_arr_minor", "ARR that came and went within the period", nullable=True),
        *rate_columns(catalogue.RETENTION, nullable=True),
        *size_columns("customers at the start; on native rows paying customers at the start"),
    ],
)

_COHORT_SUMS = [
    count("customers_joined", "Accounts that first paid in the cohort's period."),
    count("start_customers", "Customers of the cohort at age 0, the end of its first period."),
    minor("start_arr_minor", "ARR of the cohort at age 0"),
    count("customers", "Customers of the cohort at this age."),
    count("returned_customers", "Those of them that were none at an earlier age."),
    minor("arr_minor", "ARR at this age, at the closing rate of the period: over cohorts it adds up to closing ARR"),
    minor("now_arr_minor", "ARR at this age, at the exchange rate of age 0"),
    minor("kept_arr_minor", "Sum over accounts of min(ARR at age 0, ARR at this age), at the exchange rate of age 0"),
]

Cohorts = mart(
    "Cohorts",
    catalogue.COHORTS,
    ("grain", "dimension", "member", "cohort_start", "age"),
    """One row per slice, cohort and age, in the reporting currency: how the accounts that first paid in a period do.

    Age 0 is the end of the cohort's first period; cells after `as_of` are absent. Definitions section 5.
    """,
    [
        text("grain", f"Length of the period: {', '.join(PERIOD_GRAINS)}.", PERIOD_GRAINS),
        Column("cohort_start", pl.Date, "First day of the period in which the cohort first paid."),
        count("age", "Periods since the cohort's first."),
        Column("period_start", pl.Date, "First day of the period at whose end the cell is measured."),
        *period_columns(PERIOD_GRAINS)[2:],
        text("currency", "The reporting currency, ISO 4217."),
        *slice_columns(),
        *_COHORT_SUMS,
        Column("has_returns", pl.Boolean, "True where customers of the cohort came back, so that a curve may rise."),
        *rate_columns(catalogue.COHORTS),
        *size_columns("customers of the cohort at age 0"),
    ],
)

CohortAverages = mart(
    "CohortAverages",
    "marts.cohort_averages",
    ("grain", "dimension", "member", "age"),
    """One row per slice and age: the average over the cohorts that have reached the age, weighted by size.

    Sums over the complete cells of `marts.cohorts`, in the reporting currency. Definitions section 5.
    """,
    [
        text("grain", f"Length of the period: {', '.join(PERIOD_GRAINS)}.", PERIOD_GRAINS),
        *slice_columns(),
        count("age", "Periods since the first of each cohort."),
        count("cohorts", "Cohorts that have reached the age."),
        *(Column(c.name, c.dtype, c.description.replace("`currency`", "the reporting currency")) for c in _COHORT_SUMS),
        *(
            Column(c.name, c.dtype, c.description.replace("`currency`", "the reporting currency"), c.nullable)
            for c in rate_columns(catalogue.COHORTS)
        ),
        *size_columns("customers of these cohorts at age 0"),
    ],
)

RevenuePerCustomer = mart(
    "RevenuePerCustomer",
    catalogue.REVENUE,
    ("grain", "basis", "currency", "dimension", "member", "period_start"),
    """One row per basis, currency, slice and period: ARR, MRR and ARPA at the end of the period.

    ARR = 12 x MRR; committed <= net <= list. Definitions sections 2 and 6.
    """,
    [
        *period_columns(catalogue.EVERY_GRAIN),
        *basis_columns(),
        *slice_columns(),
        count("paying_customers", "Accounts with net ARR above 0; not to be added over currencies."),
        *(minor(f"{level}_minor", f"{what[0].upper()}{what[1:]}") for level, what in _LEVELS.items()),
        Column("arr", pl.Float64, "ARR, major units of `currency` per year."),
        *(
            Column(kpi.column, pl.Float64, f"{kpi.meaning.en} Major units of `currency` per month.")
            for kpi in catalogue.of_table(catalogue.REVENUE)
            if kpi.column.startswith("mrr_")
        ),
        *rate_columns(catalogue.REVENUE),
        *size_columns("paying customers"),
    ],
)

KpiCatalogue = mart(
    "KpiCatalogue",
    "marts.kpi_catalogue",
    ("kpi",),
    """One row per KPI: its names, meaning, formula and the column that holds it.""",
    [
        text("kpi", "Identifier of the KPI."),
        text("table_name", "Table that holds it."),
        text("column_name", "Column that holds it."),
        *_in_every_language("name", "Name"),
        *_in_every_language("meaning", "Meaning"),
        *_in_every_language("formula", "Formula"),
        text(
            "numerator",
            "Column of the numerator of a rate, or of the exact integer behind a sum; null where neither exists.",
            nullable=True,
        ),
        text("denominator", "Column of the denominator of a rate; null for a sum.", nullable=True),
        Column("scale", pl.Int64, "A rate is numerator / denominator x scale, money in major units."),
        text(
            "n", "Column of the number of cases, with small_n beside it; null where the table has none.", nullable=True
        ),
        text("headline_rows", "Which rows of the table are the headline; null where all are.", nullable=True),
        text("parts", "Columns that tell rows of a period and member apart; null without.", nullable=True),
        text("unit", "Unit of the value: rate (1 is 100 %), ratio, money_per_month, count and so on."),
        text("direction", "higher_is_better, lower_is_better or neutral."),
        text("grains", "Grains at which it is published, separated by commas."),
        text("source_tables", "Source tables that it is made of, separated by commas."),
        *_in_every_language("null_rule", "When the value is NULL, and why,"),
        text("section", "Sections of the KPI definitions, separated by commas."),
        Column("is_additive", pl.Boolean, "True where it may be added over the members of a dimension."),
    ],
)

DataQuality = mart(
    "DataQuality",
    "marts.data_quality",
    ("source", "table_name", "batch_id"),
    """One row per source, table and batch of the newest load: what became of the extracted rows.

    rows_extracted = rows_accepted + rows_quarantined + rows_superseded, always. Definitions section 11, completeness.
    """,
    [
        text("source", "Source as named in sources.yaml."),
        text("table_name", "Table that the rows belong to."),
        text("batch_id", "Identifier of the batch."),
        Column("recorded_on", pl.Date, "The `as_of` of the run that loaded it."),
        count("rows_extracted", "Rows that the source gave."),
        count("rows_accepted", "Rows that fulfil the contract."),
        count("rows_quarantined", "Rows that were refused."),
        count("rows_superseded", "Rows that another row of the batch with the same key replaces."),
        text("status", "How the batch ended."),
        count("rows_promised", "Rows that the source said it gives; null where it says nothing.", nullable=True),
        count("rows_new", "Accepted rows whose key was not known."),
        count("rows_changed", "Accepted rows with other content than was known."),
        count("rows_deleted", "Known rows that a full list no longer has: deleted in the source."),
        text("incomplete", "What is missing: no month closes before it has arrived.", nullable=True),
    ],
)

IdentityReport = mart(
    "IdentityReport",
    "marts.identity_report",
    ("source", "kind"),
    """One row per source and kind of id: how many ids found an account, and the ARR on both sides.

    Definitions section 0, account.
    """,
    [
        text("source", "Source as named in sources.yaml."),
        text("kind", "Kind of id that was looked up."),
        count("matched", "Ids that belong to a known account."),
        count("unmatched", "Ids counted as `unassigned`, or as an account of their own."),
        count("conflicting", "Ids of which two matches name different accounts; marts.identity_conflicts lists these."),
        minor("matched_arr_minor", "Net ARR of the accounts that a matched id of the source reaches", nullable=True),
        minor("unmatched_arr_minor", "Net ARR of all other accounts", nullable=True),
    ],
)

IdentityConflicts = mart(
    "IdentityConflicts",
    "marts.identity_conflicts",
    ("source", "kind", "account_id", "conflicts_with"),
    """One row per source, kind of id and pair of accounts that matches of the same ids name.

    The identity map comes before a link, a link before an equal id. Definitions section 0, account.
    """,
    [
        text("source", "Source as named in sources.yaml."),
        text("kind", "Kind of id that was looked up."),
        text("account_id", "Account that counts."),
        text("conflicts_with", "The other account; map the ids in identity_map to settle it, or merge the two."),
        count("ids", "Ids that name both."),
    ],
)

ExcludedAccounts = mart(
    "ExcludedAccounts",
    "marts.excluded_accounts",
    ("reason",),
    """One row per reason for which accounts are left out of every KPI. Definitions section 2, the last row.""",
    [
        text("reason", "test, internal, partner or another reason, as the list of excluded accounts says."),
        count("accounts", "Accounts left out."),
    ],
)

RUN_OUTCOMES = ("published", "source_failed", "audit_failed", "failed")
"""How a run of the whole job ends."""

Runs = mart(
    "Runs",
    "marts.runs",
    ("run_id",),
    """One row per run that published a release, or failed and was followed by one that did. Rows are those of the
    batches that the run took from its sources.""",
    [
        text("run_id", "Identifier of the run."),
        text("release", "Release that the run published; null where it failed.", nullable=True),
        Column("as_of", pl.Date, "Day that the run took as now."),
        Column("is_full", pl.Boolean, "True where every account was recomputed from all history.", nullable=True),
        count("accounts_recomputed", "Accounts that the run recomputed.", nullable=True),
        Column("started_at", Instant, "When the run began."),
        Column("finished_at", Instant, "When its tables were ready to publish, or it failed."),
        text("outcome", f"How it ended: {', '.join(RUN_OUTCOMES)}.", RUN_OUTCOMES),
        count("rows_extracted", "Rows that the sources gave; null for runs before they were counted.", nullable=True),
        count("rows_accepted", "Rows that fulfil their contract.", nullable=True),
        count("rows_quarantined", "Rows that were refused.", nullable=True),
        count("checks_passed", "Checks that held.", nullable=True),
        count("checks_warned", "Checks that did not hold and do not stop a run.", nullable=True),
        count("checks_failed", "Checks that stopped the run.", nullable=True),
        Column("cpu_seconds", pl.Float64, "CPU seconds of its process, from the first step on.", nullable=True),
        count("peak_memory_mb", "Most memory that its process held at once, in MB.", nullable=True),
    ],
)

CONTRACTS: tuple[type[Contract], ...] = (
    MrrMovements,
    Retention,
    Cohorts,
    CohortAverages,
    RevenuePerCustomer,
    KpiCatalogue,
    DataQuality,
    IdentityReport,
    IdentityConflicts,
    ExcludedAccounts,
    Runs,
)
