"""Cells of text as typed values. A cell that cannot be read is null in the result; the caller sees it by comparison."""

import re
from typing import Literal

import polars as pl

from transforms.periods import first_instant

NumberStyle = Literal["plain", "eu", "us"]
_NUMBERS: dict[NumberStyle, str] = {
    "plain": r"^[+-]?\d+(?:\.\d+)?$",
    "eu": r"^[+-]?(?:\d{1,3}(?:\.\d{3})+|\d+)(?:,\d+)?$",
    "us": r"^[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?$",
}
NUMBER_EXAMPLES: dict[NumberStyle, str] = {"plain": "1234.50", "eu": "1.234,50", "us": "1,234.50"}
_WORDS = {"true": True, "t": True, "yes": True, "y": True, "1": True} | {
    "false": False,
    "f": False,
    "no": False,
    "n": False,
    "0": False,
}
_ISO_USUAL = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d")
"""Polars reads these several times faster than forms with fractions or offsets."""
_ISO_OTHER = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M%#z")
_EPOCH_END = 7_258_118_400
"""2200-01-01: a later epoch second is a millisecond that was taken for a second."""


def text(cells: pl.Series) -> pl.Series:
    """Any scalar as text without surrounding blanks; an empty cell is null."""
    stripped = cells.cast(pl.String).str.strip_chars()
    return stripped.replace("", None)


def decimal(cells: pl.Series, style: NumberStyle) -> pl.Series:
    """Numbers as plain decimal text: `1234.50`, with style `eu` from `1.234,50`, with `us` from `1,234.50`."""
    fitting = where(cells, cells.str.contains(_NUMBERS[style])).str.strip_prefix("+")
    if style == "us":
        return fitting.str.replace_all(",", "", literal=True)
    if style == "eu":
        return fitting.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    return fitting


def integer(cells: pl.Series, style: NumberStyle = "plain") -> pl.Series:
    """Whole numbers; `12.0` is one, `12.5` is not."""
    return decimal(cells, style).str.replace(r"\.0+$", "").cast(pl.Int64, strict=False)


def minor_units(cells: pl.Series, exponent: pl.Series, style: NumberStyle) -> tuple[pl.Series, pl.Series]:
    """Amounts in major units as integers in minor units, and the mask of those with more decimals than the currency.

    `exponent`: decimals of each row's currency. Never rounded: an amount with too many decimals is null.
    """
    parts = decimal(cells, style).str.extract_groups(r"^(-?\d+)(?:\.(\d+))?$").struct
    whole, fraction = parts.field("1"), parts.field("2").fill_null("").str.strip_chars_end("0")
    rows = pl.DataFrame({"whole": whole, "fraction": fraction, "exponent": exponent})
    too_fine = rows.select((pl.col("fraction").str.len_chars() > pl.col("exponent")).fill_null(False)).to_series()
    padded = (pl.col("fraction") + "0000").str.head(pl.col("exponent"))
    digits = rows.select(pl.concat_str("whole", padded)).to_series().cast(pl.Int64, strict=False)
    return where(digits, ~too_fine), too_fine


def salesforce_id(cells: pl.Series) -> pl.Series:
    """Salesforce ids of 18 characters; of 15 the check letters are added, of 18 they must fit.

    Of each 5 characters the capitals, as bits, give one check letter of A to Z and 0 to 5.
    """
    known = {cell: _checked_id(cell) for cell in cells.drop_nulls().unique()}
    return cells.replace_strict(known, default=None, return_dtype=pl.String)


def _checked_id(cell: str) -> str | None:
    if not re.fullmatch(r"[A-Za-z0-9]{15}(?:[A-Za-z0-5]{3})?", cell):
        return None
    bits = (
        sum(1 << at for at, letter in enumerate(cell[start : start + 5]) if letter.isupper()) for start in (0, 5, 10)
    )
    whole = cell[:15] + "".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[bit] for bit in bits)
    return whole if cell[15:].upper() in ("", whole[15:]) else None


def boolean(cells: pl.Series) -> pl.Series:
    """true, t, yes, y, 1 and their opposites, in any case."""
    return cells.str.to_lowercase().replace_strict(_WORDS, default=None, return_dtype=pl.Boolean)


def instant(cells: pl.Series, form: str, zone: str) -> pl.Series:
    """Moments in UTC. `form`: iso, epoch_s, epoch_ms, epoch_d or a strptime format; `zone` holds without an offset.

    `epoch_d` counts days: such a moment is midnight in `zone`.

    Of an hour that occurs twice (end of summer time) the earlier one counts; an hour that the clocks skip is null, but
    for midnight, which is then the first instant of its day.
    """
    if form == "epoch_d":
        days = integer(cells)
        plausible = where(days, days.is_between(0, _EPOCH_END // 86_400))
        return in_utc(plausible.cast(pl.Int32).cast(pl.Date), zone)
    if form in ("epoch_s", "epoch_ms"):
        count, per_second = integer(cells), 1_000 if form == "epoch_ms" else 1
        plausible = where(count, count.is_between(0, _EPOCH_END * per_second))
        return (plausible * (1_000_000 // per_second)).cast(pl.Datetime("us", "UTC"))
    if form != "iso":
        return _strptime(cells, form, zone)
    found = _first_fit(cells, _ISO_USUAL, zone)
    unread = where(cells, found.is_null())
    if unread.null_count() == unread.len():
        return found
    unread = unread.str.replace(r"^(\d{4}-\d{2}-\d{2}) +", "${1}T").str.replace(r" ?(UTC|GMT)$", "Z")
    unread = unread.str.replace(r" ([+-]\d{2}(?::?\d{2})?)$", "${1}")
    return found.zip_with(found.is_not_null(), _first_fit(unread, _ISO_OTHER, zone))


def day(cells: pl.Series, form: str) -> pl.Series:
    """Calendar days by `iso` (2026-01-31) or a strptime format."""
    return cells.str.strptime(pl.Date, "%Y-%m-%d" if form == "iso" else form, strict=False)


def in_utc(moments: pl.Series, zone: str) -> pl.Series:
    """Moments of a typed column in UTC; `zone` holds where the column has none.

    A midnight that the clocks skip is the first instant of its day; another moment that they skip is null.
    """
    if isinstance(moments.dtype, pl.Datetime) and moments.dtype.time_zone:
        return moments.dt.cast_time_unit("us").dt.convert_time_zone("UTC")
    local = moments.cast(pl.Datetime("us"))
    found = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
    if found.null_count() == local.null_count():
        return found
    is_midnight = local == local.dt.truncate("1d")
    starts = pl.DataFrame({"day": local}).select(first_instant(pl.col("day"), zone)).to_series()
    return starts.zip_with(is_midnight.fill_null(False), found).alias(moments.name)


def _first_fit(cells: pl.Series, forms: tuple[str, ...], zone: str) -> pl.Series:
    found = _strptime(cells, forms[0], zone)
    for form in forms[1:]:
        unread = where(cells, found.is_null())
        if unread.null_count() < unread.len():
            found = found.zip_with(found.is_not_null(), _strptime(unread, form, zone))
    return found


def _strptime(cells: pl.Series, form: str, zone: str) -> pl.Series:
    if "%p" in form:
        cells = _plain_halves(cells)
    if "GMT%#z" in form:
        cells = cells.str.replace(r"GMT([+-])(\d)(:|$)", "GMT${1}0${2}${3}").str.replace(r"GMT$", "GMT+00")
    if re.search(r"%[:#]*z|%\+", form):
        return cells.str.strptime(pl.Datetime("us", "UTC"), form, strict=False)
    return in_utc(cells.str.strptime(pl.Datetime("us"), form, strict=False), zone)


def _plain_halves(cells: pl.Series) -> pl.Series:
    """The halves of the day as AM and PM, also where a Spanish form writes `p. m.`; odd blanks as plain ones."""
    blanks = cells.str.replace_all("[\u00a0\u202f]", " ")
    return blanks.str.replace(r"(?i)\b([ap])\.? ?m\b\.?", "${1}m")


def where(cells: pl.Series, mask: pl.Series) -> pl.Series:
    """The cells that the mask marks; the others null."""
    nothing = pl.repeat(None, cells.len(), dtype=cells.dtype, eager=True)
    return cells.zip_with(mask.fill_null(False), nothing)
