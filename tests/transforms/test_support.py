"""Support against hand-reckoned tickets and the rules of section 13."""

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from schemas.contract import key_columns, polars_schema
from schemas.marts_support import ResourceRatings, Support, SupportByType, Ticket
from schemas.policy import Policy
from schemas.support import ResourceRatings as Views
from schemas.support import TicketReplies, Tickets
from transforms.slices import DIMENSIONS
from transforms.support import resource_ratings, support, support_by_type, tickets

POLICY = Policy()
AS_OF = date(2026, 3, 31)
CUSTOMER_DAYS = pl.DataFrame(
    schema={
        "grain": pl.String,
        "period_start": pl.Date,
        "dimension": pl.String,
        "member": pl.String,
        "customer_days": pl.Int64,
    }
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ticket(name: str, created: str, **more: Any) -> dict[str, Any]:
    plain = {"ticket_id": name, "created_at": at(created), "account_id": "a", "source": "desk"}
    return dict.fromkeys([*polars_schema(Tickets), "excluded_reason"]) | plain | more


def reply(name: str, when: str, author: str = "agent", **more: Any) -> dict[str, Any]:
    plain = {"ticket_id": name, "replied_at": at(when), "author": author, "is_public": True, "source": "desk"}
    return dict.fromkeys(polars_schema(TicketReplies)) | {"reply_id": when} | plain | more


def facts(
    *asked: dict[str, Any], replies: list[dict[str, Any]] | None = None, as_of: date = AS_OF, policy: Policy = POLICY
) -> pl.DataFrame:
    strings = dict.fromkeys(("source", "account_id", "excluded_reason"), pl.String)
    rows = tickets(
        pl.DataFrame(list(asked), schema=polars_schema(Tickets) | strings),
        pl.DataFrame(replies or [], schema=polars_schema(TicketReplies) | {"source": pl.String}),
        policy,
        as_of,
    )
    Ticket.validate(rows)
    assert not rows.select(key_columns(Ticket)).is_duplicated().any()
    return rows


def attributes(**owners: str) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"account_id": who, "month": date(2020, 1, 1), **dict.fromkeys(DIMENSIONS, "some"), "owner": owner}
            for who, owner in owners.items()
        ],
        schema={"account_id": pl.String, "month": pl.Date, **dict.fromkeys(DIMENSIONS, pl.String)},
    )


def mart(
    rows: pl.DataFrame, customers: pl.DataFrame = CUSTOMER_DAYS, as_of: date = AS_OF, **owners: str
) -> pl.DataFrame:
    found = support(rows, customers, attributes(**owners), POLICY, as_of)
    Support.validate(found.with_columns(policy_version=pl.lit("v1")))
    assert not found.select(key_columns(Support)).is_duplicated().any()
    return found


def one(
    rows: pl.DataFrame, start: date = date(2026, 3, 1), grain: str = "month", member: str = "all"
) -> dict[str, Any]:
    return rows.filter(
        (pl.col("grain") == grain) & (pl.col("period_start") == start) & (pl.col("member") == member)
    ).row(0, named=True)


def test_the_first_response_is_the_first_public_reply_of_an_agent_that_is_not_automatic() -> None:
    replies = [
        reply("t", "2026-03-03T09:59"),  # before the ticket was there
        reply("t", "2026-03-03T10:01", "system", is_auto=True),
        reply("t", "2026-03-03T10:02", is_auto=True),
        reply("t", "2026-03-03T10:05", is_public=False),
        reply("t", "2026-03-03T10:10", "requester"),
        reply("t", "2026-03-03T10:45"),
        reply("t", "2026-03-03T11:45"),
    ]
    row = facts(ticket("t", "2026-03-03T10:00"), replies=replies).row(0, named=True)
    assert row["first_response_at"] == at("2026-03-03T10:45")
    assert (row["first_response_minutes"], row["first_response_business_minutes"]) == (45, 45)


def test_over_night_only_support_hours_count_as_business_minutes() -> None:
    row = facts(ticket("t", "2026-03-03T16:30"), replies=[reply("t", "2026-03-04T09:15")]).row(0, named=True)
    assert (row["first_response_minutes"], row["first_response_business_minutes"]) == (16 * 60 + 45, 45)


def test_a_ticket_without_answer_waits_until_it_is_solved_or_the_day_ends() -> None:
    rows = facts(
        ticket("open", "2026-03-31T22:00"),
        ticket("solved", "2026-03-31T10:00", solved_at=at("2026-03-31T12:00"), status="solved"),
        replies=[reply("open", "2026-04-01T00:00")],  # after as_of
    )
    assert rows["ticket_id"].to_list() == ["open", "solved"]
    assert rows["first_response_minutes"].to_list() == [None, None]
    assert rows["waited_minutes"].to_list() == [120, 120]
    assert rows["resolution_hours"].to_list() == [None, 2]
    assert rows["open_hours"].to_list() == [2, 2]


def test_a_ticket_solved_at_an_unknown_time_says_nothing_of_how_long_it_took() -> None:
    rows = facts(ticket("t", "2026-03-03T10:00", status="closed"))
    assert rows["open_hours"].to_list() == [None]
    row = one(mart(rows))
    assert (row["solved_count"], row["unsolved_count"], row["resolution_hours"]) == (0, 0, None)


def test_the_day_is_that_of_the_reporting_time_zone() -> None:
    policy = Policy(reporting_timezone="America/Costa_Rica")
    rows = facts(ticket("a", "2026-04-01T05:59"), ticket("b", "2026-04-01T06:00"), policy=policy)
    assert rows.select("ticket_id", "created_on").rows() == [("a", date(2026, 3, 31))]


def test_excluded_tickets_and_accounts_stay_in_the_facts_and_out_of_the_mart() -> None:
    rows = facts(
        ticket("spam", "2026-03-03T10:00", is_excluded=True),
        ticket("test", "2026-03-03T10:00", excluded_reason="test account"),
        ticket("real", "2026-03-03T10:00", is_excluded=False, account_id="unassigned"),
    )
    assert rows.select("ticket_id", "excluded_reason").rows() == [
        ("real", None),
        ("spam", "ticket"),
        ("test", "test account"),
    ]
    found = mart(rows, a="csm-1")
    assert one(found)["tickets_created"] == 1
    assert one(found, member="unassigned")["tickets_created"] == 1
    assert "csm-1" not in found["member"]


def test_tickets_per_customer_divide_by_the_average_of_the_days() -> None:
    rows = facts(*(ticket(f"t{i}", "2026-03-03T10:00") for i in range(6)))
    month = {"grain": ["month"], "period_start": [date(2026, 3, 1)], "dimension": ["all"], "member": ["all"]}
    customers = pl.DataFrame(month | {"customer_days": [31 * 4]})
    row = one(mart(rows, customers))
    assert (row["tickets_per_customer"], row["tickets_per_customer_numerator"]) == (1.5, 6 * 31)
    assert row["tickets_per_customer_denominator"] == 124


def test_where_customers_are_not_observed_the_rate_is_null_and_tickets_are_counted() -> None:
    row = one(mart(facts(ticket("t", "2026-03-03T10:00"))))
    assert (row["tickets_created"], row["customer_days"], row["tickets_per_customer"]) == (1, None, None)


def test_unanswered_tickets_push_the_median_out_and_are_counted() -> None:
    # 10 and 30 minutes, and one that waits since an hour: two of three are answered within 30 minutes.
    rows = facts(
        ticket("a", "2026-03-31T10:00"),
        ticket("b", "2026-03-31T10:00"),
        ticket("c", "2026-03-31T23:00"),
        replies=[reply("a", "2026-03-31T10:10"), reply("b", "2026-03-31T10:30")],
    )
    row = one(mart(rows))
    assert (row["answered_count"], row["unanswered_count"], row["n"]) == (2, 1, 3)
    assert (row["first_response_minutes"], row["first_response_minutes_p90"]) == (30, None)


def test_medians_are_of_the_rows_of_each_member() -> None:
    rows = facts(
        *(ticket(f"t{i}", "2026-03-03T10:00", account_id="a" if i < 3 else "b") for i in range(5)),
        replies=[reply(f"t{i}", f"2026-03-03T10:{10 * (i + 1)}") for i in range(5)],
    )
    found = mart(rows, a="csm-1", b="csm-2")
    assert [one(found, member=who)["first_response_minutes"] for who in ("all", "csm-1", "csm-2")] == [30, 20, 40]


def test_four_and_five_of_five_are_satisfied() -> None:
    rows = facts(*(ticket(f"t{i}", "2026-03-03T10:00", csat_score=i or None) for i in range(6)))
    row = one(mart(rows))
    assert (row["support_csat"], row["support_csat_numerator"], row["support_csat_denominator"]) == (0.4, 2, 5)


def test_a_period_without_tickets_is_a_row_of_zeros_and_before_the_first_there_is_none() -> None:
    found = mart(facts(ticket("t", "2026-01-15T10:00")))
    months = found.filter((pl.col("grain") == "month") & (pl.col("dimension") == "all"))
    assert months.select("period_start", "tickets_created", "first_response_minutes").rows() == [
        (date(2026, 1, 1), 1, None),
        (date(2026, 2, 1), 0, None),
        (date(2026, 3, 1), 0, None),
    ]


def test_types_are_shares_of_all_with_untyped() -> None:
    rows = facts(
        ticket("a", "2026-03-03T10:00", type="bug"),
        ticket("b", "2026-03-03T10:00", type="bug"),
        ticket("c", "2026-03-03T10:00"),
        ticket("d", "2026-03-03T10:00", type="billing", is_excluded=True),
    )
    found = support_by_type(rows, attributes(a="csm-1"), POLICY, AS_OF)
    SupportByType.validate(found.with_columns(policy_version=pl.lit("v1")))
    total = found.filter((pl.col("grain") == "month") & (pl.col("dimension") == "all"))
    assert total.select("ticket_type", "ticket_count", "ticket_share").rows() == [
        ("bug", 2, pytest.approx(2 / 3)),
        ("untyped", 1, pytest.approx(1 / 3)),
    ]


def views(*rows: tuple[str, int | None, bool | None]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            dict.fromkeys(polars_schema(Views))
            | {"view_id": str(i), "resource_id": resource, "rating": rating, "is_helpful": helpful}
            | {"viewed_at": at("2026-03-03T10:00"), "account_id": "a"}
            for i, (resource, rating, helpful) in enumerate(rows)
        ],
        schema=polars_schema(Views) | {"account_id": pl.String},
    )


def test_resources_have_views_a_mean_rating_and_a_helpful_share() -> None:
    seen = views(("x", 5, True), ("x", 2, None), ("x", None, False), ("y", None, True))
    found = resource_ratings(seen, attributes(a="csm-1"), POLICY, AS_OF)
    ResourceRatings.validate(found.with_columns(policy_version=pl.lit("v1")))
    month = found.filter((pl.col("grain") == "month") & (pl.col("dimension") == "all"))
    assert month.select("resource_id", "views", "resource_rating", "helpful_share").rows() == [
        ("all", 4, 3.5, pytest.approx(2 / 3)),
        ("x", 3, 3.5, 0.5),
        ("y", 1, None, 1.0),
    ]
    assert set(found.filter(pl.col("resource_id") != "all")["dimension"]) == {"all"}


def test_nothing_observed_is_nothing_published() -> None:
    none = facts()
    assert none.is_empty()
    assert mart(none).is_empty()
    assert support_by_type(none, attributes(), POLICY, AS_OF).is_empty()
    assert resource_ratings(views(), attributes(), POLICY, AS_OF).is_empty()


def test_the_order_of_rows_changes_nothing() -> None:
    asked = [ticket(f"t{i}", f"2026-03-0{i + 1}T10:00", type=f"type {i % 2}") for i in range(6)]
    replies = [reply(f"t{i}", f"2026-03-0{i + 1}T1{i}:30") for i in range(5)]
    there, back = (
        facts(*rows, replies=list(rows_r)) for rows, rows_r in ((asked, replies), (asked[::-1], replies[::-1]))
    )
    assert there.equals(back)
    assert mart(there).equals(mart(back.sample(fraction=1, shuffle=True, seed=1)))
