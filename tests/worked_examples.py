"""The worked examples of MRR, movements and churn as plain data: canonical rows in, known figures out.

Both the oracle and the pipeline are held against them. `arr_minor` turns an MRR in major units, as the sources print
it, into annualised minor units. Everything is in UTC; days are written as ISO dates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any

from schemas.policy import Policy

Row = dict[str, Any]
Figure = Fraction | None


def instant(text: str) -> datetime:
    """An ISO date or date-time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def change(  # one state of one item; what an example does not say takes the plainest value
    account: str,
    at: str,
    unit_amount_minor: int = 0,
    *,
    item: str = "1",
    status: str = "active",
    interval: str = "month",
    interval_count: int = 1,
    quantity: int = 1,
    currency: str = "USD",
    product: str = "app",
    plan: str = "plan",
    requested: str | None = None,
    reason: str | None = None,
) -> Row:
    """A row of `subscription_changes` with its account."""
    return {
        "change_id": f"{account}/{item}/{at}/{status}",
        "subscription_id": f"{account}/{item}",
        "item_id": f"{account}/{item}/item",
        "customer_id": account,
        "effective_at": instant(at),
        "requested_at": instant(requested) if requested else None,
        "withdrawn_at": None,
        "status": status,
        "price_id": None,
        "product": product,
        "plan": plan,
        "kind": "licensed",
        "quantity": quantity,
        "unit_amount_minor": unit_amount_minor,
        "currency": currency,
        "interval": interval,
        "interval_count": interval_count,
        "past_due_since": None,
        "term_ends_at": None,
        "reason": reason,
        "account_id": account,
    }


def end(account: str, at: str, like: Row, requested: str | None = None) -> Row:
    """The end of the item of `like`."""
    return like | {
        "change_id": f"{like['item_id']}/{at}/ended",
        "effective_at": instant(at),
        "requested_at": instant(requested) if requested else None,
        "status": "ended",
        "reason": "requested",
        "account_id": account,
    }


def arr_minor(mrr: str) -> int:
    """Annualised minor units of an MRR in major units of a currency with two decimals."""
    value = Fraction(mrr) * 1200
    assert value.denominator == 1, mrr
    return int(value)


@dataclass(frozen=True)
class WorkedExample:
    """Rows and what must come out of them; an expectation that is absent is not checked."""

    name: str
    source: str
    as_of: str
    changes: Sequence[Row]
    fx_rates: Sequence[Row] = ()
    policy: Policy = field(default_factory=Policy)
    # (account, currency, day) -> annualised minor units
    net: dict[tuple[str, str, str], int] = field(default_factory=dict)
    committed: dict[tuple[str, str, str], int] = field(default_factory=dict)
    # (grain, series) -> all movements: (account, currency, period_start, category, annualised minor units)
    movements: dict[tuple[str, str], list[tuple[str, str, str, str, int]]] = field(default_factory=dict)
    # (currency, grain, period_start) -> (opening, {category: sum over accounts}, closing), annualised minor units
    totals: dict[tuple[str, str, str], tuple[int, dict[str, int], int]] = field(default_factory=dict)
    # (grain, period_start) -> counts, by the names of definitions section 4
    customers: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    # (currency, grain, period_start) -> rates, by the names of definitions section 4
    rates: dict[tuple[str, str, str], dict[str, Figure]] = field(default_factory=dict)
    # (grain, period_start) -> (opening, fx_impact, {category: sum}, closing) in the reporting currency
    reporting: dict[tuple[str, str], tuple[int, int, dict[str, int], int]] = field(default_factory=dict)
    # account -> first_paid_date
    first_paid: dict[str, str] = field(default_factory=dict)

    @property
    def as_of_date(self) -> date:
        """The day of the run."""
        return date.fromisoformat(self.as_of)


def crowd(name: str, size: int, at: str, amount: int = 1_000, left_at: str | None = None) -> list[Row]:
    """`size` accounts alike."""
    rows = []
    for number in range(size):
        row = change(f"{name}-{number:04}", at, amount)
        rows.append(row)
        if left_at is not None:
            rows.append(end(row["account_id"], left_at, row))
    return rows


def fx(currency: str, day: str, rate: str) -> Row:
    """A rate to USD."""
    return {
        "currency": currency,
        "reporting_currency": "USD",
        "rate_date": date.fromisoformat(day),
        "rate": rate,
    }


def syncalytics(steps: int, *, in_one_month: bool = False) -> list[Row]:
    """ChartMogul's customer: Gold 500 a year or 50 a month, Silver 30 a month."""
    silver_from, silver_to = ("2024-03-08", "2024-03-25") if in_one_month else ("2024-03-20", "2024-04-10")
    gold = change("sync", "2024-03-05", 50_000, item="gold-yearly", interval="year", quantity=4, plan="gold")
    silver = change("sync", silver_from, 3_000, item="silver", quantity=2, plan="silver", product="silver")
    rows = [
        gold,
        silver,
        end("sync", silver_to, silver),
        end("sync", "2025-03-05", gold, requested="2025-02-01"),
        change("sync", "2025-07-09", 5_000, item="gold-monthly", quantity=3, plan="gold"),
    ]
    return rows[:steps]


def _one_price(name: str, source: str, amount: int, every: tuple[int, str], arr: int) -> WorkedExample:
    count, interval = every
    rows = [change("a", "2025-01-10", amount, interval=interval, interval_count=count)]
    return WorkedExample(
        name,
        source,
        "2025-01-31",
        rows,
        net={("a", "USD", "2025-01-09"): 0, ("a", "USD", "2025-01-10"): arr, ("a", "USD", "2025-01-31"): arr},
        movements={("month", "net"): [("a", "USD", "2025-01-01", "new", arr)]},
    )


def _left_and_stayed(name: str, opening: int, lost: int, rate: Fraction) -> WorkedExample:
    return WorkedExample(
        name,
        "the articles",
        "2025-02-28",
        crowd("stays", opening - lost, "2025-01-01") + crowd("leaves", lost, "2025-01-01", left_at="2025-02-14"),
        customers={("month", "2025-02-01"): {"opening": opening, "churned": lost, "closing": opening - lost}},
        rates={
            ("USD", "month", "2025-02-01"): {
                "customer_churn_rate": rate,
                "customer_churn_rate_incl_intraperiod": rate,
                "customer_retention_rate": 1 - rate,
            }
        },
    )


GOLD, SILVER = 200_000, arr_minor("60")  # 2,000 a year is 166.67 a month
# Twelve accounts leave, one a month, each with a twentieth of what is left of 20^12; the last stays with 19^12.
TWENTIETHS = [20 ** (12 - month) * 19 ** (month - 1) for month in range(1, 13)] + [19**12]

WORKED_EXAMPLES: tuple[WorkedExample, ...] = (
    _left_and_stayed("500 customers, 5 lost: 1 %", 500, 5, Fraction(1, 100)),
    _left_and_stayed("2,000 customers, 100 lost: 5 %", 2_000, 100, Fraction(5, 100)),
    WorkedExample(
        "500 customers, 5 lost, 10 acquired of which 2 left within the period",
        "the articles; own",
        "2025-02-28",
        crowd("stays", 495, "2025-01-01")
        + crowd("leaves", 5, "2025-01-01", left_at="2025-02-14")
        + crowd("joins", 8, "2025-02-03")
        + crowd("tries", 2, "2025-02-03", left_at="2025-02-20"),
        customers={
            ("month", "2025-02-01"): {
                "opening": 500,
                "churned": 5,
                "new": 8,
                "returned": 0,
                "closing": 503,
                "intraperiod_new": 2,
                "intraperiod_churned": 2,
            }
        },
        rates={
            ("USD", "month", "2025-02-01"): {
                "customer_churn_rate": Fraction(1, 100),
                "customer_churn_rate_incl_intraperiod": Fraction(7, 502),
            }
        },
    ),
    WorkedExample(
        "5 % a month is 45.96 % a year",
        "the articles; own",
        "2025-12-31",
        [
            row
            for month, amount in enumerate(TWENTIETHS, 1)
            for start in [change(f"twentieth-{month:02}", "2024-12-01", amount, interval="year")]
            for row in [start, *([end(start["account_id"], f"2025-{month:02}-15", start)] if month <= 12 else [])]
        ],
        rates={
            **{
                ("USD", "month", f"2025-{month:02}-01"): {"revenue_churn_rate": Fraction(1, 20)}
                for month in range(1, 13)
            },
            ("USD", "year", "2025-01-01"): {"revenue_churn_rate": 1 - Fraction(19, 20) ** 12},
        },
    ),
    WorkedExample(
        "CRR with S 100, E 105, N 12, R 1: 92 %",
        "the articles; own",
        "2025-03-31",
        crowd("stays", 92, "2025-01-01")
        + crowd("leaves", 8, "2025-01-01", left_at="2025-03-14")
        + crowd("joins", 12, "2025-03-03")
        + crowd("returns", 1, "2025-01-01", left_at="2025-02-01")
        + [change("returns-0000", "2025-03-10", 1_000, item="2")],
        customers={("month", "2025-03-01"): {"opening": 100, "churned": 8, "new": 12, "returned": 1, "closing": 105}},
        rates={("USD", "month", "2025-03-01"): {"customer_retention_rate": Fraction(92, 100)}},
    ),
    WorkedExample(
        "Syncalytics: new, expansion, contraction, churn, reactivation in months of their own",
        "ChartMogul help",
        "2025-07-31",
        syncalytics(5),
        net={
            ("sync", "USD", "2024-03-04"): 0,
            ("sync", "USD", "2024-03-05"): GOLD,
            ("sync", "USD", "2024-03-20"): GOLD + SILVER,
            ("sync", "USD", "2024-04-10"): GOLD,
            ("sync", "USD", "2025-03-04"): GOLD,
            ("sync", "USD", "2025-03-05"): 0,
            ("sync", "USD", "2025-07-09"): arr_minor("150"),
        },
        movements={
            ("day", "net"): [
                ("sync", "USD", "2024-03-05", "new", GOLD),
                ("sync", "USD", "2024-03-20", "expansion", SILVER),
                ("sync", "USD", "2024-04-10", "contraction", SILVER),
                ("sync", "USD", "2025-03-05", "churn", GOLD),
                ("sync", "USD", "2025-07-09", "reactivation", arr_minor("150")),
            ],
            ("month", "net"): [
                ("sync", "USD", "2024-03-01", "new", GOLD + SILVER),
                ("sync", "USD", "2024-04-01", "contraction", SILVER),
                ("sync", "USD", "2025-03-01", "churn", GOLD),
                ("sync", "USD", "2025-07-01", "reactivation", arr_minor("150")),
            ],
            ("year", "net"): [
                ("sync", "USD", "2024-01-01", "new", GOLD),
                ("sync", "USD", "2025-01-01", "contraction", GOLD - arr_minor("150")),
            ],
        },
        first_paid={"sync": "2024-03-05"},
    ),
    WorkedExample(
        "Syncalytics: the first three steps in one month",
        "ChartMogul help",
        "2024-03-31",
        syncalytics(3, in_one_month=True),
        movements={
            ("month", "net"): [("sync", "USD", "2024-03-01", "new", GOLD)],
            ("month", "gross"): [
                ("sync", "USD", "2024-03-01", "contraction", SILVER),
                ("sync", "USD", "2024-03-01", "expansion", SILVER),
                ("sync", "USD", "2024-03-01", "new", GOLD),
            ],
        },
    ),
    WorkedExample(
        "a plan of 100 changes to one of 250: expansion 150",
        "ChartMogul help",
        "2025-02-28",
        [change("a", "2025-01-10", 10_000, plan="small"), change("a", "2025-02-10", 25_000, plan="large")],
        movements={
            ("month", "net"): [
                ("a", "USD", "2025-01-01", "new", arr_minor("100")),
                ("a", "USD", "2025-02-01", "expansion", arr_minor("150")),
            ]
        },
    ),
    _one_price("90 for three months: 30", "ChartMogul help", 9_000, (3, "month"), arr_minor("30")),
    _one_price("300 every 3 months: 100", "Polar tests", 30_000, (3, "month"), arr_minor("100")),
    _one_price("300 every quarter: 100", "Polar tests", 30_000, (1, "quarter"), arr_minor("100")),
    _one_price("2,400 every 2 years: 100", "Polar tests", 240_000, (2, "year"), arr_minor("100")),
    _one_price("50 every 2 weeks: 108.33", "Polar tests", 5_000, (2, "week"), 130_000),
    _one_price("1,200 a year: 100", "Polar tests", 120_000, (1, "year"), arr_minor("100")),
    _one_price("18.29 a year: 1.5242", "Kill Bill", 1_829, (1, "year"), 1_829),
    _one_price("149.95 a year: 12.4958", "Kill Bill", 14_995, (1, "year"), 14_995),
    _one_price("399 a year: 33.2500", "Kill Bill", 39_900, (1, "year"), 39_900),
    _one_price("999 a year: 83.2500", "Kill Bill", 99_900, (1, "year"), 99_900),
    _one_price("5,499 a year: 458.2500", "Kill Bill", 549_900, (1, "year"), 549_900),
    WorkedExample(
        "100 subscribers at 100 a month and 50 at 600 a year: 12,500",
        "Stripe glossary",
        "2025-01-31",
        crowd("monthly", 100, "2025-01-10", 10_000)
        + [row | {"interval": "year"} for row in crowd("yearly", 50, "2025-01-10", 60_000)],
        totals={("USD", "month", "2025-01-01"): (0, {"new": arr_minor("12500")}, arr_minor("12500"))},
    ),
    WorkedExample(
        "an upgrade of 10 to 20 in mid-period counts in full from its day",
        "Stripe",
        "2025-02-28",
        [change("a", "2025-01-01", 1_000), change("a", "2025-02-15", 2_000)],
        net={("a", "USD", "2025-02-14"): arr_minor("10"), ("a", "USD", "2025-02-15"): arr_minor("20")},
        movements={
            ("month", "net"): [
                ("a", "USD", "2025-01-01", "new", arr_minor("10")),
                ("a", "USD", "2025-02-01", "expansion", arr_minor("10")),
            ]
        },
    ),
    WorkedExample(
        "Sarah cancels on 8 June for the period's end on 15 June",
        "ProfitWell",
        "2025-06-30",
        [
            sarah := change("sarah", "2025-04-15", 1_000),
            end("sarah", "2025-06-15", sarah, requested="2025-06-08T10:00"),
        ],
        net={
            ("sarah", "USD", "2025-04-14"): 0,
            ("sarah", "USD", "2025-04-15"): arr_minor("10"),
            ("sarah", "USD", "2025-06-14"): arr_minor("10"),
            ("sarah", "USD", "2025-06-15"): 0,
        },
        committed={
            ("sarah", "USD", "2025-06-07"): arr_minor("10"),
            ("sarah", "USD", "2025-06-08"): 0,
            ("sarah", "USD", "2025-06-15"): 0,
        },
        movements={
            ("day", "net"): [
                ("sarah", "USD", "2025-04-15", "new", arr_minor("10")),
                ("sarah", "USD", "2025-06-15", "churn", arr_minor("10")),
            ]
        },
    ),
    WorkedExample(
        "a plan of 100 changes to one of 70: contraction 30, no customer churn",
        "Chargebee",
        "2025-02-28",
        [change("a", "2025-01-10", 10_000, plan="large"), change("a", "2025-02-10", 7_000, plan="small")],
        movements={
            ("month", "net"): [
                ("a", "USD", "2025-01-01", "new", arr_minor("100")),
                ("a", "USD", "2025-02-01", "contraction", arr_minor("30")),
            ]
        },
        customers={("month", "2025-02-01"): {"opening": 1, "churned": 0, "closing": 1}},
        rates={
            ("USD", "month", "2025-02-01"): {
                "customer_churn_rate": Fraction(0),
                "revenue_churn_rate": Fraction(0),
                "gross_revenue_churn_rate": Fraction(30, 100),
            }
        },
    ),
    WorkedExample(
        "a start and a cancellation on one day: nothing",
        "Baremetrics",
        "2025-02-28",
        [row := change("a", "2025-02-10T09:00", 10_000), end("a", "2025-02-10T17:00", row)],
        movements={(grain, series): [] for grain in ("day", "month") for series in ("net", "gross")},
        customers={("month", "2025-02-01"): {"opening": 0, "new": 0, "churned": 0, "intraperiod_new": 0}},
        rates={("USD", "month", "2025-02-01"): {"customer_churn_rate": None, "revenue_churn_rate": None}},
    ),
    WorkedExample(
        "opening 100, churn 10, contraction 10, expansion 10: gross 20 %, net 10 %",
        "ChartMogul help",
        "2025-02-28",
        [
            leaver := change("leaver", "2025-01-10", 1_000),
            end("leaver", "2025-02-10", leaver),
            change("shrinks", "2025-01-10", 2_000),
            change("shrinks", "2025-02-10", 1_000),
            change("grows", "2025-01-10", 2_000),
            change("grows", "2025-02-10", 3_000),
            change("stays", "2025-01-10", 5_000),
        ],
        totals={
            ("USD", "month", "2025-02-01"): (
                arr_minor("100"),
                {"churn": arr_minor("10"), "contraction": arr_minor("10"), "expansion": arr_minor("10")},
                arr_minor("90"),
            )
        },
        rates={
            ("USD", "month", "2025-02-01"): {
                "gross_revenue_churn_rate": Fraction(20, 100),
                "net_revenue_churn_rate": Fraction(10, 100),
                "gross_revenue_retention": Fraction(80, 100),
                "net_revenue_retention": Fraction(90, 100),
                "expansion_rate": Fraction(10, 100),
                "quick_ratio": Fraction(1, 2),
            }
        },
    ),
    WorkedExample(
        "opening USD 124, new 49, expansion 30, churn 25: closing 178, NRR 1.0403",
        "Bruin README",
        "2025-02-28",
        [
            other := change("leaver", "2025-01-10", 2_500),
            end("leaver", "2025-02-10", other),
            change("grows", "2025-01-10", 9_900),
            change("grows", "2025-02-10", 12_900),
            change("joins", "2025-02-12", 4_900),
        ],
        totals={
            ("USD", "month", "2025-02-01"): (
                arr_minor("124"),
                {"new": arr_minor("49"), "expansion": arr_minor("30"), "churn": arr_minor("25")},
                arr_minor("178"),
            )
        },
        rates={("USD", "month", "2025-02-01"): {"net_revenue_retention": Fraction(129, 124)}},
    ),
    WorkedExample(
        "EUR 100 at 1.10, expansion EUR 20, closing rate 1.20: 110 + fx 10 + 24 = 144",
        "own",
        "2025-02-28",
        [change("a", "2025-01-10", 10_000, currency="EUR"), change("a", "2025-02-10", 12_000, currency="EUR")],
        [fx("EUR", "2025-01-31", "1.10"), fx("EUR", "2025-02-28", "1.20")],
        movements={
            ("month", "net"): [
                ("a", "EUR", "2025-01-01", "new", arr_minor("100")),
                ("a", "EUR", "2025-02-01", "expansion", arr_minor("20")),
            ]
        },
        reporting={
            ("month", "2025-01-01"): (0, 0, {"new": arr_minor("110")}, arr_minor("110")),
            ("month", "2025-02-01"): (
                arr_minor("110"),
                arr_minor("10"),
                {"expansion": arr_minor("24")},
                arr_minor("144"),
            ),
        },
    ),
    WorkedExample(
        "an account moves from EUR 100 to USD 110 at a rate of 1.10",
        "own",
        "2025-02-28",
        [
            euro := change("a", "2025-01-10", 10_000, item="euro", currency="EUR"),
            end("a", "2025-02-10", euro),
            change("a", "2025-02-10", 11_000, item="dollar", currency="USD"),
        ],
        [fx("EUR", "2025-01-31", "1.10"), fx("EUR", "2025-02-28", "1.10")],
        movements={
            ("month", "net"): [
                ("a", "EUR", "2025-01-01", "new", arr_minor("100")),
                ("a", "EUR", "2025-02-01", "contraction", arr_minor("100")),
                ("a", "USD", "2025-02-01", "expansion", arr_minor("110")),
            ]
        },
        customers={("month", "2025-02-01"): {"opening": 1, "churned": 0, "new": 0, "returned": 0, "closing": 1}},
        reporting={("month", "2025-02-01"): (arr_minor("110"), 0, {}, arr_minor("110"))},
    ),
)

# Yearly prices (minor units) and the MRR that Kill Bill shows for them: scale 4, half-up.
SHOWN_MRR = {1_829: "1.5242", 14_995: "12.4958", 39_900: "33.2500", 99_900: "83.2500", 549_900: "458.2500"}
