"""Account attributes by month: hand-reckoned histories of single accounts, and segments ranked among accounts."""

from datetime import date
from fractions import Fraction
from random import Random
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas.billing import Customers
from schemas.contract import polars_schema
from schemas.crm import Accounts
from schemas.policy import Policy
from transforms.attributes import account_attributes, local_attributes, segments

POLICY = Policy()
AS_OF = date(2025, 8, 15)
MEMBERS = ["segment", "plan", "country", "industry", "channel", "owner", "tenure"]
NEW, SETTLED = "00-02 months", "03-11 months"


def d(text: str) -> date:
    return date.fromisoformat(text)


def accounts(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(
        [{"account_id": "A", "source": "crm", **row} for row in rows],
        schema={"source": pl.String, **polars_schema(Accounts), "recorded_on": pl.Date},
    )


def customers(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(
        [{"account_id": "A", "source": "billing", **row} for row in rows],
        schema={"source": pl.String, **polars_schema(Customers), "account_id": pl.String},
    )


def days(*rows: tuple[str, str, str | None]) -> pl.DataFrame:
    return pl.DataFrame(
        [(account, d(day), d(paid) if paid else None) for account, day, paid in rows],
        schema={"account_id": pl.String, "day": pl.Date, "first_paid_date": pl.Date},
        orient="row",
    )


def states(*rows: tuple[str, str, str | None, int], account: str = "A") -> pl.DataFrame:
    """plan, valid_from, valid_to, net."""
    return pl.DataFrame(
        [(account, plan, d(start), d(end) if end else None, net) for plan, start, end, net in rows],
        schema={
            "account_id": pl.String,
            "plan": pl.String,
            "valid_from": pl.Date,
            "valid_to": pl.Date,
            "arr_net_minor": pl.Int64,
        },
        orient="row",
    )


def balances(*rows: tuple[str, str, int]) -> pl.DataFrame:
    return pl.DataFrame(
        [(account, d(month), arr) for account, month, arr in rows],
        schema={"account_id": pl.String, "period_start": pl.Date, "arr_minor": pl.Int64},
        orient="row",
    )


def attributes(
    crm: pl.DataFrame | None = None,
    billing: pl.DataFrame | None = None,
    active: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
    arr: pl.DataFrame | None = None,
    policy: Policy = POLICY,
    as_of: date = AS_OF,
) -> pl.DataFrame:
    return account_attributes(
        accounts() if crm is None else crm,
        customers() if billing is None else billing,
        days() if active is None else active,
        states() if items is None else items,
        balances() if arr is None else arr,
        policy,
        as_of,
    )


def history(rows: pl.DataFrame, *members: str, account: str = "A") -> list[tuple[Any, ...]]:
    """Month and the members, at the account's change points."""
    own = rows.filter(pl.col("account_id") == account)
    return [(month.strftime("%Y-%m"), *values) for month, *values in own.select("month", *members).rows()]


def test_one_account_from_trial_to_growth_whole() -> None:
    rows = attributes(
        crm=accounts(
            {
                "country": "ES",
                "industry": "retail",
                "channel": "ads",
                "owner": "team-1",
                "effective_from": d("2025-02-10"),
            },
            {
                "country": "ES",
                "industry": "retail",
                "channel": "ads",
                "owner": "team-2",
                "effective_from": d("2025-06-10"),
            },
        ),
        active=days(("A", "2025-02-10", None), ("A", "2025-02-20", "2025-02-20"), ("A", "2025-05-01", "2025-02-20")),
        items=states(
            ("trial", "2025-02-10", "2025-02-20", 0),
            ("basic", "2025-02-20", "2025-05-01", 1200),
            ("pro", "2025-05-01", None, 2400),
        ),
        arr=balances(*(("A", f"2025-0{m}-01", 1200 if m < 6 else 2400) for m in range(3, 9))),
    )
    known = ("ES", "retail", "ads")
    assert_frame_equal(
        rows,
        pl.DataFrame(
            [
                ("A", d("2025-02-01"), "unassigned", "basic", *known, "team-1", NEW),
                ("A", d("2025-03-01"), "vip", "basic", *known, "team-1", NEW),
                # pro since 1 May is not in the opening of May, but of June; three months paid on 20 May
                ("A", d("2025-06-01"), "vip", "pro", *known, "team-1", SETTLED),
                ("A", d("2025-07-01"), "vip", "pro", *known, "team-2", SETTLED),
            ],
            schema={"account_id": pl.String, "month": pl.Date, **dict.fromkeys(MEMBERS, pl.String)},
            orient="row",
        ),
    )


def test_a_change_on_the_first_of_a_month_is_known_at_its_start_and_one_on_the_second_is_not() -> None:
    rows = attributes(
        crm=accounts(
            {"owner": "a"},
            {"owner": "b", "effective_from": d("2025-04-01")},
            {"owner": "c", "effective_from": d("2025-05-02")},
            {"owner": "d", "effective_from": d("2025-05-20")},
            {"owner": "e", "effective_from": d("2025-08-02")},
        ),
        active=days(("A", "2025-01-05", None)),
    )
    assert history(rows, "owner") == [("2025-01", "a"), ("2025-04", "b"), ("2025-06", "d")]


def test_a_relabelled_account_without_dates_does_not_move_history() -> None:
    crm = accounts(
        {"industry": "retail", "recorded_on": d("2025-01-05")},
        {"industry": "saas", "recorded_on": d("2025-05-10")},
        {"industry": "mining", "recorded_on": d("2025-07-01")},
    )
    rows = attributes(crm=crm, active=days(("A", "2024-11-05", None)))
    assert history(rows, "industry") == [("2024-11", "retail"), ("2025-06", "saas"), ("2025-07", "mining")]


def test_what_held_before_the_first_activity_keeps_a_row_before_the_first_change() -> None:
    crm = accounts({"owner": "a"}, {"owner": "b", "effective_from": d("2025-03-01")})
    rows = attributes(crm=crm, active=days(("A", "2025-03-05", None)))
    assert history(rows, "owner") == [("2025-02", "a"), ("2025-03", "b")]


def test_an_account_known_to_the_crm_later_takes_its_first_version_for_the_time_before() -> None:
    crm = accounts({"industry": "saas", "effective_from": d("2025-04-10")})
    rows = attributes(crm=crm, active=days(("A", "2025-02-05", None)))
    assert history(rows, "industry") == [("2025-02", "saas")]


def test_a_later_version_without_a_label_is_unassigned_from_then_on() -> None:
    crm = accounts({"industry": "saas"}, {"effective_from": d("2025-04-10")})
    rows = attributes(crm=crm, active=days(("A", "2025-02-05", None)))
    assert history(rows, "industry") == [("2025-02", "saas"), ("2025-05", "unassigned")]


def test_no_crm_at_all_leaves_plan_tenure_and_the_country_of_billing() -> None:
    rows = attributes(
        billing=customers(
            {"customer_id": "c2", "country": "FR"}, {"customer_id": "c1", "country": "CR"}, {"customer_id": "c0"}
        ),
        active=days(("A", "2025-07-10", "2025-07-10")),
        items=states(("basic", "2025-07-10", None, 100)),
    )
    assert history(rows, *MEMBERS) == [
        ("2025-07", "unassigned", "basic", "CR", "unassigned", "unassigned", "unassigned", NEW)
    ]


def test_the_country_of_billing_stands_in_only_where_the_crm_names_none() -> None:
    crm = accounts({}, {"country": "ES", "effective_from": d("2025-04-01")})
    rows = attributes(crm, customers({"customer_id": "c", "country": "CR"}), days(("A", "2025-02-05", None)))
    assert history(rows, "country") == [("2025-02", "CR"), ("2025-04", "ES")]


def test_an_account_that_only_the_crm_knows_has_one_row() -> None:
    rows = attributes(crm=accounts({"industry": "saas"}))
    assert history(rows, *MEMBERS) == [
        ("2025-08", "unassigned", "unassigned", "unassigned", "saas", "unassigned", "unassigned", NEW)
    ]


def test_nothing_known_gives_an_empty_frame_of_the_same_shape() -> None:
    empty = attributes()
    assert empty.is_empty()
    assert empty.schema == attributes(crm=accounts({})).schema


def test_of_two_plans_the_larger_sum_counts_and_a_tie_goes_to_the_first_by_name() -> None:
    rows = attributes(
        active=days(("A", "2025-01-10", None)),
        items=states(
            ("pro", "2025-01-10", None, 500),
            ("basic", "2025-02-10", None, 300),
            ("basic", "2025-03-10", None, 200),  # 500 : 500 in April
            ("pro", "2025-04-10", None, 1),  # 501 : 500 in May
        ),
    )
    assert history(rows, "plan") == [("2025-01", "pro"), ("2025-04", "basic"), ("2025-05", "pro")]


def test_the_last_plan_holds_while_the_account_has_no_value() -> None:
    rows = attributes(
        active=days(("A", "2025-01-10", None)),
        items=states(
            ("pro", "2025-01-10", "2025-03-01", 500),
            ("free", "2025-03-01", "2025-05-10", 0),
            ("basic", "2025-05-10", None, 100),
        ),
    )
    assert history(rows, "plan") == [("2025-01", "pro"), ("2025-06", "basic")]


def test_a_plan_that_begins_and_ends_within_a_month_is_no_opening_but_can_be_the_first() -> None:
    rows = attributes(
        active=days(("A", "2025-01-10", None)),
        items=states(
            ("basic", "2025-01-10", "2025-01-20", 100),
            ("pro", "2025-01-20", "2025-03-05", 500),
            ("max", "2025-03-05", "2025-03-25", 900),
            ("pro", "2025-03-25", None, 500),
        ),
    )
    assert history(rows, "plan") == [("2025-01", "basic"), ("2025-02", "pro")]


def test_what_ends_on_the_first_of_a_month_is_still_in_its_opening() -> None:
    rows = attributes(
        active=days(("A", "2025-01-10", None)),
        items=states(("pro", "2025-01-10", "2025-03-01", 500), ("basic", "2025-01-10", None, 100)),
    )
    assert history(rows, "plan") == [("2025-01", "pro"), ("2025-04", "basic")]


def test_an_account_that_never_paid_has_the_plan_of_its_first_state() -> None:
    rows = attributes(
        active=days(("A", "2025-01-10", None)),
        items=states(("trial", "2025-01-10", "2025-02-01", 0), ("free", "2025-02-01", None, 0)),
    )
    assert history(rows, "plan") == [("2025-01", "trial")]


@pytest.mark.parametrize(
    ("first_paid", "second_band", "third_band"),
    [("2024-03-01", "2024-06", "2025-03"), ("2024-03-02", "2024-07", "2025-04"), ("2024-03-31", "2024-07", "2025-04")],
)
def test_tenure_counts_whole_months_since_the_first_payment(first_paid: str, second_band: str, third_band: str) -> None:
    rows = attributes(active=days(("A", "2024-01-15", None), ("A", first_paid, first_paid)))
    assert history(rows, "tenure") == [("2024-01", NEW), (second_band, SETTLED), (third_band, "12-23 months")]


def test_tenure_bands_are_those_of_the_policy_as_sortable_text() -> None:
    active = days(("A", "2013-01-01", "2013-01-01"))
    tenure = attributes(active=active, policy=Policy(tenure_bands_months=(6, 120)))
    assert history(tenure, "tenure") == [
        ("2013-01", "000-005 months"),
        ("2013-07", "006-119 months"),
        ("2023-01", "120+ months"),
    ]
    assert history(attributes(active=active, policy=Policy(tenure_bands_months=())), "tenure") == [
        ("2013-01", "00+ months")
    ]


def segment_of(arr: dict[str, int], policy: Policy = POLICY, potential: dict[str, int] | None = None) -> dict[str, str]:
    """The segments at 1 August 2025 of accounts with this ARR; `potential` by account from the CRM."""
    crm = accounts(*({"account_id": a, "expansion_potential": p} for a, p in (potential or {}).items()))
    active = days(*((a, "2025-07-10", None) for a in arr))
    rows = attributes(
        crm=crm, active=active, arr=balances(*((a, "2025-08-01", v) for a, v in arr.items())), policy=policy
    )
    newest = rows.group_by("account_id").agg(pl.col("segment").sort_by("month").last())
    return dict(newest.rows())


def test_vip_stops_exactly_at_half_of_arr() -> None:
    assert segment_of({"A": 50, "B": 30, "C": 20}) == {"A": "vip", "B": "core", "C": "non_core"}


def test_the_account_that_crosses_the_line_is_vip() -> None:
    assert segment_of({"A": 49, "B": 30, "C": 21}) == {"A": "vip", "B": "vip", "C": "non_core"}


def test_equal_arr_at_the_line_goes_by_account_id() -> None:
    assert segment_of({"D": 25, "B": 25, "C": 25, "A": 25}) == {"A": "vip", "B": "vip", "C": "core", "D": "core"}


def test_a_single_account_is_vip_and_one_without_arr_is_unassigned() -> None:
    assert segment_of({"A": 1, "B": 0}) == {"A": "vip", "B": "unassigned"}


def test_a_set_arr_makes_vip_too_and_no_share_makes_none() -> None:
    arr = {"A": 50, "B": 30, "C": 20}
    assert segment_of(arr, Policy(vip_arr_minor=30)) == {"A": "vip", "B": "vip", "C": "non_core"}
    assert segment_of(arr, Policy(vip_arr_share_percent=0)) == {"A": "core", "B": "core", "C": "non_core"}
    assert segment_of({**arr, "D": 0}, Policy(vip_arr_share_percent=0, vip_arr_minor=0)) == {
        "A": "vip",
        "B": "vip",
        "C": "vip",
        "D": "unassigned",
    }


def test_potential_comes_after_vip_and_before_core() -> None:
    potential = {"A": 100, "B": 70, "C": 69, "D": 90, "E": 90}
    assert segment_of({"A": 90, "B": 10, "C": 10, "D": 1, "E": 0}, potential=potential) == {
        "A": "vip",
        "B": "potential",
        "C": "core",
        "D": "potential",
        "E": "unassigned",
    }


def test_the_median_of_an_even_number_lies_between_the_two_in_the_middle() -> None:
    # Median of 100, 12, 11, 5 is 11.5.
    assert segment_of({"A": 100, "B": 12, "C": 11, "D": 5}) == {
        "A": "vip",
        "B": "core",
        "C": "non_core",
        "D": "non_core",
    }


def test_large_arr_is_ranked_exactly() -> None:
    whole = 4 * 10**18
    assert segment_of({"A": whole, "B": whole // 2 + 1, "C": whole // 2}) == {"A": "vip", "B": "vip", "C": "non_core"}


def test_a_segment_follows_arr_and_potential_from_month_to_month() -> None:
    rows = attributes(
        crm=accounts(
            {"account_id": "B", "expansion_potential": 10},
            {"account_id": "B", "expansion_potential": 80, "effective_from": d("2025-03-15")},
            {"account_id": "B", "expansion_potential": 20, "effective_from": d("2025-06-01")},
        ),
        active=days(("A", "2025-01-10", None), ("B", "2025-01-20", None)),
        arr=balances(
            *(("A", f"2025-0{m}-01", 100) for m in range(2, 8)),
            *(("B", f"2025-0{m}-01", 10) for m in (2, 3, 4, 5, 6)),
            ("B", "2025-07-01", 1000),
        ),
    )
    assert history(rows, "segment") == [
        ("2025-01", "unassigned"),
        ("2025-02", "vip"),
        ("2025-07", "non_core"),
        ("2025-08", "unassigned"),
    ]
    assert history(rows, "segment", account="B") == [
        ("2025-01", "unassigned"),
        ("2025-02", "non_core"),
        ("2025-04", "potential"),
        ("2025-06", "non_core"),
        ("2025-07", "vip"),
        ("2025-08", "unassigned"),
    ]


def test_nothing_after_as_of_is_known() -> None:
    rows = attributes(
        crm=accounts({"owner": "a"}, {"owner": "b", "effective_from": d("2025-02-10")}),
        active=days(("A", "2025-01-10", "2025-01-10")),
        items=states(("pro", "2025-01-10", "2025-03-10", 500), ("basic", "2025-01-10", None, 100)),
        arr=balances(("A", "2025-02-01", 600), ("A", "2025-03-01", 600)),
        as_of=d("2025-01-31"),
    )
    assert history(rows, "segment", "plan", "owner", "tenure") == [("2025-01", "unassigned", "pro", "a", NEW)]


def plain_segment(account: str, arr: dict[str, int], potential: set[str]) -> str:
    """Definitions section 16 read aloud, with fractions."""
    paying = sorted((a for a in arr if arr[a] > 0), key=lambda a: (-arr[a], a))
    if account not in paying:
        return "unassigned"
    before = sum(arr[a] for a in paying[: paying.index(account)])
    if Fraction(before, sum(arr.values())) < Fraction(1, 2):
        return "vip"
    if account in potential:
        return "potential"
    values = sorted(arr[a] for a in paying)
    median = Fraction(values[(len(values) - 1) // 2] + values[len(values) // 2], 2)
    return "core" if arr[account] >= median else "non_core"


def test_segments_of_random_accounts_agree_with_a_plain_reading() -> None:
    random = Random(7)
    names = [f"a{i:02}" for i in range(25)]
    months = [f"2025-0{m}-01" for m in range(1, 9)]
    arr = {month: {name: random.choice([0, 1, 2, 3, 5, 8, 40]) for name in names} for month in months}
    potential = set(random.sample(names, 6))
    local = local_attributes(
        accounts(*({"account_id": a, "expansion_potential": 99} for a in potential)),
        customers(),
        days(*((name, "2024-12-10", None) for name in names)),
        states(),
        POLICY,
        AS_OF,
    )
    rows = balances(*((name, month, v) for month in months for name, v in arr[month].items() if v))
    expected = []
    for name in names:
        before = "unassigned"
        for month in months:
            now = plain_segment(name, arr[month], potential)
            if now != before:
                expected.append((name, d(month), now))
            before = now
    assert segments(rows.sample(fraction=1, shuffle=True, seed=1), local, POLICY, AS_OF).rows() == expected


def test_local_attributes_of_shards_are_those_of_the_whole() -> None:
    crm = accounts(
        *({"account_id": a, "owner": a, "effective_from": d(m)} for a in "ABC" for m in ("2025-01-01", "2025-03-04"))
    )
    active = days(*((a, f"2025-0{i}-10", f"2025-0{i}-10") for i, a in enumerate("ABC", 1)))
    items = pl.concat(states(("pro", "2025-01-10", None, 5), ("max", "2025-02-10", None, 9), account=a) for a in "ABC")
    billing = customers({"account_id": "B", "customer_id": "b", "country": "CR"})
    frames = (crm, billing, active, items)
    whole = local_attributes(*frames, POLICY, AS_OF)
    parts = [
        local_attributes(*(frame.filter(pl.col("account_id").is_in(list(part))) for frame in frames), POLICY, AS_OF)
        for part in ("A", "BC")
    ]
    assert_frame_equal(whole, pl.concat(parts))
    assert whole.height == len({(row["account_id"], row["month"]) for row in whole.to_dicts()}) > 6
