"""Invariant 17: what MRR and invoices differ by is explained, to the last minor unit."""

from schemas.marts_reconciliation import AMOUNTS, BUCKETS
from warehouse.audit.invariant import Invariant, break_any, broken, differ, differences

_SERVICES, _ACCOUNTS, _MONTHS = "facts.reconciliation", "marts.reconciliation", "marts.reconciliation_by_month"
_COLUMNS = [f"{name}_minor" for name in (*AMOUNTS, *BUCKETS)]
_RULES = (
    (
        "difference = invoiced - credited - expected",
        "difference_minor = invoiced_minor - credited_minor - expected_minor",
    ),
    ("the buckets sum to the difference", f"difference_minor = {' + '.join(f'{name}_minor' for name in BUCKETS)}"),
)
_PER_BUCKET = ", ".join(
    f"coalesce(sum(difference_minor) FILTER (WHERE bucket = '{name}'), 0) AS {name}_minor" for name in BUCKETS
)
_SUMS = ", ".join(f"sum({name}_minor) AS {name}_minor" for name in AMOUNTS)


def _pairs(columns: list[str]) -> list[tuple[str, str, str]]:
    return [(name, f"coalesce(m.{name}, 0)", f"coalesce(s.{name}, 0)") for name in columns]


def _add_up(table: str) -> Invariant:
    return Invariant(
        id=f"17_buckets_add_up_{'by_account' if table == _ACCOUNTS else 'by_month'}",
        numbers=(17,),
        table=table,
        description="The buckets sum to the difference, and that is invoiced - credited - expected.",
        advice=f"Materialize {table.replace('.', '/')} again; if it stays, report the rows.",
        sql=f"SELECT * EXCLUDE ({', '.join(_COLUMNS)}), {broken(_RULES)} AS broken FROM {table} "
        f"WHERE {break_any(_RULES)}",
    )


_FIRST_LOAD = "(SELECT day FROM meta.subscriptions_first_loaded)"


def _no_unknown(*, blocks: bool) -> Invariant:
    """Of service before the first load only a warning: billing systems overwrite what they had charged for before."""
    return Invariant(
        id="17_no_unknown_difference" if blocks else "17_no_unknown_difference_before_the_first_load",
        numbers=(17,),
        table=_SERVICES,
        description="Every difference between MRR and an invoice, beyond a minor unit per line, has a reason; of "
        f"service that began {'since' if blocks else 'before'} the first load of the subscriptions.",
        advice="Compare the item in facts.subscription_state with its lines in staging.invoice_lines: a price, units "
        "or a service period is wrong in one of them, or the line is for something else.",
        sql=f"SELECT account_id, service, service_from, service_to, currency, expected_minor, invoiced_minor, "
        f"credited_minor, line_ids FROM {_SERVICES} "
        f"WHERE bucket = 'unknown' AND service_from {'>=' if blocks else '<'} {_FIRST_LOAD}",
        blocks=blocks,
    )


INVARIANTS = (
    _no_unknown(blocks=True),
    _no_unknown(blocks=False),
    Invariant(
        id="17_differences_have_one_bucket",
        numbers=(17,),
        table=_SERVICES,
        description="A difference is invoiced - credited - expected, and has a bucket where it is not 0.",
        advice="Materialize facts/reconciliation again; if it stays, report the rows.",
        sql=f"""
            SELECT account_id, service, service_from, currency, difference_minor, bucket FROM {_SERVICES}
            WHERE (difference_minor = invoiced_minor - credited_minor - expected_minor
                AND (difference_minor = 0) = (bucket IS NULL)) IS NOT TRUE""",
    ),
    Invariant(
        id="17_every_recurring_line_is_reconciled",
        numbers=(17,),
        table=_SERVICES,
        description="What is reconciled as invoiced is the recurring revenue of all invoices, in every currency.",
        advice="Compare facts.reconciliation with facts.revenue_line of kind recurring; run the job with --full.",
        sql=f"""
            WITH m AS (SELECT currency, sum(invoiced_minor) AS invoiced_minor FROM {_SERVICES} GROUP BY currency),
            s AS (
                SELECT currency, sum(amount_minor) AS invoiced_minor FROM facts.revenue_line
                WHERE kind = 'recurring' GROUP BY currency
            )
            SELECT currency, {differences(_pairs(["invoiced_minor"]), "reconciled", "of invoices")} AS differences
            FROM m FULL JOIN s USING (currency) WHERE {differ(_pairs(["invoiced_minor"]))}""",
    ),
    _add_up(_ACCOUNTS),
    _add_up(_MONTHS),
    Invariant(
        id="17_accounts_are_the_sum_of_services",
        numbers=(17,),
        table=_ACCOUNTS,
        description="The reconciliation of an account and month is the sum over its services, bucket by bucket.",
        advice="Materialize marts/reconciliation again; if it stays, report the rows.",
        sql=f"""
            WITH s AS (
                SELECT month, account_id, currency, {_SUMS}, {_PER_BUCKET}
                FROM {_SERVICES} GROUP BY month, account_id, currency
            )
            SELECT month, account_id, currency, {differences(_pairs(_COLUMNS), "of the account", "of services")}
                AS differences
            FROM {_ACCOUNTS} AS m FULL JOIN s USING (month, account_id, currency) WHERE {differ(_pairs(_COLUMNS))}""",
    ),
    Invariant(
        id="17_months_are_the_sum_of_accounts",
        numbers=(17,),
        table=_MONTHS,
        description="The reconciliation of a month is the sum over accounts in every currency.",
        advice="Materialize marts/reconciliation_by_month again; if it stays, report the rows.",
        sql=f"""
            WITH m AS (SELECT * FROM {_MONTHS} WHERE basis = 'native'), s AS (
                SELECT month, currency, {", ".join(f"sum({name}) AS {name}" for name in _COLUMNS)}
                FROM {_ACCOUNTS} GROUP BY month, currency
            )
            SELECT month, currency, {differences(_pairs(_COLUMNS), "of the month", "of accounts")} AS differences
            FROM m FULL JOIN s USING (month, currency) WHERE {differ(_pairs(_COLUMNS))}""",
    ),
)
