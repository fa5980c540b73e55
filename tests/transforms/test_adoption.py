"""Adoption against hand-reckoned accounts and a walk over every window."""

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from schemas.contract import key_columns, polars_schema
from schemas.facts import AccountDay, SubscriptionState
from schemas.marts_adoption import Adoption, FeatureAdoption, UsageDay
from schemas.policy import Policy
from schemas.usage import DailyUse, FeatureEntitlements, Seats
from transforms.adoption import Sources, Sums, adoption, adoption_sums, feature_adoption, usage_days
from transforms.slices import DIMENSIONS

POLICY = Policy()
AS_OF = date(2026, 3, 31)
NO_CUSTOMERS = pl.DataFrame(
    schema={
        "grain": pl.String,
        "period_start": pl.Date,
        "dimension": pl.String,
        "member": pl.String,
        "closing_customers": pl.Int64,
    }
)
TEXT = pl.String()


def use(*rows: tuple[str, str, str] | tuple[str, str, str, str]) -> pl.DataFrame:
    """account, user, day [, feature]."""
    return pl.DataFrame(
        [
            {"account_id": who, "user_id": user, "day": date.fromisoformat(day), "feature": (*rest, "login")[0]}
            | {"events": 2, "account_ref": who, "source": "product"}
            for who, user, day, *rest in rows
        ],
        schema=polars_schema(DailyUse) | {"account_id": TEXT, "source": TEXT},
    )


def seats(*rows: tuple[str, str, int | None], ref: str | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"account_id": who, "account_ref": ref or who, "effective_from": date.fromisoformat(day)}
            | {"purchased_seats": count, "source": "product"}
            for who, day, count in rows
        ],
        schema=polars_schema(Seats) | {"account_id": TEXT, "source": TEXT},
    )


def customers(*rows: tuple[str, str, str]) -> pl.DataFrame:
    """account, day, state from that day on; rows of an account in order."""
    return pl.DataFrame(
        [
            dict.fromkeys(polars_schema(AccountDay))
            | {"account_id": who, "day": date.fromisoformat(day), "closing_state": state}
            for who, day, state in rows
        ],
        schema=polars_schema(AccountDay),
    )


def plans(*rows: tuple[str, str, str, str | None]) -> pl.DataFrame:
    """account, plan, from, to."""
    return pl.DataFrame(
        [
            dict.fromkeys(polars_schema(SubscriptionState))
            | {"account_id": who, "plan": plan, "status": "active", "valid_from": date.fromisoformat(start)}
            | {"valid_to": date.fromisoformat(end) if end else None}
            for who, plan, start, end in rows
        ],
        schema=polars_schema(SubscriptionState),
    )


def entitlements(**features: list[str]) -> pl.DataFrame:
    rows = [{"plan": plan, "feature": feature} for plan, names in features.items() for feature in names]
    return pl.DataFrame(rows, schema=polars_schema(FeatureEntitlements))


def attributes(**owners: str) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"account_id": who, "month": date(2020, 1, 1), **dict.fromkeys(DIMENSIONS, "some"), "owner": owner}
            for who, owner in owners.items()
        ],
        schema={"account_id": TEXT, "month": pl.Date(), **dict.fromkeys(DIMENSIONS, TEXT)},
    )


def sums(known: Sources, features: pl.DataFrame | None = None, as_of: date = AS_OF) -> tuple[Sums, date]:
    first = known.use["day"].min()
    assert isinstance(first, date)
    return adoption_sums(known, entitlements() if features is None else features, first, as_of), first


def mart(
    used: pl.DataFrame,
    bought: pl.DataFrame | None = None,
    closing: pl.DataFrame = NO_CUSTOMERS,
    days: pl.DataFrame | None = None,
    as_of: date = AS_OF,
    **owners: str,
) -> pl.DataFrame:
    known = Sources(
        used,
        seats() if bought is None else bought,
        customers() if days is None else days,
        plans(),
        attributes(**owners),
    )
    added, first = sums(known, as_of=as_of)
    found = adoption(added.adoption, closing, first, POLICY, as_of)
    Adoption.validate(found.with_columns(policy_version=pl.lit("v1")))
    assert not found.select(key_columns(Adoption)).is_duplicated().any()
    return found


def one(
    rows: pl.DataFrame, start: date = date(2026, 3, 1), grain: str = "month", member: str = "all"
) -> dict[str, Any]:
    return rows.filter(
        (pl.col("grain") == grain) & (pl.col("period_start") == start) & (pl.col("member") == member)
    ).row(0, named=True)


EARLY = ("early", "e", "2026-01-01")
"""Use long ago, so that the windows of March are observed."""


def test_a_day_of_use_counts_users_once_and_adds_events() -> None:
    rows = usage_days(
        use(
            ("a", "u", "2026-03-02", "boards"),
            ("a", "u", "2026-03-02"),
            ("a", "v", "2026-03-02"),
            ("b", "u", "2026-04-01"),
        ),
        AS_OF,
    )
    UsageDay.validate(rows)
    assert rows.rows() == [("a", date(2026, 3, 2), 2, 6)]


def test_seats_are_active_with_a_use_in_the_thirty_days_to_the_end_of_the_period() -> None:
    used = use(EARLY, ("a", "in", "2026-03-02"), ("a", "in", "2026-03-20"), ("a", "too early", "2026-03-01"))
    row = one(mart(used, seats(("a", "2025-01-01", 4))))
    assert (row["active_seats"], row["purchased_seats"], row["licence_utilisation"]) == (1, 4, 0.25)
    assert row["not_observed"] is False


def test_the_headline_pools_seats_and_the_mean_weighs_accounts_alike() -> None:
    used = use(EARLY, *(("a", f"u{i}", "2026-03-30") for i in range(9)), ("b", "x", "2026-03-30"))
    row = one(mart(used, seats(("a", "2025-01-01", 10), ("b", "2025-01-01", 2), ("idle", "2025-01-01", 3))))
    assert (row["licensed_accounts"], row["active_seats"], row["purchased_seats"]) == (3, 10, 15)
    assert row["licence_utilisation"] == pytest.approx(10 / 15)
    assert row["licence_utilisation_mean"] == pytest.approx((0.9 + 0.5 + 0) / 3, abs=1e-9)


def test_more_active_than_purchased_seats_are_above_one_and_flagged() -> None:
    used = use(EARLY, *(("a", f"u{i}", "2026-03-30") for i in range(3)))
    row = one(mart(used, seats(("a", "2025-01-01", 2))))
    assert (row["licence_utilisation"], row["is_over_licensed"], row["over_licensed_accounts"]) == (1.5, True, 1)


@pytest.mark.parametrize("purchased", [0, None])
def test_without_limited_seats_utilisation_is_null(purchased: int | None) -> None:
    row = one(mart(use(EARLY, ("a", "u", "2026-03-30")), seats(("a", "2025-01-01", purchased))))
    assert (row["licence_utilisation"], row["licence_utilisation_mean"], row["is_over_licensed"]) == (None, None, None)
    assert (row["active_users_month"], row["unlimited_accounts"]) == (1, int(purchased is None))


def test_seats_are_those_valid_on_the_last_day_of_all_references_of_the_account() -> None:
    bought = pl.concat(
        [
            seats(("a", "2025-01-01", 5), ("a", "2026-03-31", 7), ("a", "2026-04-01", 9)),
            seats(("a", "2026-02-10", 3), ref="second"),
            seats(("a", "2026-01-01", 50), ("a", "2026-03-31", 0), ref="ended"),
        ]
    )
    found = mart(use(EARLY), bought)
    assert one(found)["purchased_seats"] == 10
    assert one(found, date(2026, 1, 1))["purchased_seats"] == 55


def test_a_window_that_begins_before_the_first_use_is_not_observed() -> None:
    found = mart(use(("a", "u", "2026-02-20"), ("a", "u", "2026-03-21")), seats(("a", "2025-01-01", 1)))
    february, march = one(found, date(2026, 2, 1)), one(found)
    assert february["not_observed"] is True
    assert (february["licence_utilisation"], february["active_users_month"], february["stickiness"]) == (None,) * 3
    assert (february["purchased_seats"], february["accounts_with_access"]) == (1, 1)
    assert (march["not_observed"], march["licence_utilisation"]) == (False, 1.0)
    assert found["period_start"].min() == date(2026, 1, 1)  # the quarter and the year


def test_stickiness_is_the_mean_of_the_daily_users_over_the_monthly_ones() -> None:
    used = use(EARLY, *(("a", "u", f"2026-03-{day:02d}") for day in range(2, 17)), ("a", "v", "2026-03-31"))
    row = one(mart(used))
    assert (row["active_users_day"], row["active_users_week"], row["active_users_month"]) == (1, 1, 2)
    assert (row["stickiness_numerator"], row["stickiness_denominator"]) == (16, 60)


def test_access_counts_customers_at_the_end_with_any_use_in_the_period() -> None:
    days = customers(("a", "2026-01-01", "paying"), ("gone", "2026-01-01", "paying"), ("gone", "2026-03-20", "none"))
    closing = {"grain": ["month"], "period_start": [date(2026, 3, 1)], "dimension": ["all"], "member": ["all"]}
    used = use(EARLY, ("a", "u", "2026-03-05"), ("gone", "u", "2026-03-05"), ("lead", "u", "2026-03-05"))
    row = one(mart(used, closing=pl.DataFrame(closing | {"closing_customers": [4]}), days=days))
    assert (row["accounts_with_access"], row["customers_with_access"], row["access_rate"]) == (3, 1, 0.25)
    assert one(mart(used, days=days))["access_rate"] is None  # customers are not observed


def test_a_running_period_ends_with_as_of() -> None:
    used = use(EARLY, ("a", "u", "2026-03-10"), ("a", "v", "2026-03-12"))
    row = one(mart(used, as_of=date(2026, 3, 10)))
    assert (row["is_complete"], row["active_users_day"], row["active_users_month"]) == (False, 1, 1)


def test_members_split_the_total() -> None:
    used = use(EARLY, ("a", "u", "2026-03-30"), ("b", "u", "2026-03-30"), ("unassigned", "u", "2026-03-30"))
    found = mart(used, a="csm-1", b="csm-2")
    users = {member: one(found, member=member)["active_users_month"] for member in ("all", "csm-1", "csm-2")}
    assert users == {"all": 3, "csm-1": 1, "csm-2": 1}
    owners = found.filter((pl.col("dimension") == "owner") & (pl.col("member") == "unassigned"))
    assert one(owners, member="unassigned")["active_users_month"] == 1


events = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("uvw"), st.integers(0, 130)), min_size=1, max_size=40
)


@settings(max_examples=40, deadline=None)
@given(events)
def test_users_of_every_window_are_those_of_a_walk_over_its_days(rows: list[tuple[str, str, int]]) -> None:
    first = date(2025, 11, 20)
    used = use(*((who, user, (first + timedelta(days=n)).isoformat()) for who, user, n in rows))
    found = mart(used, seats(("a", "2025-11-01", 2))).filter(pl.col("dimension") == "all")
    events = {(who, user, first + timedelta(days=n)) for who, user, n in rows}
    for row in found.iter_rows(named=True):
        last = min(row["period_end"] - timedelta(days=1), AS_OF)
        window = {w: {(a, u) for a, u, d in events if last - timedelta(days=w) < d <= last} for w in (1, 7, 30)}
        assert row["active_users_day"] == len(window[1])
        if not row["not_observed"]:
            assert row["active_users_week"] == len(window[7])
            assert row["active_users_month"] == len(window[30])
            assert row["active_seats"] == len([1 for a, _ in window[30] if a == "a"])
            days = [d for *_, d in events if last - timedelta(days=30) < d <= last]
            assert row["stickiness_numerator"] == len(days)


def test_shards_of_accounts_add_up_to_the_whole() -> None:
    used = use(EARLY, *(("ab"[i % 2], f"u{i}", f"2026-03-{i + 1:02d}", "boards") for i in range(28)))
    days = customers(("a", "2026-01-01", "paying"), ("b", "2026-01-01", "paying"))
    states = plans(("a", "Team", "2026-01-01", None), ("b", "Free", "2026-01-01", None))
    known = Sources(
        used, seats(("a", "2025-01-01", 40), ("b", "2025-01-01", 3)), days, states, attributes(a="x", b="y")
    )
    features = entitlements(Team=["boards"])
    whole, first = sums(known, features)
    shards = [adoption_sums(known.of(pl.Series([who])), features, first, AS_OF) for who in ("a", "b", "early")]
    for together, added in zip(whole, Sums.add_up(shards), strict=True):
        keys = [name for name, dtype in together.schema.items() if dtype != pl.Int64]
        assert_frame_equal(together.sort(keys), added.select(together.columns).sort(keys))


def features_of(known: Sources, features: pl.DataFrame) -> pl.DataFrame:
    added, first = sums(known, features)
    found = feature_adoption(added.features, first, POLICY, AS_OF)
    FeatureAdoption.validate(found.with_columns(policy_version=pl.lit("v1")))
    assert not found.select(key_columns(FeatureAdoption)).is_duplicated().any()
    return found.filter((pl.col("grain") == "month") & (pl.col("period_start") == date(2026, 3, 1)))


def test_a_feature_is_adopted_by_the_customers_whose_plans_have_it_and_that_used_it() -> None:
    names = ("user", "idle", "add-on", "left", "free")
    days = customers(
        *((who, "2026-01-01", "paying") for who in names[:3]),
        ("left", "2026-01-01", "paying"),
        ("left", "2026-03-15", "none"),
    )
    states = plans(
        ("user", "Team", "2026-01-01", None),
        ("idle", "Team", "2026-01-01", None),
        ("add-on", "Starter", "2026-01-01", None),
        ("add-on", "Reports", "2026-02-01", None),
        ("left", "Team", "2026-01-01", "2026-03-15"),
        ("free", "Team", "2026-01-01", None),  # no customer
    )
    used = use(EARLY, *((who, "u", "2026-03-05", "reports") for who in names if who != "idle"))
    known = Sources(used, seats(), days, states, attributes())
    rows = features_of(known, entitlements(Team=["boards", "reports"], Reports=["reports"], Starter=["boards"]))
    columns = ("feature", "entitled_accounts", "using_accounts", "unentitled_using_accounts", "feature_adoption")
    total = rows.filter(pl.col("dimension") == "all")
    assert total.select(columns).rows() == [("boards", 3, 0, 0, 0.0), ("reports", 3, 2, 2, pytest.approx(2 / 3))]


def test_paused_and_unpaid_items_entitle_to_nothing() -> None:
    states = plans(("a", "Team", "2026-01-01", None)).with_columns(status=pl.lit("paused"))
    known = Sources(use(EARLY), seats(), customers(("a", "2026-01-01", "paused")), states, attributes())
    assert features_of(known, entitlements(Team=["boards"])).is_empty()


def test_nothing_observed_is_nothing_published() -> None:
    known = Sources(use(), seats(("a", "2025-01-01", 5)), customers(), plans(), attributes())
    added = adoption_sums(known, entitlements(), AS_OF, AS_OF)
    assert usage_days(known.use, AS_OF).is_empty()
    assert adoption(added.adoption, NO_CUSTOMERS, None, POLICY, AS_OF).is_empty()
    assert feature_adoption(added.features, None, POLICY, AS_OF).is_empty()


def test_without_a_list_of_features_their_adoption_is_not_observed() -> None:
    states = plans(("a", "Team", "2026-01-01", None))
    known = Sources(use(EARLY), seats(), customers(("a", "2026-01-01", "paying")), states, attributes())
    assert features_of(known, entitlements()).is_empty()
