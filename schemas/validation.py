"""Which rows keep their contract: accepted, quarantined with the rule that refused each, or superseded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrorReason

from schemas.contract import Contract, column_specs, key_columns, polars_schema, table_name
from schemas.currencies import EXPONENTS

PROVENANCE = {"_source": pl.String(), "_file": pl.String(), "_row": pl.Int64()}
"""Where a row came from; stands beside the contract's columns until the row is accepted or refused."""

QUARANTINE: dict[str, pl.DataType] = {
    "source": pl.String(),
    "table": pl.String(),
    "file": pl.String(),
    "row": pl.Int64(),
    "column": pl.String(),
    "rule": pl.String(),
    "advice": pl.String(),
    "raw": pl.String(),
}
"""One row per refused row, rule and column. `raw` (the row as JSON) is restricted: it may hold personal data."""

_CURRENCY_COLUMNS = ("currency", "reporting_currency")
_STRUCTURAL = {
    SchemaErrorReason.COLUMN_NOT_IN_SCHEMA: "is not a column of the contract: drop it",
    SchemaErrorReason.COLUMN_NOT_IN_DATAFRAME: "is missing",
    SchemaErrorReason.WRONG_DATATYPE: "has another type throughout than the contract",
}


class SourceError(Exception):
    """Stops one source; the others go on. The message says what is there and what to do, without raw values."""


class SourceUnavailable(SourceError):
    """A source that does not answer, or broke off: another try may succeed."""


class SchemaDrift(SourceError):
    """A frame whose columns or types are not those of its contract."""


@dataclass(frozen=True)
class Split:
    """The fate of every row of one batch of a table.

    `accepted` and `superseded` have the columns that came in, in the order they came; `quarantined` has the columns of
    `QUARANTINE`. Rows that came from one row of a file share its fate.
    """

    accepted: pl.DataFrame
    quarantined: pl.DataFrame
    superseded: pl.DataFrame


@dataclass(frozen=True)
class Refusal:
    """A rule, the rows that break it (True) and what to do about them."""

    rule: str
    breaks: pl.Series
    advice: str
    column: str | None = None


def with_provenance(frame: pl.DataFrame, source: str, file: str | None = None) -> pl.DataFrame:
    """Adds the columns of `PROVENANCE`: source and file as given, rows numbered from 1."""
    return frame.with_columns(
        pl.lit(source, pl.String).alias("_source"),
        pl.lit(file, pl.String).alias("_file"),
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("_row"),
    )


def split(contract: type[Contract], frame: pl.DataFrame) -> Split:
    """Splits rows by the rules of their contract, by ISO 4217 and by the uniqueness of the key.

    `frame`: the contract's columns and those of `PROVENANCE`. Rows alike in key and content: the first is kept, the
    others are superseded. Rows alike in key but not in content are all quarantined: nothing tells which one is right.
    Raises `SchemaDrift` if columns or types are not the contract's. Definitions section 18, invariant 20.
    """
    return next(split_parts(contract, [frame.lazy()]))


def split_parts(contract: type[Contract], parts: Sequence[pl.LazyFrame]) -> Iterator[Split]:
    """As `split`, of a table in parts, each of which is read twice and held by itself. Of all only hashes of keys are.

    What came from one row of a file is in one part.
    """
    if not _has_columns(contract, parts[0]):
        _broken_rules(contract, parts[0].collect(engine="in-memory"))
    mandatory = [spec.name for spec in column_specs(contract) if not spec.nullable]
    found = duplicates_in_parts(parts, key_columns(contract), mandatory)
    for part, (repeated, conflicting) in zip(parts, found, strict=True):
        frame = part.collect(engine="in-memory")
        rules = [*_broken_rules(contract, frame), *_unknown_currencies(frame)]
        yield settle(table_name(contract), frame, [*rules, conflicting], repeated)


def _has_columns(contract: type[Contract], part: pl.LazyFrame) -> bool:
    schema = {name: dtype for name, dtype in part.collect_schema().items() if name not in PROVENANCE}
    return schema == polars_schema(contract)


def settle(table: str, frame: pl.DataFrame, refusals: Sequence[Refusal], superseded: pl.Series | None = None) -> Split:
    """Splits the frame by refusals that were found on it; the rest is accepted, but for what is superseded."""
    refused = none_of(frame)
    for refusal in refusals:
        refused |= refusal.breaks
    if refused.any():
        bad = frame.filter(refused).select(PROVENANCE.keys())
        rows = frame.with_row_index("_at").join(bad, on=list(PROVENANCE), how="semi", nulls_equal=True)
        refused = none_of(frame).scatter(rows["_at"], True)
    repeated = none_of(frame) if superseded is None else superseded & ~refused
    leaves = refused | repeated
    return Split(
        accepted=frame.filter(~leaves) if leaves.any() else frame,
        quarantined=quarantine(table, frame, refusals),
        superseded=frame.filter(repeated),
    )


def with_whole_rows(quarantined: pl.DataFrame, rows: pl.LazyFrame) -> pl.DataFrame:
    """The refused rows with `raw` from all columns, where the rules have seen only some of them."""
    refused = quarantined.lazy().select(_file="file", _row="row").unique()
    whole = (
        rows.join(refused, on=["_file", "_row"], how="semi", nulls_equal=True)
        .select(file="_file", row="_row", raw=pl.struct(pl.exclude(list(PROVENANCE))).struct.json_encode())
        .sort(pl.all())
        .unique(["file", "row"], keep="first", maintain_order=True)
        .collect()
    )
    return (
        quarantined.drop("raw")
        .join(whole, on=["file", "row"], how="left", nulls_equal=True, maintain_order="left")
        .select(list(QUARANTINE))
    )


def quarantine(table: str, frame: pl.DataFrame, refusals: Sequence[Refusal]) -> pl.DataFrame:
    """The columns of `QUARANTINE` for every row of the frame and rule that it breaks, in the order of rows.

    `frame` has the columns of `PROVENANCE`; all others go into `raw`.
    """
    lines = [
        frame.filter(refusal.breaks).select(
            source="_source",
            table=pl.lit(table),
            file="_file",
            row="_row",
            column=pl.lit(refusal.column, pl.String),
            rule=pl.lit(refusal.rule),
            advice=pl.lit(refusal.advice),
            raw=pl.struct(pl.exclude(list(PROVENANCE))).struct.json_encode(),
        )
        for refusal in refusals
        if refusal.breaks.any()
    ]
    line = [column for column in QUARANTINE if column != "raw"]
    found = pl.concat([pl.DataFrame(schema=QUARANTINE), *lines]).sort(pl.all())
    return found.unique(line, keep="first", maintain_order=True)


def conserved(rows_in: int, accepted: pl.DataFrame, quarantined: pl.DataFrame, superseded: pl.DataFrame) -> bool:
    """Whether rows in = accepted + quarantined + superseded, counted in rows of the source.

    A row of a file may give several canonical rows (a period gives two changes) and several lines of quarantine.
    Definitions section 18, invariant 20.
    """
    refused = quarantined.select(_source="source", _file="file", _row="row")
    return rows_in == sum(source_rows(rows.lazy()) for rows in (accepted, refused, superseded))


def duplicates(frame: pl.DataFrame, key: Sequence[str], mandatory: Sequence[str]) -> tuple[pl.Series, Refusal]:
    """The rows that repeat an earlier one of the same key and content, and the refusal of those that contradict.

    `mandatory`: columns that must not be null; a row whose key lacks one is no duplicate of another.
    """
    return duplicates_in_parts([frame.lazy()], key, mandatory)[0]


def duplicates_in_parts(
    parts: Sequence[pl.LazyFrame], key: Sequence[str], mandatory: Sequence[str]
) -> list[tuple[pl.Series, Refusal]]:
    """As `duplicates`, of each part among all: nearly all rows are told from each other by a hash of their key."""
    has_key = pl.all_horizontal(pl.col(column).is_not_null() for column in key if column in mandatory)
    hashed = pl.when(has_key).then(pl.struct(key).hash())
    hashes = [part.select(hashed).collect(engine="in-memory").to_series() for part in parts]
    every = pl.concat(hashes)
    alike = every.is_duplicated() & every.is_not_null()
    marks = [(none_of(one), none_of(one)) for one in hashes]
    if alike.any():
        masks = [alike.slice(sum(map(len, hashes[:number])), len(one)) for number, one in enumerate(hashes)]
        candidates = pl.concat(
            part.with_columns(_part=number, _at=pl.int_range(pl.len())).filter(mask).collect(engine="in-memory")
            for number, (part, mask) in enumerate(zip(parts, masks, strict=True))
        )
        rows = candidates.filter(pl.len().over(key) > 1)
        is_same = pl.struct(pl.exclude("_part", "_at", *PROVENANCE)).n_unique().over(key) == 1
        repeats, conflicts = rows.filter(is_same & (pl.int_range(pl.len()).over(key) > 0)), rows.filter(~is_same)
        for number, (repeated, conflicting) in enumerate(marks):
            repeated.scatter(repeats.filter(pl.col("_part") == number)["_at"], True)
            conflicting.scatter(conflicts.filter(pl.col("_part") == number)["_at"], True)
    names = ", ".join(key)
    advice = f"rows of one {names} must not differ: keep the right one in the source, or map another key"
    return [(repeated, Refusal("duplicate_key", conflicting, advice, key[0])) for repeated, conflicting in marks]


def none_of(rows: pl.DataFrame | pl.Series) -> pl.Series:
    """A mask of the rows that marks none."""
    return pl.repeat(False, len(rows), dtype=pl.Boolean, eager=True)


def _broken_rules(contract: type[Contract], frame: pl.DataFrame) -> list[Refusal]:
    """The contract's own rules, by Pandera: each error's `check_output` marks the rows that pass."""
    rows = frame.drop(PROVENANCE)
    try:
        contract.validate(rows, lazy=True)
    except pa.errors.SchemaErrors as found:
        errors = found.schema_errors
    else:
        return []
    drift = [_drift(contract, rows, error) for error in errors if error.reason_code in _STRUCTURAL]
    if drift:
        raise SchemaDrift(f"table {table_name(contract)}: {'; '.join(drift)}")
    refusals = []
    for error in errors:
        if error.check_output is None:
            raise SchemaDrift(f"table {table_name(contract)}: the rule {error.check} of the contract cannot be applied")
        refusals.append(_refusal(error, ~error.check_output.to_series().fill_null(False)))
    return refusals


def _drift(contract: type[Contract], rows: pl.DataFrame, error: Any) -> str:
    expected = polars_schema(contract)
    name = next((c for c in {**expected, **rows.schema} if f"'{c}'" in str(error).split("DataFrameSchema")[0]), "?")
    types = f" ({expected[name]}, here {rows.schema[name]})" if name in expected and name in rows.schema else ""
    return f"column {name!r} {_STRUCTURAL[error.reason_code]}{types}"


def _refusal(error: Any, breaks: pl.Series) -> Refusal:
    """A Pandera error in words that a user of the source can act on."""
    column = str(error.schema.name)
    if isinstance(error.check, str):
        return missing_value(column, breaks)
    limits = error.check.statistics or {}
    correct = "correct the row in the source"
    match error.check.name:
        case "isin":
            allowed = ", ".join(map(str, limits["allowed_values"]))
            rule, advice = "not_allowed", f"{column} must be one of: {allowed}; translate other words with `map`"
        case "in_range":
            low, high = limits["min_value"], limits["max_value"]
            rule, advice = "out_of_range", f"{column} must be from {low:,} to {high:,}: {correct}"
        case "greater_than_or_equal_to":
            rule, advice = "out_of_range", f"{column} must be {limits['min_value']} or more: {correct}"
        case "str_contains":
            rule, advice = "out_of_range", f"{column} must not be 0: {correct}"
        case "str_matches":
            rule, advice = "wrong_pattern", f"{column} must match {limits['pattern']}: correct the row or its mapping"
        case other:
            advice = f"the contract asks that {error.check.description}: correct the row"
            return Refusal(other, breaks, advice)
    return Refusal(rule, breaks, advice, column)


def _unknown_currencies(frame: pl.DataFrame) -> list[Refusal]:
    """Codes that look like a currency but are none."""
    return [
        unknown_currency(column, frame[column].is_in(list(EXPONENTS)).not_() & frame[column].is_not_null())
        for column in _CURRENCY_COLUMNS
        if column in frame.columns
    ]


def missing_value(column: str, breaks: pl.Series) -> Refusal:
    """The refusal of rows that lack what every row must have."""
    advice = f"{column} must be filled in every row: correct the row or map another column"
    return Refusal("missing_value", breaks, advice, column)


def unknown_currency(column: str, breaks: pl.Series) -> Refusal:
    """The refusal of rows whose currency ISO 4217 does not know."""
    advice = f"{column} must be an ISO 4217 code such as USD or EUR: correct the row or translate it with `map`"
    return Refusal("unknown_currency", breaks, advice, column)


def source_rows(frame: pl.LazyFrame) -> int:
    """How many rows of the source the rows come from."""
    rows = frame.group_by("_source", "_file").agg(pl.col("_row").n_unique()).select(pl.col("_row").sum())
    return int(rows.collect(engine="in-memory").item() or 0)
