"""Invariants of marts.kpi_values: it says what the marts say, once, and its members add up."""

from schemas.catalogue import CATALOGUE, LONG_GRAINS, Kpi
from warehouse import names
from warehouse.audit.invariant import Invariant, differ, differences, same

_VALUES = "marts.kpi_values"
_KEY = "kpi, grain, dimension, member, part, period_start"
_GRAINS = ", ".join(names.literal(grain) for grain in LONG_GRAINS)
_SAME = same(("period_end", "is_complete", "currency", "value", "numerator", "denominator", "n", "small_n"), "a", "b")
_KPIS = ", ".join(f"({names.literal(kpi.id)}, {kpi.is_additive})" for kpi in CATALOGUE)
_OF_COHORTS = ", ".join(names.literal(kpi.id) for kpi in CATALOGUE if kpi.period != "period_start")
_PUBLISHED = ", ".join(
    f"({names.literal(kpi.id)}, {names.literal(grain)}, {kpi.is_snapshot})" for kpi in CATALOGUE for grain in kpi.grains
)


def _in_its_mart(kpi: Kpi) -> str:
    """The headline rows of a KPI, straight from its table, in the columns of marts.kpi_values."""
    told = ", ".join(f"nullif(CAST({names.column(part)} AS VARCHAR), 'all')" for part in kpi.parts)
    conditions = [f"grain IN ({_GRAINS})", *(f"{names.column(c)} = {names.literal(v)}" for c, v in kpi.rows.items())]
    if kpi.is_curve:
        conditions.append("dimension = 'all'")
    return f"""
        SELECT {names.literal(kpi.id)} AS kpi, grain, dimension, member,
            {f"coalesce(nullif(concat_ws(' / ', {told}), ''), 'all')" if told else "'all'"} AS part,
            {names.column(kpi.period)} AS period_start, period_end, is_complete,
            {"currency" if kpi.has_money else "CAST(NULL AS VARCHAR)"} AS currency,
            CAST({names.column(kpi.column)} AS DOUBLE) AS value,
            {names.column(kpi.numerator) if kpi.numerator else "CAST(NULL AS BIGINT)"} AS numerator,
            {names.column(kpi.denominator) if kpi.denominator else "CAST(NULL AS BIGINT)"} AS denominator,
            {names.column(kpi.n) if kpi.n else "CAST(NULL AS BIGINT)"} AS n,
            {"small_n" if kpi.n else "CAST(NULL AS BOOLEAN)"} AS small_n,
            true AS is_in_mart
        FROM {names.relation(kpi.table)} WHERE {" AND ".join(conditions)}"""


INVARIANTS = (
    Invariant(
        id="5_values_are_those_of_the_marts",
        numbers=(5,),
        table=_VALUES,
        description="Every headline row of every KPI's own table is there with the same value, numerator, denominator "
        "and n; all other rows are not observed.",
        advice="The marts and marts.kpi_values are of different runs: materialize marts/kpi_values again.",
        sql=f"""
            WITH b AS (
                {" UNION ALL ".join(_in_its_mart(kpi) for kpi in CATALOGUE)}
            )
            SELECT {_KEY}, {differences(_SAME, "published", "in its mart")} AS differences
            FROM {_VALUES} AS a FULL JOIN b USING ({_KEY})
            WHERE CASE WHEN is_in_mart THEN {differ(_SAME)} ELSE NOT not_observed END""",
    ),
    Invariant(
        id="6_values_occur_once",
        numbers=(6,),
        table=_VALUES,
        description="A KPI has one row per grain, period, dimension, member and part.",
        advice="The headline rows of the KPI in schemas/catalogue.py fit more than one row of its table.",
        sql=f"SELECT {_KEY}, count(*) AS times FROM {_VALUES} GROUP BY ALL HAVING count(*) > 1",
    ),
    Invariant(
        id="5_values_of_members_add_up",
        numbers=(5,),
        table=_VALUES,
        description="The members of each dimension, with `unassigned`, add up to the total of every additive KPI, in "
        "exact integers.",
        advice="Compare with the KPI's own table, whose members have a check of their own.",
        sql=f"""
            WITH additive AS (
                SELECT * FROM {_VALUES} JOIN (VALUES {_KPIS}) AS k (kpi, is_additive) USING (kpi)
                WHERE is_additive AND NOT not_observed
            ), of_members AS (
                SELECT kpi, grain, dimension, part, period_start, sum(numerator) AS of_members
                FROM additive WHERE dimension <> 'all' GROUP BY ALL
            ), told_apart AS (SELECT DISTINCT kpi, grain, dimension FROM of_members)
            SELECT kpi, grain, dimension, part, period_start, of_members, numerator AS in_total
            FROM (SELECT * EXCLUDE (dimension) FROM additive WHERE dimension = 'all')
            JOIN told_apart USING (kpi, grain)
            FULL JOIN of_members USING (kpi, grain, dimension, part, period_start)
            WHERE coalesce(of_members, 0) IS DISTINCT FROM coalesce(numerator, 0)""",
    ),
    Invariant(
        id="5_values_of_every_kpi",
        numbers=(5,),
        table=_VALUES,
        description="Every KPI has a total in every period since the first of any KPI, or says that it is not "
        "observed; and what is not observed has no value.",
        advice="Materialize marts/kpi_values again; if it stays, report the rows.",
        sql=f"""
            WITH calendar AS (
                SELECT DISTINCT grain, period_start FROM {_VALUES} WHERE kpi NOT IN ({_OF_COHORTS})
            ), expected AS (
                SELECT kpi, grain, period_start
                FROM calendar JOIN (VALUES {_PUBLISHED}) AS k (kpi, grain, is_snapshot) USING (grain)
                WHERE kpi NOT IN ({_OF_COHORTS})
                QUALIFY NOT is_snapshot OR period_start = max(period_start) OVER (PARTITION BY grain)
            )
            SELECT kpi, grain, period_start, 'no row' AS fault
            FROM expected ANTI JOIN (SELECT * FROM {_VALUES} WHERE dimension = 'all') USING (kpi, grain, period_start)
            UNION ALL
            SELECT kpi, grain, period_start, 'a value although not observed' FROM {_VALUES}
            WHERE not_observed AND value IS NOT NULL""",
    ),
)
