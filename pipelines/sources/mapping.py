"""From raw rows to canonical rows, as `sources.yaml` says: one typed column after the other."""

from dataclasses import dataclass, replace
from zoneinfo import available_timezones

import duckdb
import polars as pl

from pipelines.config import ColumnMapping, Scalar, TableMapping, ZoneColumn
from pipelines.sources import cells
from pipelines.sources.files import RawTable
from pipelines.sources.headers import Bound, MissingColumn, bind, listing, must_find
from pipelines.sources.shapes import canonical_columns, changes_of
from schemas.contract import Contract, empty_frame
from schemas.currencies import EXPONENTS
from schemas.validation import PROVENANCE, QUARANTINE, Refusal, SourceError, none_of, quarantine, unknown_currency

_UNREADABLE = ("not_a_number", "not_an_amount", "not_a_date", "not_a_time", "not_true_or_false")
_CURRENCY_COLUMNS = ("currency", "reporting_currency")


class WrongType(SourceError):
    """A column none of whose cells in a file can be read: the mapping is wrong, not the rows."""


class WrongMapping(SourceError):
    """A mapping that cannot be applied to the columns that are there."""


@dataclass(frozen=True)
class Mapped:
    """Rows of a raw table as canonical rows.

    `frame`: the contract's columns and those of `PROVENANCE`; `rejected`: columns of `QUARANTINE`; `superseded`: rows
    that repeat another (by `distinct` or in a shape of its own), `PROVENANCE` alone; `left_out`: how many rows `where`
    excludes, which are no rows of the table.
    """

    frame: pl.DataFrame
    rejected: pl.DataFrame
    superseded: pl.DataFrame
    left_out: int


def to_canonical(
    raw: RawTable, spec: TableMapping, contract: type[Contract], day_zone: str = "UTC", fewest: int = 2
) -> Mapped:
    """Canonical rows of a raw table, in its order. A row with a cell that cannot be read is rejected, with every rule.

    Raises `WrongType` where no cell of a column in a file can be read, if there are `fewest` at least; `WrongMapping`
    where the mapping cannot be applied; `MissingColumn` and `AmbiguousColumn` as `bind` does.
    """
    place = f"source {raw.source}, table {raw.table}"
    if not _headers(raw.frame):
        # A list of an API without a single object tells no headers.
        nothing = pl.DataFrame(schema=PROVENANCE)
        return Mapped(empty_frame(contract).hstack(nothing), pl.DataFrame(schema=QUARANTINE), nothing, 0)
    frame, repeats = _distinct(_where(_let(raw.frame, spec, place), spec, place), spec, place)
    bound = bind(spec, contract, _headers(frame), place)
    values: dict[str, pl.Series] = {}
    refusals: list[Refusal] = []
    # Amounts come last: they need the currency of their row.
    for name, one in sorted(bound.items(), key=lambda item: item[1].mapping.money is not None):
        # What `let` reckons is written as SQL writes it.
        has_comma = spec.read.decimal_comma and one.header not in spec.let
        values[name], refused = _column(
            one, frame, has_comma, values.get("currency"), f"{place}, column {name!r}", day_zone, fewest
        )
        refusals += refused
    columns = canonical_columns(contract, spec.shape)
    canonical = pl.DataFrame([values.get(c.name, _repeat(None, frame, c.dtype)).alias(c.name) for c in columns])
    is_bad = none_of(frame)
    for refusal in refusals:
        is_bad |= refusal.breaks
    rejected = quarantine(raw.table, frame, refusals)
    canonical = canonical.hstack(frame.select(PROVENANCE.keys()))
    canonical = canonical.filter(~is_bad) if is_bad.any() else canonical
    left_out = raw.frame.height - frame.height - repeats.height
    if spec.shape == "changes":
        return Mapped(canonical, rejected, repeats, left_out)
    changes = changes_of(spec.shape, canonical, contract)
    superseded = pl.concat([repeats, changes.superseded.select(PROVENANCE.keys())])
    return Mapped(changes.accepted, pl.concat([rejected, changes.quarantined]), superseded, left_out)


def takes_rows_by_themselves(spec: TableMapping) -> bool:
    """Whether a row becomes the same whatever other rows there are."""
    return spec.shape == "changes" and not (spec.let or spec.where or spec.distinct)


def _let(frame: pl.DataFrame, spec: TableMapping, place: str) -> pl.DataFrame:
    """The rows with the columns that `let` reckons, each of which may use those before it."""
    for name, expression in spec.let.items():
        try:
            frame = frame.with_columns(pl.sql_expr(expression).cast(pl.String).alias(name))
        except pl.exceptions.ColumnNotFoundError:
            raise MissingColumn(
                f"{place}: `let: {name}` names a header that is not there. {listing(expression, _headers(frame))}"
            ) from None
        except pl.exceptions.PolarsError:
            raise WrongMapping(f"{place}: `let: {name}` cannot be applied. Cells of text files are text") from None
    return frame.select(pl.exclude(*PROVENANCE), *PROVENANCE)


def _distinct(frame: pl.DataFrame, spec: TableMapping, place: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The first row of those alike in the columns of `distinct`, and the others; blank rows are like no other."""
    if not spec.distinct:
        return frame, frame.clear().select(PROVENANCE.keys())
    headers = [must_find(name, _headers(frame), f"{place}, `distinct`") for name in spec.distinct]
    keys = pl.DataFrame([_text(frame, header, place).alias(str(at)) for at, header in enumerate(headers)])
    is_kept = keys.select(pl.struct(pl.all()).is_first_distinct() | pl.all_horizontal(pl.all().is_null())).to_series()
    return frame.filter(is_kept), frame.filter(~is_kept).select(PROVENANCE.keys())


def _where(frame: pl.DataFrame, spec: TableMapping, place: str) -> pl.DataFrame:
    if spec.where is None:
        return frame
    try:
        return frame.filter(pl.sql_expr(spec.where))
    except pl.exceptions.ColumnNotFoundError:
        raise MissingColumn(
            f"{place}: `where` names a header that is not there. {listing(spec.where, _headers(frame))}"
        ) from None
    except pl.exceptions.PolarsError:
        raise WrongMapping(
            f"{place}: `where` cannot be applied. Cells of text files are text: compare them with quoted text, "
            'or write CAST("Header" AS DOUBLE)'
        ) from None


def _column(
    one: Bound, frame: pl.DataFrame, eu: bool, currency: pl.Series | None, place: str, day_zone: str, fewest: int
) -> tuple[pl.Series, list[Refusal]]:
    """Typed values of one canonical column; where each row names its zone, reckoned once for each zone."""
    if not isinstance(one.zone, ZoneColumn):
        return _column_in(one, one.zone, frame, eu, currency, place, day_zone, fewest)
    zones = _text(frame, one.zone.from_, place)
    unknown = zones.is_in(sorted(available_timezones())).not_().fill_null(True)
    advice = f"{one.column.name}: the column {one.zone.from_} must name an IANA time zone such as America/Denver"
    values = _repeat(None, frame, one.column.dtype)
    refusals = [Refusal("unknown_zone", unknown, advice, one.column.name)]
    for zone in zones.filter(~unknown).unique().sort():
        here, refused = _column_in(one, zone, frame, eu, currency, place, day_zone, fewest)
        values = here.zip_with((zones == zone).fill_null(False), values)
        refusals += [replace(refusal, breaks=refusal.breaks & (zones == zone).fill_null(False)) for refusal in refused]
    return values, refusals


def _column_in(
    one: Bound,
    tz: str | None,
    frame: pl.DataFrame,
    eu: bool,
    currency: pl.Series | None,
    place: str,
    day_zone: str,
    fewest: int,
) -> tuple[pl.Series, list[Refusal]]:
    """Typed values of one canonical column, and the rows that cannot have one. `eu`: numbers have a decimal comma.

    `day_zone`: where a day without a time begins, unless the mapping names a zone.
    """
    mapping, dtype = one.mapping, one.column.dtype
    if one.hashed:
        return _hash([_text(frame, header, place) for header in one.hashed]), []
    if one.header and not one.others and frame.schema[one.header].is_temporal() and dtype.is_temporal():
        is_day = frame.schema[one.header] == pl.Date
        zone = tz or (day_zone if is_day else "UTC")
        values, refusals = _of_moments(frame[one.header], dtype, zone), []
    else:
        given = _text(frame, one.header, place) if one.header else _repeat(_literal(mapping.const), frame, pl.String())
        for other in one.others:
            given = given.zip_with(given.is_not_null(), _text(frame, other, place))
        words, untranslated = _translated(one, given)
        codes = None if mapping.money is None else _codes(one, frame, currency, place)
        values, unread = _typed(one, tz, words, eu, codes)
        if isinstance(dtype, pl.Datetime) and tz is None:
            values = values.zip_with(
                ~_are_days(words, mapping.time), cells.in_utc(values.dt.replace_time_zone(None), day_zone)
            )
        refusals = [refusal for refusal in (*untranslated, *unread) if refusal.breaks.any()]
        if refusals and one.header is None:
            raise WrongMapping(f"{place}: `const` does not fit. {refusals[0].advice}")
        for refusal in refusals:
            if refusal.rule in _UNREADABLE:
                _check_some_fit(frame["_file"], words.is_not_null(), refusal, place, fewest)
    if one.months:
        months = _text(frame, one.months, place)
        values, unread = _minus_months(one, tz or "UTC", values, months)
        refusals += unread
    if one.minutes:
        values, unread = _plus_minutes(one, values, _text(frame, one.minutes, place))
        refusals += unread
    if mapping.plus_days:
        values = _plus_days(values, mapping.plus_days, tz or day_zone)
    return values, refusals


def _are_days(words: pl.Series, form: str | None) -> pl.Series:
    """True where a cell is a day without a time."""
    if form in (None, "iso"):
        return words.str.contains(r"^\d{4}-\d{2}-\d{2}$").fill_null(False)
    has_time = any(part in form for part in ("%H", "%I", "%T", "%R", "%s", "%c", "epoch_s", "epoch_ms"))
    return pl.repeat(not has_time, words.len(), dtype=pl.Boolean, eager=True)


def _translated(one: Bound, given: pl.Series) -> tuple[pl.Series, list[Refusal]]:
    """Cells after `extract`, `lower` or `upper`, and `map`, in this order. Blank cells stay blank unless mapped."""
    mapping, name, refusals = one.mapping, one.column.name, []
    words = given
    if mapping.extract is not None:
        words = cells.text(given.str.extract(mapping.extract, 1))
        no_match = given.is_not_null() & given.str.contains(mapping.extract).not_()
        refusals.append(Refusal("no_match", no_match, f"{name}: `extract` finds nothing: correct it or the row", name))
    if mapping.lower:
        words = words.str.to_lowercase()
    if mapping.upper:
        words = words.str.to_uppercase()
    if mapping.map is not None:
        known = {word: _literal(value) for word, value in mapping.map.items()}
        unknown = words.is_not_null() & words.is_in(list(known)).not_()
        default = _literal(mapping.default)
        blank = known.get("")
        words = words.replace_strict(known, default=default, return_dtype=pl.String).zip_with(
            words.is_not_null(), pl.repeat(blank, words.len(), dtype=pl.String, eager=True)
        )
        if "default" not in mapping.model_fields_set:
            advice = f"{name}: the word is not in `map`; add it, or a `default`"
            refusals.append(Refusal("not_in_map", unknown, advice, name))
    if name in _CURRENCY_COLUMNS:
        words = words.str.to_uppercase()
    return words, refusals


def _typed(
    one: Bound, tz: str | None, words: pl.Series, eu: bool, codes: pl.Series | None
) -> tuple[pl.Series, list[Refusal]]:
    """Words as values of the column's type, and the refusals of those that are none."""
    mapping, name, others = one.mapping, one.column.name, []
    style = _style(mapping, eu)
    example = cells.NUMBER_EXAMPLES[style]
    match one.column.dtype:
        case pl.String:
            if mapping.salesforce_id:
                return _salesforce(name, words)
            if mapping.number is None:
                return words, []
            values, rule, form = cells.decimal(words, style), "not_a_number", f"a number such as {example}"
        case pl.Int64 if codes is not None and mapping.money != "minor":
            exponents = codes.replace_strict(EXPONENTS, default=None, return_dtype=pl.Int64)
            values, too_fine = cells.minor_units(words, exponents, style)
            unknown = words.is_not_null() & exponents.is_null()
            rule, form = "not_an_amount", f"an amount such as {example}"
            advice = f"{name} has more decimals than its currency: correct the amount or the currency"
            others = [
                unknown_currency(name if one.currency else "currency", unknown),
                Refusal("too_many_decimals", too_fine, advice, name),
            ]
        case pl.Int64 if mapping.money == "minor":
            # 100.00 would be a hundred cents here, and is a hundred dollars to whoever wrote it.
            values = cells.integer(cells.where(words, ~words.str.contains(r"[.,]").fill_null(False)))
            rule, form = "not_an_amount", "a whole number of minor units (for amounts such as 12.50 `money: major`)"
        case pl.Int64:
            values, rule, form = cells.integer(words, style), "not_a_number", "a whole number"
        case pl.Boolean:
            values, rule, form = cells.boolean(words), "not_true_or_false", "true or false; translate words with `map`"
        case pl.Date if mapping.time or mapping.tz:
            moments = cells.instant(words, mapping.time or "iso", tz or "UTC")
            values, rule, form = _of_moments(moments, pl.Date(), tz or "UTC"), "not_a_time", _form(mapping.time)
        case pl.Date:
            values, rule, form = cells.day(words, mapping.date or "iso"), "not_a_date", _form(mapping.date)
        case _:
            values = cells.instant(words, mapping.time or "iso", tz or "UTC")
            rule, form = "not_a_time", _form(mapping.time)
    unread = words.is_not_null() & values.is_null()
    for other in others:
        unread &= ~other.breaks
    return values, [Refusal(rule, unread, f"{name} must be {form}: correct the row or its mapping", name), *others]


def _style(mapping: ColumnMapping, eu: bool) -> cells.NumberStyle:
    """How the numbers of a column are written: as the column says, else as the file does."""
    if mapping.number:
        return mapping.number
    if mapping.money in ("eu", "us"):
        return mapping.money
    return "eu" if eu else "plain"


def _salesforce(name: str, words: pl.Series) -> tuple[pl.Series, list[Refusal]]:
    ids = cells.salesforce_id(words)
    unread = words.is_not_null() & ids.is_null()
    advice = f"{name} must be a Salesforce id of 15 or 18 characters in its own case; was the file saved by Excel?"
    return ids, [Refusal("not_an_id", unread, advice, name)]


def _form(form: str | None) -> str:
    return "ISO 8601 such as 2026-01-31" if form in (None, "iso") else f"of the form {form}"


def _codes(one: Bound, frame: pl.DataFrame, currency: pl.Series | None, place: str) -> pl.Series:
    """The currency of each row's amount: the canonical column, a column of the file, or one code for all."""
    if one.currency is None:
        return _repeat(None, frame, pl.String()) if currency is None else currency
    if one.currency in frame.columns:
        return _text(frame, one.currency, place).str.to_uppercase()
    return _repeat(one.currency, frame, pl.String())


def _plus_minutes(one: Bound, values: pl.Series, minutes: pl.Series) -> tuple[pl.Series, list[Refusal]]:
    """Values so many minutes later; null where the minutes are."""
    count = cells.integer(minutes)
    unread = minutes.is_not_null() & ~(count >= 0).fill_null(False)
    advice = f"{one.column.name}: the minutes to go on must be a whole number: correct the row"
    later = values + (cells.where(count, ~unread) * 60_000_000).cast(pl.Duration("us"))
    return later, [Refusal("not_a_number", unread, advice, one.column.name)]


def _minus_months(one: Bound, zone: str, values: pl.Series, months: pl.Series) -> tuple[pl.Series, list[Refusal]]:
    """Values so many calendar months earlier; the 31st becomes the last day of a shorter month."""
    name = one.column.name
    count = cells.integer(months)
    unread = months.is_not_null() & ~(count >= 0).fill_null(False)
    rows = pl.DataFrame({"value": values, "months": cells.where(count, ~unread)})
    value = pl.col("value").dt.convert_time_zone(zone) if isinstance(values.dtype, pl.Datetime) else pl.col("value")
    earlier = value.dt.offset_by(pl.concat_str(pl.lit("-"), "months", pl.lit("mo")))
    moved = rows.select(earlier).to_series().cast(values.dtype)
    advice = f"{name}: the months to go back must be a whole number: correct the row"
    return moved, [Refusal("not_a_number", unread, advice, name)]


def _plus_days(values: pl.Series, days: int, zone: str) -> pl.Series:
    """Values so many calendar days later: a last day that still counts becomes the first that does not."""
    if values.dtype == pl.Date:
        return values.dt.offset_by(f"{days}d")
    return cells.in_utc(values.dt.convert_time_zone(zone).dt.replace_time_zone(None).dt.offset_by(f"{days}d"), zone)


def _hash(parts: list[pl.Series]) -> pl.Series:
    """32 hexadecimal digits of SHA-256 over the cells: the same for the same cells, on every machine and version."""
    joined = pl.DataFrame([part.alias(str(at)) for at, part in enumerate(parts)]).select(
        pl.when(~pl.all_horizontal(pl.all().is_null()))
        .then(pl.concat_str(pl.all().fill_null(""), separator="\x1f"))
        .alias("joined")
    )
    with duckdb.connect() as connection:
        connection.register("joined_cells", joined)
        ids: pl.DataFrame = connection.sql("select sha256(joined)[:32] as id from joined_cells").pl()
    return ids["id"]


def _of_moments(moments: pl.Series, dtype: pl.DataType, zone: str) -> pl.Series:
    """Typed dates or times as the instants or local days of a column."""
    if moments.dtype == pl.Date and dtype == pl.Date:
        return moments
    instants = cells.in_utc(moments, zone)
    return instants.dt.convert_time_zone(zone).dt.date() if dtype == pl.Date else instants


def _check_some_fit(files: pl.Series, given: pl.Series, refusal: Refusal, place: str, fewest: int) -> None:
    """Raises `WrongType` for a file none of whose cells, `fewest` at least, can be read."""
    counts = (
        pl.DataFrame({"file": files, "given": given, "bad": refusal.breaks})
        .group_by("file")
        .agg(pl.col("given", "bad").sum())
        .filter((pl.col("given") >= fewest) & (pl.col("bad") == pl.col("given")))
        .sort("file")
    )
    for file, count, _ in counts.head(1).iter_rows():
        raise WrongType(f"{place}: none of the {count:,} values in file {file} can be read. {refusal.advice}")


def _literal(value: Scalar | None) -> str | None:
    """A value of the configuration as the text of a cell."""
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)


def _text(frame: pl.DataFrame, header: str, place: str) -> pl.Series:
    if frame.schema[header].is_nested():
        raise WrongMapping(f"{place}: the header {header!r} holds lists or structures; export plain columns")
    return cells.text(frame[header])


def _repeat(value: str | None, frame: pl.DataFrame, dtype: pl.DataType) -> pl.Series:
    return pl.repeat(value, frame.height, dtype=dtype, eager=True)


def _headers(frame: pl.DataFrame) -> list[str]:
    return [name for name in frame.columns if name not in PROVENANCE]
