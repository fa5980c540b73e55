"""Slices: the same additive measures for all accounts and for each member of a dimension. Definitions section 0.

A slice is a period x dimension x member. Members are frozen at the start of the month in which the period begins
(decision 13), so opening + movements = closing holds for every member.
"""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from transforms import runs

DIMENSIONS = ("segment", "plan", "country", "industry", "channel", "owner", "tenure")
ALL = "all"
SLICE = ("dimension", "member")
UNASSIGNED = "unassigned"
ROWS = "rows"
COUNTED = {ROWS: pl.lit(1, pl.Int64)}
"""A measure that tells how many rows were added up, for sums in which rows are replaced later (`replaced`)."""


def with_members(rows: pl.DataFrame, attributes: pl.DataFrame) -> pl.DataFrame:
    """Adds the account's member of each dimension at the start of the month of `period_start`.

    `attributes`: account_id, month (first day of the month from which the row holds; the account's first row holds
    since ever), one column per dimension; or what `coded_members` makes of these. Accounts without attributes are
    `unassigned`.
    """
    return with_member_codes(rows, attributes).with_columns(pl.col(*DIMENSIONS).cast(pl.String))


def with_member_codes(rows: pl.DataFrame, attributes: pl.DataFrame) -> pl.DataFrame:
    """As `with_members`, but members are codes where `attributes` has codes: text takes most of the time of sums."""
    known = attributes if _SINCE in attributes.columns else searchable(attributes)
    found = newest(known, rows["account_id"], rows["period_start"].dt.truncate("1mo"))
    of_rows = known.select(pl.col(*DIMENSIONS).gather(found).fill_null(UNASSIGNED))
    return pl.concat([rows, of_rows], how="horizontal")


def newest(known: pl.DataFrame, accounts: pl.Series, days: pl.Series) -> pl.Series:
    """Which row of `known` (see `searchable`) holds for each account on each day, by position; null where none does."""
    wanted = pl.DataFrame({"account": _codes_of(accounts, known.schema["account_id"]), "month": days})
    since = wanted.select(_since("account")).to_series()
    last = known[_SINCE].search_sorted(since, side="right").cast(pl.Int64) - 1
    position = wanted.select(pl.when(last >= 0).then(last)).to_series()
    is_own = known["account_id"].to_physical().gather(position) == wanted["account"]
    return wanted.select(pl.when(is_own).then(position)).to_series()


_DAYS = 1 << 23
"""More days than a date can have."""
_SINCE = "_since"


def _codes_of(ids: pl.Series, codes: pl.DataType) -> pl.Series:
    """The codes of these ids; null for one that has none."""
    if not isinstance(codes, pl.Enum):
        raise TypeError(f"accounts are not coded, but {codes}")
    if ids.dtype == codes:
        return ids.to_physical().cast(pl.Int64)
    # A cast to codes would look at every account there is, however few are asked for. Rows mostly come account by
    # account: a run of rows of one is looked up once.
    asked = pl.DataFrame({"id": ids.cast(pl.String)}).with_columns(is_first=runs.starts("id"))
    names, wanted = codes.categories, asked.filter("is_first")["id"]
    place = names.search_sorted(wanted).cast(pl.Int64)
    position = pl.select(pl.when(place < names.len()).then(place)).to_series()
    of_runs = pl.select(pl.when(names.gather(position) == wanted).then(position)).to_series()
    return of_runs.gather(asked.select(pl.col("is_first").cum_sum().cast(pl.Int64) - 1).to_series())


def _since(account: str) -> pl.Expr:
    """One integer that sorts by account and then by month."""
    return pl.col(account) * _DAYS + pl.col("month").to_physical().cast(pl.Int64) + _DAYS // 2


def searchable(known: pl.DataFrame) -> pl.DataFrame:
    """Rows to be searched by `newest`: sorted, with one integer per row that tells of whom and from when on it holds.

    `known`: account_id, month (the day from which the row holds; an account's first row holds since ever). Of rows of
    one account and day the last holds.
    """
    ids = known["account_id"]
    codes = ids.dtype if isinstance(ids.dtype, pl.Enum) else pl.Enum(ids.unique().sort())
    rows = known.with_columns(pl.col("account_id").cast(codes)).with_columns(
        _account=pl.col("account_id").to_physical().cast(pl.Int64)
    )
    sorted_rows = rows.with_columns(_since("_account").alias(_SINCE)).sort(_SINCE, maintain_order=True)
    is_first = runs.starts("_account")
    return sorted_rows.with_columns(
        pl.when(is_first).then(pl.col("_account") * _DAYS).otherwise(_SINCE).alias(_SINCE)
    ).drop("_account")


def coded_ids(*frames: pl.DataFrame) -> list[pl.DataFrame]:
    """The frames with account ids as codes in the order of the ids: text would take most of the time of grouping."""
    ids = pl.Enum(pl.concat([frame["account_id"].cast(pl.String) for frame in frames]).unique().sort())
    # What attributes are searched by is made of the codes that they had.
    return [frame.drop(_SINCE, strict=False).with_columns(pl.col("account_id").cast(ids)) for frame in frames]


def coded_members(parts: Iterable[pl.DataFrame], codes: Mapping[str, pl.Enum]) -> pl.DataFrame:
    """The attributes, of which these are the parts, with members as codes, ready to be searched by `with_members`.

    `codes`: `member_codes`. As text, the members of many accounts take four times the memory.
    """
    return searchable(pl.concat(part.with_columns(pl.col(name).cast(codes[name]) for name in codes) for part in parts))


def coded(attributes: pl.DataFrame) -> pl.DataFrame:
    """The attributes of some accounts as `coded_members` makes them, with codes of their own."""
    return coded_members([attributes], member_codes({name: attributes[name] for name in DIMENSIONS}))


def member_codes(members: Mapping[str, pl.Series]) -> dict[str, pl.Enum]:
    """The codes of the members of each dimension, in their order. `members`: all that occur."""
    nobody = pl.Series([UNASSIGNED])
    return {name: pl.Enum(pl.concat([found, nobody]).unique().sort()) for name, found in members.items()}


def sum_by_member(
    rows: pl.DataFrame,
    keys: Sequence[str],
    measures: Mapping[str, pl.Expr],
    dimensions: Sequence[str] = (ALL, *DIMENSIONS),
) -> pl.DataFrame:
    """Sums of the measures per key, dimension and member; the dimension `all` has one member, `all`.

    `rows` carries the members (see `with_members`). Grain: keys x dimension x member. Sums are exact integers.
    """
    valued = rows.select(*keys, *DIMENSIONS, **measures).lazy()
    totals = [
        valued.group_by(*keys, member)
        .agg(pl.col(*measures).sum())
        .select(*keys, pl.lit(name).alias("dimension"), member.cast(pl.String).alias("member"), *measures)
        for name, member in ((d, pl.lit(ALL).alias(ALL) if d == ALL else pl.col(d)) for d in dimensions)
    ]
    return pl.concat(totals).sort(*keys, *SLICE).collect(engine="in-memory")


def add_up(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Sums of several shards of accounts as one, sorted: equal keys (all columns but integers) are added."""
    rows = pl.concat(parts)
    keys, measures = keys_and_measures(rows.schema)
    # Text is grouped and sorted as the codes of its values, in their order: a third of the time.
    texts = [name for name in keys if rows.schema[name] == pl.String]
    codes = {name: pl.Enum(rows[name].drop_nulls().unique().sort()) for name in texts}
    coded_rows = rows.with_columns(pl.col(name).cast(codes[name]) for name in texts)
    sums = coded_rows.group_by(keys).agg(pl.col(measures).sum()).sort(keys)
    return sums.select(pl.col(name).cast(dtype) for name, dtype in rows.schema.items())


def replaced(total: pl.DataFrame, gone: pl.DataFrame, come: pl.DataFrame) -> pl.DataFrame:
    """The sums after rows were replaced, from the sums of what is gone and of what has come: exactly those of all rows.

    All three carry `ROWS`: a key of which no row is left is no more.
    """
    _, measures = keys_and_measures(total.schema)
    parts = [total, gone.with_columns(-pl.col(measures)), come]
    return add_up([part.select(total.columns) for part in parts]).filter(pl.col(ROWS) != 0)


def keys_and_measures(schema: pl.Schema) -> tuple[list[str], list[str]]:
    """The columns of additive sums: what they are of, and the integers that add up."""
    measures = [name for name, dtype in schema.items() if dtype == pl.Int64]
    return [name for name in schema if name not in measures], measures


def balances_at(changes: pl.DataFrame, keys: Sequence[str], levels: Sequence[str], starts: pl.Series) -> pl.DataFrame:
    """The levels that hold at the first instant of each given day, wherever one is not 0.

    `changes`: keys, day, and the level *after* the changes of that day, sorted by keys and day. `starts`: sorted days.
    Grain: keys x period_start. Definitions section 0: what ends on a day is not in the opening of the next.
    """
    days = changes["day"]
    until = changes.select(runs.following(pl.col("day"), *keys)).to_series()
    first = starts.search_sorted(days, side="right").cast(pl.Int64)
    last = starts.search_sorted(until.fill_null(starts.max()), side="right").cast(pl.Int64)
    spans = changes.select(*keys, *levels).with_columns(period=pl.int_ranges(first, last))
    held = spans.filter(pl.any_horizontal(pl.col(*levels) != 0) & (pl.col("period").list.len() > 0))
    return (
        held.explode("period").with_columns(period_start=starts.gather(held.explode("period")["period"])).drop("period")
    )


def complete(sums: pl.DataFrame, calendar: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Every period of the calendar for every slice that occurs: a period without events is a row of zeros.

    Definitions section 17. Adds period_end and is_complete. Sorted by keys, dimension, member, period_start.
    """
    slices = sums.lazy().select(*keys, *SLICE).unique().sort(*keys, *SLICE)
    measures = [column for column in sums.columns if column not in {*keys, *SLICE, "period_start"}]
    return (
        slices.join(calendar.lazy(), how="cross", maintain_order="left_right")
        .join(sums.lazy(), on=[*keys, *SLICE, "period_start"], how="left", maintain_order="left")
        .with_columns(pl.col(*measures).fill_null(0))
        .collect(engine="in-memory")
    )
