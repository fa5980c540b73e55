"""The report of a period: its sections, what each shows and in which order."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import duckdb
import polars as pl

from pipelines.report import charts, glance
from pipelines.report.charts import Bar, Words
from pipelines.report.formats import Formats
from pipelines.report.parts import Cell, Figure, Key, Maker, Missing, Section, Table, with_notes
from pipelines.report.phrases import in_words_of
from pipelines.report.published import Published, Scope
from pipelines.report.render import render_page
from pipelines.report.texts import NO_VALUE
from pipelines.show import find_kpi
from schemas.catalogue import CATALOGUE, Kpi
from schemas.currencies import EXPONENTS

COHORTS_SHOWN = 13
_PALE, _DEEP = 0.5, 1.1
"""Retention at which a cell of a heat map has no shade, and the deepest."""
LISTED = 12
_RISKS = {"high": 0, "medium": 1, "low": 2}
"""Rows of a list of accounts; the whole list is a mart."""

Block = Figure | Table | Missing


def report(
    con: duckdb.DuckDBPyConnection, scope: Scope, language: str, stale_sources: Mapping[str, str] | None = None
) -> str:
    """The report as one HTML page that needs nothing else."""
    make = Maker(Published(con, scope), Formats(language, scope.currency))
    sections = [
        Section("headlines", make.say("headlines"), [], tiles=glance.tiles(make), notes=glance.compared(make)),
        Section("revenue", make.say("revenue"), _revenue(make)),
        Section("churn", make.say("churn"), _churn(make)),
        Section("cohorts", make.say("cohorts"), _cohorts(make)),
        Section("renewals", make.say("renewals"), _renewals(make)),
        Section("surveys", make.say("surveys"), _surveys(make)),
        Section("value", make.say("value"), _value(make)),
        *([Section("health", make.say("health"), _health(make))] if make.published.has("marts.health") else []),
        Section("dunning", make.say("dunning"), _dunning(make)),
        Section("support", make.say("support"), _support(make)),
        Section("adoption", make.say("adoption"), _adoption(make)),
        Section("segments", make.say("segments"), _segments(make)),
        Section("actions", make.say("actions"), _actions(make)),
        Section("quality", make.say("quality"), _quality(make), notes=_for_all(make)),
    ]
    return render_page(make, make.say("title"), glance.head(make), glance.warnings(make, stale_sources or {}), sections)


def movements_in_markdown(con: duckdb.DuckDBPyConnection, scope: Scope, language: str) -> str | None:
    """The chart of MRR movements with its legend, in need of no file; None where there is nothing to draw."""
    make = Maker(Published(con, scope), Formats(language, scope.currency))
    figure = _movements(make, alone=True)
    if not isinstance(figure, Figure):
        return None
    picture = b64encode(charts.as_png(figure.svg)).decode()
    return f"![{figure.title}](data:image/png;base64,{picture})"


# Recurring revenue


_MOVEMENTS = tuple(find_kpi(f"{name}_mrr") for name in ("new", "expansion", "reactivation", "contraction", "churn"))


def _revenue(make: Maker) -> list[Block]:
    return [
        _bridge(make, _MOVEMENTS),
        _movements(make),
        make.trend("mrr", "mrr", from_zero=True),
        make.trend("customers-trend", "customers", from_zero=True),
        make.trend("arpa", "arpa"),
    ]


def _movements(make: Maker, *, alone: bool = False) -> Figure | Missing:
    columns = [
        (kpi.column, make.name(kpi), -1 if kpi.id in ("contraction_mrr", "churn_mrr") else 1) for kpi in _MOVEMENTS
    ]
    return make.stacked(
        "movements",
        make.say("movements"),
        "marts.mrr_movements",
        columns,
        "money_per_month",
        list(_MOVEMENTS),
        alone=alone,
    )


def _bridge(make: Maker, movements: Sequence[Kpi]) -> Figure | Missing:
    title = make.say("bridge")
    found = glance.movements(make)
    if found is None:
        return make.missing("bridge", title, movements)
    row, steps = found
    level, bars = row["opening_mrr"], [(make.say("opening"), 0.0, row["opening_mrr"], 5)]
    for kpi, amount in steps:
        bars.append((make.named(kpi.id.removesuffix("_mrr")), level, amount, 0 if amount >= 0 else 1))
        level += amount
    bars.append((make.say("closing"), 0.0, row["closing_mrr"], 5))
    drawn = [Bar(label, amount, make.formats.money(amount), start, colour) for label, start, amount, colour in bars]
    period = make.full_period(row["period_start"], row["grain"], row["is_complete"])
    parts = ", ".join(f"{bar.label} {bar.text}" for bar in drawn)
    description = make.say("chart_parts", title=title, period=period, parts=parts)
    return Figure(
        id="bridge",
        title=title,
        subtitle=f"{make.unit('money_per_month')} · {period}",
        svg=charts.bars(drawn, "money", make.locale, Words("bridge", title, description), cut=True),
        table=Table(
            "bridge-figures",
            title,
            [(make.say("movement"), False), (make.unit("money_per_month"), True)],
            [[Cell(bar.label), make.money(bar.value)] for bar in drawn],
        ),
        notes=[make.say("cut_axis")],
        kpis=make.link(*(kpi for kpi, _ in steps)),
    )


# Churn and retention


def _churn(make: Maker) -> list[Block]:
    rows = make.published.where(
        "marts.churn_reasons",
        make.published.scope.slice | {"grain": make.published.scope.grain, "period_start": make.published.scope.start},
    )
    reasons = [row for row in rows.to_dicts() if row["churn_reason"] != "all"]
    lost = find_kpi("lost_customers_by_reason")
    return [
        make.trend("customer-churn", "customer_churn_rate", from_zero=True),
        with_notes(
            make.trend(
                "revenue-churn",
                "revenue_churn_rate",
                "gross_revenue_churn_rate",
                "net_revenue_churn_rate",
                title=make.say("revenue_churn"),
            ),
            make.say("no_interval"),
        ),
        make.trend(
            "retention", "gross_revenue_retention", "net_revenue_retention", title=make.say("retention_of_revenue")
        ),
        make.trend("retention-12m", "grr_12m", "nrr_12m", title=make.say("retention_12m")),
        make.ranked(
            "churn-reasons",
            make.say("churn_reasons"),
            reasons,
            lambda row: f"{row['churn_reason']} ({make.named(row['churn_type'])})",
            lost,
            first_column=make.say("reason"),
        ),
        make.trend("involuntary", "involuntary_churn_share", from_zero=True),
    ]


# Cohorts


def _cohorts(make: Maker) -> list[Block]:
    return [
        _heat_map(make, "cohort-customers", find_kpi("cohort_customer_retention")),
        _heat_map(make, "cohort-revenue", find_kpi("cohort_net_revenue_retention")),
        _survival(make),
    ]


def _heat_map(make: Maker, id: str, kpi: Kpi) -> Table | Missing:
    scope, grain = make.published.scope, make.published.scope.grain
    rows = make.published.slice("marts.cohorts")
    rows = rows.filter(pl.col("period_start") < scope.end) if rows.height else rows
    if rows.is_empty():
        return make.missing(id, make.name(kpi), [kpi])
    newest = rows["cohort_start"].unique().sort().tail(COHORTS_SHOWN)
    cells = rows.filter(pl.col("cohort_start").is_in(newest.implode()))
    ages = range(max(cells["age"].to_list()) + 1)
    by_cohort: dict[date, dict[int, dict[str, Any]]] = {}
    for row in cells.to_dicts():
        by_cohort.setdefault(row["cohort_start"], {})[row["age"]] = row
    head = [(make.say("cohort"), False), (make.say("joined"), True), *((str(age), True) for age in ages)]
    body = []
    for start, by_age in by_cohort.items():
        line = [Cell(make.formats.period(start, grain)), make.count(by_age[0]["start_customers"])]
        line += [_heat(make, by_age.get(age), kpi.column) for age in ages]
        body.append(line)
    average = make.published.slice("marts.cohort_averages")
    if average.height:
        by_age = {row["age"]: row for row in average.to_dicts()}
        line = [Cell(make.say("average")), make.count(by_age[0]["start_customers"]) if 0 in by_age else Cell(NO_VALUE)]
        body.append(line + [_heat(make, by_age.get(age), kpi.column) for age in ages])
    first, last = (make.formats.period(at, grain) for at in (min(by_cohort), max(by_cohort)))
    meaning = kpi.meaning.of(make.formats.language)
    notes = [f"{make.formats.span(first, last)}. {make.say('age_in')}. {meaning}", make.say("cohort_note")]
    return Table(id, make.name(kpi), head, body, notes=notes, kpis=make.link(kpi))


def _heat(make: Maker, row: Mapping[str, Any] | None, column: str) -> Cell:
    if row is None or row[column] is None:
        return Cell("")
    mark = "" if row.get("is_complete", True) else "*"
    text = f"{make.formats.number(row[column] * 100)}{mark}"
    return Cell(text, row[column], round((min(max(row[column], _PALE), _DEEP) - _PALE) / (_DEEP - _PALE) * 100))


def _survival(make: Maker) -> Figure | Missing:
    """How long customers stay, as of the release whatever the period: the marts tell it of the newest day alone."""
    kpi, model, title = find_kpi("survival"), find_kpi("projected_survival"), make.say("survival")
    rows = make.published.slice("marts.survival_curve", "month").to_dicts()
    seen = [row for row in rows if row["survival"] is not None]
    if not seen:
        return make.missing("survival", title, [kpi])
    projected = [(row["age"], row["projected_survival"]) for row in rows if row["projected_survival"] is not None]
    median = make.published.slice("marts.survival", "month").to_dicts()
    known = [
        (find_kpi(name), f"{name}_lower", f"{name}_upper")
        for name in ("median_lifetime_days", "survival_12m", "survival_24m")
    ]
    as_of = f"{make.say('as_of')} {make.formats.day(make.published.scope.as_of)}"
    table = Table(
        "survival-figures",
        title,
        [(make.say("kpi"), False), (make.say("value_word"), True), (make.say("interval"), True)],
        [
            [
                Cell(make.name(one)),
                Cell(make.formats.value(row[one.column], one.unit), row[one.column]),
                Cell(make.say("from_to", low=_or_nothing(make, row[low], one), high=_or_nothing(make, row[high], one))),
            ]
            for row in median
            for one, low, high in known
        ],
    )
    newest = seen[-1]
    parts = f"{newest['age']} {make.unit('months')}: {make.formats.percent(newest['survival'])}"
    words = Words("survival", title, make.say("chart_parts", title=title, period=as_of, parts=parts))
    curve = [(row["age"], row["survival"], row["lower"], row["upper"]) for row in seen]
    shown = [kpi, model] if projected else [kpi]
    return Figure(
        id="survival",
        title=title,
        subtitle=" · ".join([make.unit("age_months"), as_of, make.say("n_is", n=make.formats.number(rows[0]["n"]))]),
        svg=charts.curve(curve, projected, make.locale, words),
        table=table,
        keys=[Key(number, make.name(one), "line") for number, one in enumerate(shown)],
        kpis=make.link(*shown, *(one for one, _, _ in known)),
    )


def _or_nothing(make: Maker, value: float | None, kpi: Kpi) -> str:
    return make.formats.value(value, kpi.unit)


# Renewals


def _renewals(make: Maker) -> list[Block]:
    outcomes = [("renewed_old_arr", make.say("renewed"), 1), ("lost_arr", make.say("lost"), 1)]
    return [
        make.trend("renewal-rate", "renewal_rate"),
        make.trend("renewal-arr", "renewal_rate_gross", "renewal_rate_net", title=make.say("renewal_rates")),
        make.stacked(
            "renewal-outcomes",
            make.say("renewal_outcomes"),
            "marts.renewals",
            [*outcomes, ("open_arr", make.say("open"), 1)],
            "money_per_year",
            [find_kpi("renewals_due_arr"), find_kpi("renewals_open_arr")],
        ),
        *_upcoming(make),
    ]


def _upcoming(make: Maker) -> list[Block]:
    rows = _of_segment(make, "marts.upcoming_renewals", "due_on, arr_minor DESC, term_id")
    soon = _by_horizon(make, rows)
    has_health = any(row["health_band"] for row in rows)
    head = [
        (make.say("due_on"), False),
        (make.say("days_to_go"), True),
        (make.say("account"), False),
        (make.say("owner"), False),
        (make.say("segment"), False),
        (make.say("arr"), True),
        (make.say("auto_renews"), False),
        *([(make.say("health_band"), False)] if has_health else []),
    ]
    body = [
        [
            Cell(make.formats.day(row["due_on"])),
            make.count(row["days_to_go"]),
            Cell(row["account_id"]),
            Cell(make.free(row["owner"])),
            Cell(make.named(row["segment"])),
            make.money(row["arr"], row["currency"]),
            Cell(make.say("yes" if row["is_auto_renew"] else "no")),
            *([Cell(make.named(row["health_band"]))] if has_health else []),
        ]
        for row in rows[:LISTED]
    ]
    notes = [_how_many(make, "first_of", rows, "marts.upcoming_renewals")]
    return [soon, Table("upcoming-first", make.say("upcoming"), head, body, notes=notes)]


def _by_horizon(make: Maker, rows: Sequence[Mapping[str, Any]]) -> Table:
    """How many terms are due soon, with their ARR in each currency: native amounts are never added across."""
    currencies = sorted({row["currency"] for row in rows})
    body = []
    for days in (30, 60, 90, 180):
        due = [row for row in rows if row["days_to_go"] <= days]
        sums = [sum(row["arr_minor"] for row in due if row["currency"] == currency) for currency in currencies]
        amounts = [
            make.money(amount / 10 ** EXPONENTS[currency], currency)
            for amount, currency in zip(sums, currencies, strict=True)
        ]
        body.append([Cell(make.say("next_days", days=days)), make.count(len(due)), *amounts])
    head = [(make.say("due_on"), False), (make.say("terms"), True)]
    head += [(f"{make.say('arr')} {currency}", True) for currency in currencies]
    notes = [make.say("state_of", day=make.formats.day(make.published.scope.as_of))]
    return Table("upcoming", make.say("upcoming"), head, body, notes=notes)


# Customer voice


def _surveys(make: Maker) -> list[Block]:
    return [
        make.trend("nps", "nps"),
        make.trend("csat", "csat"),
        make.trend("ces", "ces_low_effort"),
        make.trend(
            "response-rates",
            "survey_response_rate",
            title=make.say("response_rates"),
            instruments=["nps", "csat", "ces"],
            from_zero=True,
        ),
    ]


# Value and cost


def _value(make: Maker) -> list[Block]:
    return [
        make.trend("clv-to-cac", "clv_to_cac", from_zero=True),
        make.trend("cac", "cac", from_zero=True),
        make.trend("retention-cost", "customer_retention_cost", from_zero=True),
        *_values_now(make),
    ]


def _values_now(make: Maker) -> list[Block]:
    ids = ("clv_predicted", "clv_margin", "clv_formula", "clv_formula_net", "clv_historic", "clv_to_cac")
    kpis = [find_kpi(name) for name in (*ids, "cac_payback_months", "customer_churn_rate_6m")]
    rows = make.published.now("marts.clv", "month").to_dicts()
    if not rows:
        return [make.missing("values", make.say("values_now"), kpis)]
    row = rows[0]
    body = []
    for kpi in kpis:
        value, reason = row[kpi.column], row.get(f"{kpi.column}_reason")
        text = make.formats.value(value, kpi.unit) if value is not None else make.named(reason)
        body.append([Cell(make.name(kpi)), Cell(text, value), Cell(kpi.meaning.of(make.formats.language))])
    head = [(make.say("kpi"), False), (make.say("value_word"), True), (make.say("definition"), False)]
    period = make.full_period(row["period_start"], "month", row["is_complete"])
    notes = [f"{period} · {make.say('n_is', n=make.formats.number(row['n']))}"]
    return [Table("values", make.say("values_now"), head, body, notes=notes, kpis=make.link(*kpis))]


# Health


def _health(make: Maker) -> list[Block]:
    bands = [(f"{band}_accounts", make.named(band), 1) for band in ("green", "yellow", "red", "insufficient_data")]
    known = {kpi.id: kpi for kpi in CATALOGUE}
    kpis = [known[name] for name in ("health_score", "health_red_share") if name in known]
    blocks: list[Block] = [make.stacked("bands", make.say("bands"), "marts.health", bands, "count", kpis)]
    blocks += [make.trend(kpi.id.replace("_", "-"), kpi.id) for kpi in kpis]
    if make.published.has("marts.health_backtest"):
        blocks.append(_backtest(make))
    return blocks


def _backtest(make: Maker) -> Block:
    title, months = make.say("backtest"), 6
    query = (
        "SELECT * FROM marts.health_backtest "
        "WHERE grain = 'all' AND dimension = 'all' AND horizon_months = ? ORDER BY decile"
    )
    rows = make.published.query(query, months).to_dicts()
    deciles = [row for row in rows if row["decile"] != "all" and row["churn_after"] is not None]
    if not deciles:
        return Missing("backtest", title, make.say("not_observed"))
    percent, number = make.formats.percent, make.formats.number
    bars = [
        Bar(f"{make.say('decile')} {int(row['decile'])}", row["churn_after"], percent(row["churn_after"]))
        for row in deciles
    ]
    total = next(row for row in rows if row["decile"] == "all")
    note = make.say("backtest_note", months=months, auc=number(total["auc"], 2), lift=number(total["red_lift"], 1))
    period = make.formats.period(total["period_start"], "month")
    period = make.formats.span(period, make.formats.last_day(total["period_end"]))
    parts = ", ".join(f"{bar.label} {bar.text}" for bar in bars)
    head = [(make.say("decile"), False), (make.say("health_score"), True), (make.say("value_word"), True)]
    head += [(make.say("numerator"), True), (make.say("denominator"), True)]
    body = [
        [
            Cell(str(int(row["decile"]))),
            Cell(make.say("from_to", low=number(row["score_from"], 1), high=number(row["score_to"], 1))),
            Cell(percent(row["churn_after"]), row["churn_after"]),
            make.count(row["churned_cases"]),
            make.count(row["cases"]),
        ]
        for row in deciles
    ]
    return Figure(
        id="backtest",
        title=title,
        subtitle=f"{make.unit('rate')} · {period} · {make.say('n_is', n=number(total['n']))}",
        svg=charts.bars(
            bars,
            "rate",
            make.locale,
            Words("backtest", title, make.say("chart_parts", title=title, period=period, parts=parts)),
        ),
        table=Table("backtest-figures", title, head, body),
        notes=[note, *_for_all(make)],
    )


# Failed payments


def _dunning(make: Maker) -> list[Block]:
    scope = make.published.scope
    rows = make.published.where(
        "marts.dunning", scope.slice | {"grain": scope.grain, "period_start": scope.start}
    ).to_dicts()
    codes = [row for row in rows if row["breakdown"] == "decline_code"]
    attempts = sorted((row for row in rows if row["breakdown"] == "attempt_number"), key=lambda row: row["bucket"])
    return [
        make.trend("recovery", "recovery_rate"),
        make.trend("failed", "failed_payments", from_zero=True),
        make.trend("at-risk", "revenue_at_risk", from_zero=True),
        make.ranked(
            "recovery-by-code",
            make.say("recovery_by_code"),
            codes,
            lambda row: str(row["bucket"]),
            find_kpi("recovery_rate"),
            first_column=make.say("reason"),
        ),
        make.ranked(
            "recovery-by-attempt",
            make.say("recovery_by_attempt"),
            attempts,
            lambda row: str(row["bucket"]),
            find_kpi("retry_success_rate"),
            first_column=make.say("reason"),
            in_order=True,
        ),
    ]


# Support


def _support(make: Maker) -> list[Block]:
    types = make.published.now("marts.support_by_type").to_dicts()
    return [
        make.trend("tickets-per-customer", "tickets_per_customer", from_zero=True),
        make.trend(
            "first-response",
            "first_response_minutes",
            "first_response_business_minutes",
            title=make.say("first_response"),
            from_zero=True,
        ),
        make.trend("resolution", "resolution_hours", from_zero=True),
        make.trend("support-csat", "support_csat"),
        make.ranked(
            "tickets-by-type",
            make.say("tickets_by_type"),
            types,
            lambda row: make.free(row["ticket_type"]),
            find_kpi("tickets_by_type"),
            first_column=make.say("type"),
        ),
    ]


# Adoption and onboarding


def _adoption(make: Maker) -> list[Block]:
    features = make.published.now("marts.feature_adoption").to_dicts()
    return [
        make.trend("licence-utilisation", "licence_utilisation"),
        make.trend("active-users", "active_users_month", from_zero=True),
        make.trend("stickiness", "stickiness"),
        make.ranked(
            "features",
            make.say("features"),
            features,
            lambda row: str(row["feature"]),
            find_kpi("feature_adoption"),
            first_column=make.name(find_kpi("feature_adoption")),
        ),
        make.trend(
            "onboarding", "time_to_onboard_days", "time_to_value_days", title=make.say("times_to"), from_zero=True
        ),
        make.trend("milestones", "on_time_milestone_rate"),
    ]


# Segments


def _segments(make: Maker) -> list[Block]:
    blocks = [] if make.published.scope.segment else [_by_segment(make)]
    return [*blocks, _by_stage(make)]


def _by_segment(make: Maker) -> Table | Missing:
    ids = ("mrr", "customers", "arpa", "customer_churn_rate", "gross_revenue_retention", "net_revenue_retention", "nps")
    kpis = [find_kpi(name) for name in ids]
    found: dict[str, dict[str, Any]] = {}
    for kpi in kpis:
        rows = make.published.slice(kpi.table, all_members=True)
        for row in rows.filter(pl.col("period_start") == make.published.scope.start).to_dicts() if rows.height else []:
            if row.get("instrument", "nps") == "nps":
                found.setdefault(row["member"], {})[kpi.id] = row
    if not found:
        return make.missing("by-segment", make.say("by_segment"), kpis)
    head = [(make.say("segment"), False), *((make.name(kpi), True) for kpi in kpis)]
    body = []
    for member, by_kpi in sorted(found.items(), key=lambda one: -(one[1]["mrr"]["mrr_net"] if "mrr" in one[1] else 0)):
        cells = [Cell(make.named(member))]
        for kpi in kpis:
            row = by_kpi.get(kpi.id, {})
            few = (
                f" ({make.say('few_cases')})"
                if row.get("small_n") and kpi.ratio and row[kpi.column] is not None
                else ""
            )
            cells.append(Cell(make.formats.value(row.get(kpi.column), kpi.unit) + few, row.get(kpi.column)))
        body.append(cells)
    scope = make.published.scope
    notes = [make.full_period(scope.start, scope.grain, scope.is_complete)]
    return Table("by-segment", make.say("by_segment"), head, body, notes=notes, kpis=make.link(*kpis))


def _by_stage(make: Maker) -> Table | Missing:
    """Customers of the newest month by what the CRM says of them: counted rows of `marts.segments`."""
    scope = make.published.scope
    rows = make.published.query(
        "SELECT month, life_cycle_stage AS stage, churn_risk AS risk, count(*) AS customers FROM marts.segments "
        "WHERE month = (SELECT max(month) FROM marts.segments WHERE month < ?) AND segment = coalesce(?, segment) "
        "GROUP BY ALL ORDER BY ALL",
        scope.end,
        scope.segment,
    )
    if rows.is_empty():
        return make.missing("by-stage", make.say("by_stage"), [find_kpi("customers")])
    risks = sorted(rows["risk"].unique().to_list(), key=lambda risk: (_RISKS.get(risk, len(_RISKS)), risk))
    found = {(row["stage"], row["risk"]): row["customers"] for row in rows.to_dicts()}
    head = [(make.say("stage"), False), *((make.named(risk), True) for risk in risks)]
    body = [
        [Cell(make.free(stage)), *(make.count(found.get((stage, risk), 0)) for risk in risks)]
        for stage in rows["stage"].unique().sort().to_list()
    ]
    notes = [f"{make.formats.period(rows['month'][0], 'month')}. marts.segments"]
    return Table("by-stage", make.say("by_stage"), head, body, notes=notes, wide=False)


# What to do


def _actions(make: Maker) -> list[Block]:
    blocks: list[Block] = []
    reasons = [
        reason
        for (reason,) in make.published.query(
            "SELECT reason FROM marts.action_list GROUP BY reason ORDER BY min(act_by) NULLS LAST, reason"
        ).rows()
    ]
    rows = _of_segment(make, "marts.action_list", "arr_minor DESC, account_id, reason")
    for reason in reasons:
        of_reason = [row for row in rows if row["reason"] == reason]
        has_day = any(row["act_by"] for row in of_reason)
        has_since = any(row["since"] for row in of_reason)
        head = [
            (make.say("account"), False),
            (make.say("owner"), False),
            (make.say("segment"), False),
            (make.say("arr"), True),
            *([(make.say("by_when"), False)] if has_day else []),
            *([(make.say("since"), False)] if has_since else []),
            (make.say("why"), False),
        ]
        body = [
            [
                Cell(row["account_id"]),
                Cell(make.free(row["owner"])),
                Cell(make.named(row["segment"])),
                make.money(row["arr"], row["currency"]),
                *([Cell(make.formats.day(row["act_by"]))] if has_day else []),
                *([Cell(make.formats.day(row["since"]))] if has_since else []),
                Cell(in_words_of(make.formats, row["facts"])),
            ]
            for row in of_reason[:LISTED]
        ]
        notes = [_how_many(make, "most_of", of_reason, "marts.action_list")]
        blocks.append(Table(f"action-{reason}", make.named(reason), head, body, notes=notes))
    return blocks or [Missing("actions-none", make.say("actions"), make.say("none_open"))]


# Data quality


def _quality(make: Maker) -> list[Block]:
    counted = ("rows_extracted", "rows_accepted", "rows_quarantined", "rows_superseded")
    loads = make.published.query("SELECT * FROM marts.data_quality ORDER BY source, table_name").to_dicts()
    head = [(make.say("source"), False), (make.say("table"), False), (make.say("recorded_on"), False)]
    head += [(make.say(name), True) for name in counted]
    body = [
        [
            Cell(row["source"]),
            Cell(row["table_name"]),
            Cell(make.formats.day(row["recorded_on"])),
            *(make.count(row[name]) for name in counted),
        ]
        for row in loads
    ]
    identity = make.published.query("SELECT * FROM marts.identity_report ORDER BY source, kind").to_dicts()
    excluded = make.published.query("SELECT * FROM marts.excluded_accounts ORDER BY reason").to_dicts()
    return [
        Table("loads", make.say("loads"), head, body),
        Table(
            "identity",
            make.say("identity"),
            [
                (make.say("source"), False),
                (make.say("table"), False),
                (make.say("matched"), True),
                (make.say("unmatched"), True),
                (make.say("conflicting"), True),
            ],
            [
                [Cell(row["source"]), Cell(row["kind"])]
                + [make.count(row[name]) for name in ("matched", "unmatched", "conflicting")]
                for row in identity
            ],
        ),
        Table(
            "excluded",
            make.say("excluded"),
            [(make.say("reason"), False), (make.say("accounts"), True)],
            [[Cell(row["reason"]), make.count(row["accounts"])] for row in excluded],
            wide=False,
        ),
    ]


def _for_all(make: Maker) -> list[str]:
    return [make.say("for_all")] if make.published.scope.segment else []


def _of_segment(make: Maker, table: str, order: str) -> list[dict[str, Any]]:
    query = f"SELECT * FROM {table} WHERE segment = coalesce(?, segment) ORDER BY {order}"  # names of our own
    return make.published.query(query, make.published.scope.segment).to_dicts()


def _how_many(make: Maker, key: str, rows: Sequence[object], table: str) -> str:
    if not rows:
        return make.say("none_open")
    shown = make.formats.number(min(len(rows), LISTED))
    return make.say(key, shown=shown, all=make.formats.number(len(rows)), table=table)
