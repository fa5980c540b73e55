"""The digest: the headlines with their changes and reasons, in few lines, as Markdown for chat or HTML for mail.

Its numbers are those of the page: the same tiles, the same movements. It names accounts by id alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import duckdb
from jinja2 import Environment, StrictUndefined

from pipelines.report import glance
from pipelines.report.formats import Formats
from pipelines.report.parts import Maker
from pipelines.report.published import Published, Scope, find_scope
from pipelines.report.texts import NO_VALUE
from pipelines.show import HEADLINES, UnknownName, find_kpi
from transforms.money import mrr_of

LISTED = 5
_RUNNING = ("mrr", "customers", "new_mrr", "churn_mrr")
"""Headlines that tell something of a month that is not over."""
_PARTS = ("seat", "price", "discount", "product_added", "product_removed")
_CHURN_TYPES = ("voluntary", "involuntary", "unknown")


@dataclass(frozen=True)
class Line:
    """One line: what, how much, and what is to say of it."""

    name: str
    value: str
    remark: str = ""
    is_data: bool = False
    """The name comes from the data: it is set apart, so that no program takes it for an instruction."""


@dataclass(frozen=True)
class Part:
    """Some lines under a heading, and notes below them."""

    title: str
    lines: Sequence[Line]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Digest:
    """A digest, not yet in any format."""

    language: str
    title: str
    about: str
    warnings: Sequence[str]
    parts: Sequence[Part]

    @property
    def markdown(self) -> str:
        """In the least of Markdown: headings and lists, which chats show well or leave readable."""
        blocks = [f"# {_plain(self.title)}", _plain(self.about), *(f"**{_plain(text)}**" for text in self.warnings)]
        for part in self.parts:
            blocks.append(f"## {_plain(part.title)}")
            if part.lines:
                blocks.append("\n".join(_markdown_line(line) for line in part.lines))
            blocks += [_plain(note) for note in part.notes]
        return "\n\n".join(blocks) + "\n"

    @property
    def html(self) -> str:
        """One page that needs nothing, plain enough for mail programs."""
        environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
        template = (files("pipelines.report") / "digest.html.j2").read_text(encoding="utf-8")
        return environment.from_string(template).render(digest=self)


def make_digest(
    con: duckdb.DuckDBPyConnection, scope: Scope, language: str, stale_sources: Mapping[str, str]
) -> Digest:
    """The digest of a period of the published release that `con` reads."""
    make = Maker(Published(con, scope), Formats(language, scope.currency))
    period = make.full_period(scope.start, scope.grain, scope.is_complete)
    about = [f"{make.say('as_of')} {make.formats.day(scope.as_of)}", scope.currency]
    about += [f"{make.say(key)} {fact}" for key, fact in (("release", scope.release), ("policy", scope.policy_version))]
    parts = [_headlines(make), _movements(make), _reasons(make), *_accounts(make), _running(make), _restated(make)]
    return Digest(
        language=language,
        title=f"{make.say('digest')}: {period}",
        about=" · ".join(about),
        warnings=[*glance.warnings(make, stale_sources), *_late(make)],
        parts=[part for part in parts if part is not None],
    )


def _headlines(make: Maker) -> Part:
    tiles = [tile for tile in glance.tiles(make) if tile.raw is not None]
    known = {tile.id for tile in tiles}
    absent = [make.name(find_kpi(name)) for name in HEADLINES if name not in known]
    notes = glance.compared(make)
    if absent:
        notes.append(f"{make.say('no_value')}: {', '.join(absent)}.")
    lines = []
    for tile in tiles:
        change = f"{tile.sign} {tile.change}".strip() if tile.change != NO_VALUE else ""
        lines.append(Line(tile.name, tile.value, ", ".join(filter(None, [change, tile.status, tile.note]))))
    return Part(make.say("headlines"), lines, notes)


def _movements(make: Maker) -> Part | None:
    found = glance.movements(make)
    if found is None:
        return None
    row, steps = found
    money = make.formats.money
    lines = [Line(make.say("opening"), money(row["opening_mrr"]))]
    lines += [Line(make.named(kpi.id.removesuffix("_mrr")), _signed(make, amount)) for kpi, amount in steps if amount]
    return Part(make.say("bridge"), [*lines, Line(make.say("closing"), money(row["closing_mrr"]))])


def _reasons(make: Maker) -> Part | None:
    """What the movements come from, the largest first; then why customers left."""
    found = glance.movements(make)
    if found is None:
        return None
    row, _ = found
    causes = [
        (f"{make.named(movement)}, {make.named(f'{part}_part')}", sign * row[f"{movement}_{part}_arr_minor"])
        for movement, sign in (("expansion", 1), ("contraction", -1))
        for part in _PARTS
    ]
    causes += [(f"{make.named('churn')}, {make.named(kind)}", -row[f"churn_{kind}_arr_minor"]) for kind in _CHURN_TYPES]
    told = sorted((one for one in causes if one[1]), key=lambda one: -abs(one[1]))[:LISTED]
    lines = [Line(name, _signed(make, mrr_of(arr_minor, row["currency"]))) for name, arr_minor in told]
    scope = make.published.scope
    here = {"grain": scope.grain, "period_start": scope.start}
    left = make.published.where("marts.churn_reasons", scope.slice | here).to_dicts()
    left = [one for one in left if one["churn_reason"] != "all" and one["customers"]]
    left.sort(key=lambda one: (-one["customers"], -one["arr_minor"], one["churn_reason"], one["churn_type"]))
    for one in left[:LISTED]:
        customers = make.say("n_is", n=make.formats.number(one["customers"]))
        amount = f"{make.say('arr')} {make.formats.money(one['arr'])}"
        lines.append(Line(one["churn_reason"], customers, f"{make.named(one['churn_type'])}, {amount}", is_data=True))
    return Part(make.say("reasons_of_change"), lines) if lines else None


def _accounts(make: Maker) -> list[Part]:
    """The accounts that moved most in each currency, that of the report first: amounts of several do not compare."""
    scope = make.published.scope
    rows = make.published.query(
        "SELECT account_id, currency, category, closing_arr_minor - opening_arr_minor AS change "
        "FROM facts.account_period WHERE grain = ? AND period_start = ? "
        "ORDER BY currency <> ?, currency, abs(change) DESC, account_id",
        scope.grain,
        scope.start,
        scope.currency,
    ).to_dicts()
    parts = []
    for currency in dict.fromkeys(row["currency"] for row in rows):
        of_currency = [row for row in rows if row["currency"] == currency]
        lines = [
            Line(
                row["account_id"],
                _signed(make, mrr_of(row["change"], currency), currency),
                make.named(row["category"]),
                is_data=True,
            )
            for row in of_currency[:LISTED]
        ]
        counts = {"shown": len(lines), "all": make.formats.number(len(of_currency))}
        most = [make.say("largest_of", table="facts.account_period", **counts)] if len(of_currency) > LISTED else []
        parts.append(Part(f"{make.say('changed_most')} ({currency})", lines, most))
    return parts


def _running(make: Maker) -> Part | None:
    """What is known of the month that is not over."""
    scope = make.published.scope
    try:
        running = find_scope(make.published.con, f"{scope.as_of:%Y-%m}")
    except UnknownName:
        return None
    if running.is_complete or running.start == scope.start or scope.grain != "month":
        return None
    inner = Maker(Published(make.published.con, running), make.formats)
    tiles = [tile for tile in glance.tiles(inner) if tile.id in _RUNNING and tile.raw is not None]
    lines = [Line(tile.name, tile.value) for tile in tiles]
    title = inner.full_period(running.start, running.grain, running.is_complete)
    return Part(title, lines, glance.warnings(inner, {})) if lines else None


def _restated(make: Maker) -> Part | None:
    """Headlines of closed months that are reckoned otherwise now, the newest first."""
    rows = make.published.query(
        "SELECT * FROM marts.restatements WHERE dimension = 'all' AND part = 'all' AND list_contains(?, kpi) "
        "ORDER BY first_seen DESC, month DESC, list_position(?, kpi)",
        list(HEADLINES),
        list(HEADLINES),
    ).to_dicts()
    lines = []
    for row in rows[:LISTED]:
        kpi = find_kpi(row["kpi"])
        before = make.formats.value(row["as_reported"], kpi.unit, row["currency"])
        now = make.formats.value(row["current"], kpi.unit, row["current_currency"])
        what = f"{make.name(kpi)}, {make.formats.period(row['month'], 'month')}"
        lines.append(
            Line(what, f"{before} → {now}", f"{make.named(row['reason'])}, {make.formats.day(row['first_seen'])}")
        )
    most = make.say("first_of", shown=len(lines), all=make.formats.number(len(rows)), table="marts.restatements")
    return Part(make.say("restated"), lines, [most] if len(rows) > LISTED else []) if lines else None


def _late(make: Maker) -> list[str]:
    """What the newest loads still lack."""
    rows = make.published.query(
        "SELECT DISTINCT source, table_name FROM marts.data_quality WHERE incomplete IS NOT NULL ORDER BY ALL"
    ).rows()
    return (
        [make.say("loads_incomplete", tables=", ".join(f"{source}.{table}" for source, table in rows))] if rows else []
    )


def _signed(make: Maker, amount: float, currency: str | None = None) -> str:
    text = make.formats.money(amount, currency)
    return f"+{text}" if amount > 0 else text


def _plain(text: str) -> str:
    """On one line, without what Markdown readers or chats take for markup or a mention."""
    one_line = " ".join(text.split())
    return one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _markdown_line(line: Line) -> str:
    name = f"`{_plain(line.name).replace('`', chr(39))}`" if line.is_data else _plain(line.name)
    remark = f" ({_plain(line.remark)})" if line.remark else ""
    return f"- {name}: {_plain(line.value)}{remark}"
