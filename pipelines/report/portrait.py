"""The portrait of one account on one page: what it is, pays, says and needs."""

import difflib
from typing import Any

import duckdb

from pipelines.report import charts
from pipelines.report.charts import Words
from pipelines.report.formats import Formats
from pipelines.report.parts import Cell, Figure, Key, Maker, Missing, Section, Table
from pipelines.report.phrases import in_words_of
from pipelines.report.published import Published, Scope
from pipelines.report.render import render_page
from pipelines.report.texts import NO_VALUE
from pipelines.show import UnknownName, find_kpi
from schemas.currencies import EXPONENTS

NEWEST = 8
"""Rows of each list; `kpis explain` and the facts have all."""
_WHO = ("plan", "country", "industry", "channel", "owner", "life_cycle_stage")

Block = Figure | Table | Missing


def portrait(con: duckdb.DuckDBPyConnection, scope: Scope, language: str, account: str) -> str:
    """The page of one account, as of the release. Raises UnknownName for an account that is not there."""
    make = Maker(Published(con, scope), Formats(language, scope.currency))
    rows = make.published.query("SELECT * FROM marts.account_360 WHERE account_id = ?", account).to_dicts()
    if not rows:
        known = make.published.query("SELECT account_id FROM marts.account_360 ORDER BY ALL")["account_id"].to_list()
        near = difflib.get_close_matches(account, known, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known[:5]) or 'none'}"
        raise UnknownName(f"no account {account!r}; {hint}")
    head = {
        make.say("account"): account,
        make.say("state"): make.named(rows[0]["state"]),
        make.say("as_of"): make.formats.day(scope.as_of),
        make.say("currency"): scope.currency,
        make.say("release"): scope.release,
        make.say("policy"): scope.policy_version,
    }
    sections = [
        Section(
            "facts",
            make.say("facts_of_account"),
            [_who(make, rows[0]), _standing(make, rows[0]), *_health(make, account)],
        ),
        Section("actions", make.say("actions"), [_actions(make, account)]),
        Section("revenue", make.say("revenue"), [*_history(make, account), _changes(make, account)]),
        Section(
            "voice", make.say("history"), [_terms(make, account), _answers(make, account), _tickets(make, account)]
        ),
    ]
    return render_page(make, make.say("portrait"), head, [], sections, kind="portrait")


def _who(make: Maker, row: dict[str, Any]) -> Table:
    lines = [(make.say("customer_since"), make.formats.day(row["first_paid_date"]))]
    if row["churned_on"]:
        lines.append((make.say("lost_on"), make.formats.day(row["churned_on"])))
        lines.append((make.say("reason"), f"{row['churn_reason']} ({make.named(row['churn_type'])})"))
    lines.append((make.say("segment"), make.named(row["segment"])))
    lines += [(make.say(name), make.free(row[name])) for name in _WHO]
    lines += [
        (make.say("tenure"), str(make.named(row["tenure"])).replace("months", make.say("months"))),
        (make.say("churn_risk"), make.named(row["churn_risk"])),
    ]
    return _pairs(make, "who", make.say("account"), [(name, Cell(text)) for name, text in lines])


def _standing(make: Maker, row: dict[str, Any]) -> Table:
    value = make.published.query("SELECT * FROM marts.account_value WHERE account_id = ?", row["account_id"]).to_dicts()
    exact = 10 ** EXPONENTS[make.published.scope.currency]
    seats = NO_VALUE
    if row["purchased_seats"] is not None and row["active_seats"] is not None:
        part, whole = make.formats.number(row["active_seats"]), make.formats.number(row["purchased_seats"])
        seats = f"{make.say('of', part=part, whole=whole)} ({make.formats.percent(row['licence_utilisation'])})"
    nps = NO_VALUE
    if row["last_nps"] is not None:
        nps = f"{row['last_nps']} ({make.formats.day(row['last_nps_on'])})"
    renewal = make.formats.day(row["next_renewal_on"])
    if row["next_renewal_arr_minor"] is not None:
        renewal += f" ({make.formats.money(row['next_renewal_arr_minor'] / exact)})"
    lines = [
        (make.say("mrr"), make.money(row["mrr"])),
        (make.say("arr"), make.money(row["arr"])),
        (make.say("past_due"), make.money(_major(row["arr_past_due_minor"], exact))),
        (make.say("next_renewal"), Cell(renewal)),
        (make.say("failed_payments"), make.count(row["open_failed_payments"])),
        (make.say("last_nps"), Cell(nps)),
        (make.say("follow_ups"), make.count(row["waiting_follow_ups"])),
        (make.say("open_tickets"), make.count(row["open_tickets"])),
        (make.say("urgent_tickets"), make.count(row["open_urgent_tickets"])),
        (make.say("seats_used"), Cell(seats)),
    ]
    if value:
        lines.append((make.say("clv_historic"), make.money(value[0]["clv_historic"])))
        lines.append((make.say("clv_residual"), make.money(value[0]["clv_residual"])))
    return _pairs(make, "standing", make.say("standing"), lines)


def _health(make: Maker, account: str) -> list[Block]:
    if not make.published.has("facts.health_score"):
        return []
    scores = make.published.query(
        "SELECT * FROM facts.health_score WHERE account_id = ? ORDER BY month DESC LIMIT 1", account
    ).to_dicts()
    if not scores:
        return []
    score = scores[0]
    drivers = make.published.query(
        "SELECT measure, points, points_lost FROM facts.health_driver WHERE account_id = ? AND month = ? "
        "UNION ALL SELECT measure, NULL, NULL FROM (SELECT unnest(string_split(?, ', ')) AS measure) "
        "WHERE measure <> '' ORDER BY points_lost DESC NULLS LAST, measure",
        account,
        score["month"],
        # In a release of a version before, these have rows of their own.
        score.get("unknown_measures") or "",
    ).to_dicts()
    head = [(make.say("measure"), False), (make.say("points"), True), (make.say("points_lost"), True)]
    body = [
        [
            Cell(make.named(f"{row['measure']}_measure")),
            Cell(make.formats.number(row["points"], 1), row["points"]),
            Cell(make.formats.number(row["points_lost"], 1), row["points_lost"]),
        ]
        for row in drivers
    ]
    value, day = make.formats.number(score["score"], 1), make.formats.day(score["scored_on"])
    note = f"{value} · {make.named(score['band'])} · {day}"
    return [Table("health", make.say("health_score"), head, body, notes=[note], wide=False)]


def _actions(make: Maker, account: str) -> Table:
    rows = make.published.query(
        "SELECT * FROM marts.action_list WHERE account_id = ? ORDER BY act_by NULLS LAST, reason", account
    ).to_dicts()
    head = [
        (make.say("reason"), False),
        (make.say("arr"), True),
        (make.say("by_when"), False),
        (make.say("why"), False),
    ]
    body = [
        [
            Cell(make.named(row["reason"])),
            make.money(row["arr"], row["currency"]),
            Cell(make.formats.day(row["act_by"])),
            Cell(in_words_of(make.formats, row["facts"])),
        ]
        for row in rows
    ]
    return Table("action-list", make.say("actions"), head, body, notes=[] if body else [make.say("none_open")])


def _history(make: Maker, account: str) -> list[Block]:
    rows = make.published.query(
        "SELECT currency, day, closing_arr_minor FROM facts.mrr_ledger WHERE account_id = ? ORDER BY currency, day",
        account,
    )
    title = make.say("mrr_history")
    if rows.is_empty():
        return [make.missing("history", title, [find_kpi("mrr")])]
    as_of = make.published.scope.as_of
    series, newest = [], []
    currencies = rows["currency"].unique().sort().to_list()
    for currency in currencies:
        own = [row for row in rows.to_dicts() if row["currency"] == currency]
        exact = 10 ** EXPONENTS[currency]
        points = [(row["day"].isoformat(), row["closing_arr_minor"] / exact) for row in own]
        if own[-1]["day"] < as_of:
            points.append((as_of.isoformat(), points[-1][1]))
        series.append(points)
        newest.append(f"{currency} {make.formats.money(points[-1][1], currency)}")
    period = make.formats.span(make.formats.day(min(rows["day"])), make.formats.day(as_of))
    description = make.say("chart_parts", title=title, period=period, parts=", ".join(newest))
    chart = charts.steps(series, make.locale, Words("history", title, description))
    body = [
        [
            Cell(make.formats.day(row["day"])),
            make.money(row["closing_arr_minor"] / 10 ** EXPONENTS[row["currency"]], row["currency"]),
        ]
        for row in rows.to_dicts()
    ]
    table = Table("history-figures", title, [(make.say("day"), False), (make.say("arr"), True)], body)
    keys = [Key(number, currency, "line") for number, currency in enumerate(currencies)] if len(currencies) > 1 else []
    unit = make.say("money_per_year", currency=" / ".join(currencies))
    return [Figure("history", title, f"{unit} · {period}", chart, table, keys, kpis=make.link(find_kpi("arr")))]


def _changes(make: Maker, account: str) -> Table:
    rows = make.published.query(
        "SELECT * FROM facts.mrr_ledger WHERE account_id = ? AND category <> 'none' ORDER BY day DESC, currency",
        account,
    ).to_dicts()
    head = [(make.say("day"), False), (make.say("movement"), False), (make.say("amount"), True)]
    head += [(make.say("closing_balance"), True), (make.say("reason"), False)]
    body = [
        [
            Cell(make.formats.day(row["day"])),
            Cell(make.named(row["category"])),
            make.money(row["amount_arr_minor"] / 10 ** EXPONENTS[row["currency"]], row["currency"]),
            make.money(row["closing_arr_minor"] / 10 ** EXPONENTS[row["currency"]], row["currency"]),
            Cell(make.named(row["reason"])),
        ]
        for row in rows[:NEWEST]
    ]
    return Table("changes", make.say("changes"), head, body, notes=_how_many(make, rows), wide=False)


def _terms(make: Maker, account: str) -> Table:
    rows = make.published.query(
        "SELECT * FROM facts.contract_term WHERE account_id = ? ORDER BY term_end DESC, term_id", account
    ).to_dicts()
    head = [(make.say("due_on"), False), (make.say("arr"), True), (make.say("outcome"), False)]
    body = [
        [
            Cell(make.formats.day(row["term_end"])),
            make.money(row["arr_minor"] / 10 ** EXPONENTS[row["currency"]], row["currency"]),
            Cell(make.named(row["outcome"])),
        ]
        for row in rows[:NEWEST]
    ]
    return Table("terms", make.say("contracts"), head, body, notes=_how_many(make, rows), wide=False)


def _answers(make: Maker, account: str) -> Table:
    rows = make.published.query(
        "SELECT responded_on, instrument, survey_id, score, scale_points FROM facts.survey_answer "
        "WHERE account_id = ? AND status = 'used' ORDER BY responded_on DESC, response_id",
        account,
    ).to_dicts()
    head = [(make.say("day"), False), (make.say("survey"), False), (make.say("answer"), True)]
    body = [
        [
            Cell(make.formats.day(row["responded_on"])),
            Cell(f"{row['instrument'].upper()} · {row['survey_id']}"),
            Cell(make.formats.number(row["score"]), row["score"]),
        ]
        for row in rows[:NEWEST]
    ]
    return Table("answers", make.say("answers"), head, body, notes=_how_many(make, rows), wide=False)


def _tickets(make: Maker, account: str) -> Table:
    rows = make.published.query(
        "SELECT created_on, ticket_type, severity, solved_at IS NOT NULL AS is_solved FROM facts.ticket "
        "WHERE account_id = ? AND excluded_reason IS NULL ORDER BY created_at DESC, ticket_id",
        account,
    ).to_dicts()
    head = [(make.say(name), False) for name in ("day", "type", "severity", "solved")]
    body = [
        [
            Cell(make.formats.day(row["created_on"])),
            Cell(make.free(row["ticket_type"])),
            Cell(make.named(row["severity"])),
            Cell(make.say("yes" if row["is_solved"] else "no")),
        ]
        for row in rows[:NEWEST]
    ]
    return Table("tickets", make.say("tickets"), head, body, notes=_how_many(make, rows), wide=False)


def _pairs(make: Maker, id: str, title: str, lines: list[tuple[str, Cell]]) -> Table:
    head = [(make.say("what"), False), (make.say("value_word"), True)]
    return Table(id, title, head, [[Cell(name), cell] for name, cell in lines], wide=False)


def _how_many(make: Maker, rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return [make.say("none_open")]
    shown = make.formats.number(min(len(rows), NEWEST))
    return [make.say("newest_of", shown=shown, all=make.formats.number(len(rows)))] if len(rows) > NEWEST else []


def _major(amount: int | None, exact: int) -> float | None:
    return None if amount is None else amount / exact
