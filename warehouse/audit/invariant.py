"""What an invariant is, and the pieces of SQL that several of them share."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.currencies import EXPONENTS
from warehouse import names

LEVELS = ("arr", "arr_list", "arr_committed", "arr_past_due", "arr_renewal_grace")
"""The measures of definitions section 2; in the warehouse each is `<level>_minor`, with a side before it."""
STATE_LEVELS = {"arr": "arr_net_minor", **{level: f"{level}_minor" for level in LEVELS[1:]}}
"""The same measures in facts.subscription_state."""
CATEGORIES = ("new", "expansion", "contraction", "churn", "reactivation")
PARTS = ("seat", "price", "discount", "product_added", "product_removed")

AS_OF = "(SELECT CAST(split_part(value, '|', 2) AS DATE) FROM meta.watermark WHERE name = 'accounts')"
"""The day that the stored account facts are reckoned for. Null where none is noted: compare with IS NOT TRUE."""

FIRST_PAID = """(
    SELECT account_id, min(valid_from) AS first_paid FROM facts.subscription_state
    WHERE arr_net_minor > 0 GROUP BY account_id
)"""
"""The first day on which each account pays, straight from its subscriptions."""

_EXPONENTS = sorted(set(EXPONENTS.values()))
MINOR_UNITS = (
    "CASE "
    + " ".join(
        f"WHEN currency IN ({', '.join(names.literal(c) for c in sorted(EXPONENTS) if EXPONENTS[c] == exponent)}) "
        f"THEN {10**exponent}"
        for exponent in _EXPONENTS
    )
    + " END"
)
"""Minor units in one major unit of the row's currency."""


Pair = tuple[str, str, str]
"""Two expressions that must be equal, after the name of what they are."""
Rule = tuple[str, str]
"""A condition that must be true (null breaks it), after its name."""


@dataclass(frozen=True)
class Invariant:
    """Something that must be true of a table. `sql` selects the rows that break it: none means that it holds."""

    id: str
    numbers: tuple[int, ...]
    """Numbers of the invariants in definitions section 18."""
    table: str
    """The table that it guards: where that is missing or empty, the invariant holds."""
    description: str
    advice: str
    sql: str
    blocks: bool = True
    """False for what only warns: the release is published all the same."""


def state_days() -> str:
    """CTEs that end in `state_days`: the state of each account after every day on which an item of it changes.

    Columns: account_id, day, state_before, state, first_paid. From the intervals of its subscription states, by adding
    up what begins and what ends. Definitions section 1, decision 9.
    """
    return f"""
        item_moves AS (
            SELECT account_id, valid_from AS day, arr_net_minor > 0 AS pays, is_paused, is_temporarily_free, 1 AS sign
            FROM facts.subscription_state
            UNION ALL
            SELECT account_id, valid_to, arr_net_minor > 0, is_paused, is_temporarily_free, -1
            FROM facts.subscription_state WHERE valid_to <= {AS_OF}
        ), account_moves AS (
            SELECT account_id, day,
                sum(sign) FILTER (WHERE pays) AS paying,
                sum(sign) FILTER (WHERE is_paused) AS paused,
                sum(sign) FILTER (WHERE is_temporarily_free) AS temporarily_free
            FROM item_moves GROUP BY account_id, day
        ), running AS (
            SELECT account_id, day, first_paid, day >= first_paid AS has_paid,
                sum(paying) OVER until_day > 0 AS is_paying,
                sum(paused) OVER until_day > 0 AS is_paused,
                sum(temporarily_free) OVER until_day > 0 AS is_temporarily_free
            FROM account_moves LEFT JOIN {FIRST_PAID} USING (account_id)
            WINDOW until_day AS (PARTITION BY account_id ORDER BY day)
        ), states AS (
            SELECT account_id, day, CASE WHEN has_paid THEN first_paid END AS first_paid,
                CASE
                    WHEN has_paid IS NOT TRUE THEN 'none'
                    WHEN is_paying THEN 'paying'
                    WHEN is_paused THEN 'paused'
                    WHEN is_temporarily_free THEN 'temporarily_free'
                    ELSE 'none'
                END AS state
            FROM running
        ), state_days AS (
            SELECT account_id, day, state, first_paid,
                lag(state, 1, 'none') OVER (PARTITION BY account_id ORDER BY day) AS state_before
            FROM states
        )"""


def item_moves() -> str:
    """What every subscription item begins and ends to be worth, by day: account_id, currency, day, and the measures."""
    return f"""
        SELECT account_id, currency, valid_from AS day,
            {", ".join(f"{column} AS {level}" for level, column in STATE_LEVELS.items())}
        FROM facts.subscription_state
        UNION ALL
        SELECT account_id, currency, valid_to, {", ".join(f"-{column}" for column in STATE_LEVELS.values())}
        FROM facts.subscription_state WHERE valid_to <= {AS_OF}"""


def same(columns: Sequence[str], one: str, other: str) -> list[Pair]:
    """The same columns of two aliases, to compare."""
    return [(name, f"{one}.{name}", f"{other}.{name}") for name in columns]


def differ(pairs: Sequence[Pair]) -> str:
    """Condition: the two expressions of any pair differ. Nulls are equal."""
    return " OR ".join(f"{left} IS DISTINCT FROM {right}" for _, left, right in pairs)


def differences(pairs: Sequence[Pair], one: str, other: str) -> str:
    """A text that lists the pairs that differ; `one` and `other` say what the two sides are."""
    cases = ", ".join(
        f"CASE WHEN {left} IS DISTINCT FROM {right} THEN "
        f"'{name} ' || coalesce(CAST({left} AS VARCHAR), 'null') || ' {one}, ' || "
        f"coalesce(CAST({right} AS VARCHAR), 'null') || ' {other}' END"
        for name, left, right in pairs
    )
    return f"concat_ws('; ', {cases})"


def break_any(rules: Sequence[Rule]) -> str:
    """Condition: the row breaks any of the rules."""
    return f"({' AND '.join(f'({condition})' for _, condition in rules)}) IS NOT TRUE"


def broken(rules: Sequence[Rule]) -> str:
    """A text that lists the rules that a row breaks."""
    cases = ", ".join(f"CASE WHEN ({condition}) IS NOT TRUE THEN '{name}' END" for name, condition in rules)
    return f"concat_ws('; ', {cases})"


def members_add_up(table: str, keys: Sequence[str], measures: Sequence[str]) -> str:
    """Slices where the sum over the members of a dimension is not the total (dimension `all`)."""
    key, pairs = ", ".join(keys), [(name, f"coalesce(s.{name}, 0)", f"coalesce(t.{name}, 0)") for name in measures]
    return f"""
        WITH t AS (
            SELECT * FROM {table}
            JOIN (SELECT DISTINCT grain, dimension AS of_dimension FROM {table} WHERE dimension <> 'all') USING (grain)
            WHERE dimension = 'all'
        ), s AS (
            SELECT {key}, dimension AS of_dimension, {", ".join(f"sum({name}) AS {name}" for name in measures)}
            FROM {table} WHERE dimension <> 'all' GROUP BY {key}, dimension
        )
        SELECT {key}, of_dimension, {differences(pairs, "over members", "in total")} AS differences
        FROM s FULL JOIN t USING ({key}, of_dimension)
        WHERE {differ(pairs)}"""


def rates_are_fractions(table: str, keys: str, rates: Sequence[str]) -> str:
    """Rows where a rate is not its numerator / denominator, or not null over a denominator of 0."""
    pairs = [
        (name, name, f"CASE WHEN {name}_denominator <> 0 THEN {name}_numerator / {name}_denominator END")
        for name in rates
    ]
    return f"""
        SELECT {keys}, {differences(pairs, "published", "as a fraction")} AS differences FROM {table}
        WHERE {differ(pairs)}"""
