"""Churn reasons: the precedence of billing, CRM and exit survey, and customers lost by reason in every mart."""

from datetime import date
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas.billing import Discounts, Prices, SubscriptionChanges
from schemas.contract import empty_frame, key_columns, polars_schema
from schemas.crm import LossReasons
from schemas.finance import FxRates
from schemas.marts_churn import ChurnEvent, ChurnReasons
from schemas.policy import Policy
from tests.worked_examples import change, end
from transforms.churn_reasons import churn_events, churn_reason_sums, churn_reasons, with_churn_reasons
from transforms.money import RATE_SCALE
from transforms.mrr_ledger import account_days, mrr_ledger
from transforms.mrr_slices import customer_slices, customer_sums, movement_slices, movement_sums
from transforms.periods import calendars
from transforms.reporting import month_rates
from transforms.retention import retention, trailing_12m
from transforms.slices import DIMENSIONS, add_up
from transforms.subscription_states import subscription_states, with_prices

POLICY = Policy(loss_reason_window_days=30)
LOST_ON = date(2025, 6, 15)
MONTHS = pl.date_range(date(2024, 1, 1), date(2026, 12, 1), "1mo", eager=True)


def days(*rows: dict[str, Any]) -> pl.DataFrame:
    """Days on which an account that pays leaves, unless said otherwise."""
    plain = {
        "account_id": "a",
        "day": LOST_ON,
        "opening_state": "paying",
        "closing_state": "none",
        "ever_paid_before": True,
        "first_paid_date": date(2024, 1, 1),
        "end_reason": None,
        "stopped_by": None,
    }
    schema = {name: pl.Date if "da" in name else pl.String for name in plain} | {"ever_paid_before": pl.Boolean}
    return pl.DataFrame([plain | row for row in rows], schema=schema)


def losses(*rows: dict[str, Any]) -> pl.DataFrame:
    plain = {"account_id": "a", "lost_on": LOST_ON, "reason": "price", "origin": None}
    return pl.DataFrame(
        [plain | {"loss_id": f"l{i}"} | row for i, row in enumerate(rows)], schema=polars_schema(LossReasons)
    )


def rates(**by_currency: int) -> pl.DataFrame:
    """The same rate in every month, in reporting minor units per `RATE_SCALE` native ones."""
    frames = [
        pl.DataFrame({"currency": [currency] * MONTHS.len(), "month": MONTHS}).with_columns(
            rate=pl.lit(rate, pl.Int128)
        )
        for currency, rate in sorted(({"USD": RATE_SCALE} | by_currency).items())
    ]
    return pl.concat(frames)


NO_LEDGER = pl.DataFrame(
    schema={
        "account_id": pl.String,
        "currency": pl.String,
        "day": pl.Date,
        "category": pl.String,
        "amount_arr_minor": pl.Int64,
        "closing_state": pl.String,
    }
)


def event(day: dict[str, Any], *said: dict[str, Any], policy: Policy = POLICY) -> dict[str, Any]:
    """The event of one loss."""
    found = churn_events(days(day), NO_LEDGER, losses(*said), rates(), policy)
    ChurnEvent.validate(found)
    return found.row(0, named=True)


def why(day: dict[str, Any], *said: dict[str, Any]) -> tuple[str, str, str, bool]:
    row = event(day, *said)
    return row["churn_reason"], row["reason_source"], row["churn_type"], row["is_unmapped"]


EXIT = {"origin": "exit_survey", "reason": "low_usage"}


def test_billing_comes_before_the_crm_and_the_crm_before_the_exit_survey() -> None:
    failed = {"end_reason": "payment_failed"}
    assert why(failed, {"reason": "competitor"}, EXIT) == ("payment_failed", "billing", "involuntary", False)
    assert why({}, EXIT, {"reason": "competitor"}) == ("competitor", "crm", "voluntary", False)
    assert why({}, EXIT) == ("low_usage", "exit_survey", "voluntary", False)


def test_every_source_is_kept_beside_the_reason_that_counts() -> None:
    row = event({"end_reason": "requested"}, {"reason": "competitor", "origin": "crm"}, EXIT)
    assert [row[f"{source}_reason"] for source in ("billing", "crm", "exit_survey")] == [
        "requested",
        "competitor",
        "low_usage",
    ]


def test_a_reason_that_the_policy_maps_counts_before_one_that_it_does_not() -> None:
    assert why({"end_reason": "deleted"}, {"reason": "price"}) == ("price", "crm", "voluntary", False)
    assert why({"end_reason": "moved"}, {"reason": "Champion left"}, EXIT)[:2] == ("low_usage", "exit_survey")


def test_where_no_source_is_mapped_the_first_counts_as_unmapped() -> None:
    assert why({"end_reason": "moved"}, {"reason": "Champion left"}) == ("moved", "billing", "unknown", True)
    assert why({}, {"reason": "Champion left"}) == ("Champion left", "crm", "unknown", True)


def test_a_deletion_is_of_unknown_type_but_no_reason_that_a_policy_could_map() -> None:
    assert why({"end_reason": "deleted"}) == ("deleted", "billing", "unknown", False)


def test_without_any_reason_the_type_is_unknown_and_nothing_is_unmapped() -> None:
    nothing = ("cancelled", "none", "unknown", False)
    assert why({}) == nothing
    assert why({"end_reason": "cancelled"}) == nothing
    assert why({"end_reason": "cancelled"}, {"reason": "price"})[1] == "crm"


def test_an_account_closed_because_of_non_payment_is_involuntary_by_any_source() -> None:
    assert why({}, {"reason": "payment_failed"})[2] == "involuntary"
    assert why({"end_reason": "no_card"}, {"reason": "requested"})[2] == "involuntary"


def test_an_account_lost_in_a_pause_left_for_the_reason_of_the_pause() -> None:
    paused = {"opening_state": "paused", "stopped_by": "pause"}
    assert why(paused) == ("pause", "billing", "voluntary", False)
    assert why({"stopped_by": "pause"})[0] == "cancelled"  # it paid again in between


@pytest.mark.parametrize(
    ("noted_on", "source"),
    [(date(2025, 5, 15), "none"), (date(2025, 5, 16), "crm"), (date(2025, 7, 15), "crm"), (date(2025, 7, 16), "none")],
)
def test_a_note_counts_within_the_window_on_both_sides(noted_on: date, source: str) -> None:
    assert why({}, {"lost_on": noted_on})[1] == source


def test_the_nearest_note_counts_of_equally_near_ones_the_earlier_and_of_one_day_the_last() -> None:
    before, after = date(2025, 6, 10), date(2025, 6, 20)
    assert why({}, {"lost_on": before}, {"lost_on": date(2025, 6, 19), "reason": "competitor"})[0] == "competitor"
    assert why({}, {"lost_on": after, "reason": "competitor"}, {"lost_on": before})[0] == "price"
    assert why({}, {"lost_on": before}, {"lost_on": before, "reason": "competitor"})[0] == "competitor"


def test_notes_of_other_accounts_do_not_count_and_each_loss_takes_its_own() -> None:
    later = date(2026, 1, 10)
    found = churn_events(
        days({"day": later}, {}, {"account_id": "b"}),
        NO_LEDGER,
        losses({"lost_on": later, "reason": "competitor"}, {}, {"account_id": "c", "reason": "fraud"}),
        rates(),
        POLICY,
    )
    assert found.select("account_id", "day", "churn_reason").rows() == [
        ("a", LOST_ON, "price"),
        ("a", later, "competitor"),
        ("b", LOST_ON, "cancelled"),
    ]


def test_only_days_on_which_a_customer_is_lost_are_events() -> None:
    kept = [{"closing_state": "paused"}, {"opening_state": "none", "closing_state": "none"}]
    assert churn_events(days(*kept), NO_LEDGER, losses(), rates(), POLICY).is_empty()


def test_arr_is_the_churn_of_all_currencies_each_rounded_once_at_the_rate_of_the_month() -> None:
    row = {"account_id": "a", "day": LOST_ON, "category": "churn", "closing_state": "none"}
    ledger = pl.DataFrame(
        [row | {"currency": "USD", "amount_arr_minor": 120_00}, row | {"currency": "EUR", "amount_arr_minor": 3_33}],
        schema=NO_LEDGER.schema,
    )
    found = churn_events(days({}), ledger, losses(), rates(EUR=11 * RATE_SCALE // 10), POLICY)
    assert found.select("currency", "arr_minor").rows() == [("USD", 123_66)]  # 333 x 1.1 = 366.3


def test_days_and_ledger_take_the_reason_that_counts_and_keep_their_order() -> None:
    found = churn_events(days({}), NO_LEDGER, losses({"reason": "competitor"}), rates(), POLICY)
    rows = days({"end_reason": "pause", "closing_state": "paused", "day": date(2025, 7, 1)}, {})
    assert with_churn_reasons(rows, found)["end_reason"].to_list() == ["pause", "competitor"]
    ledger = rows.select("account_id", "day", "end_reason").with_columns(
        category=pl.Series(["contraction", "churn"]), reason=pl.Series(["seats", "cancelled"])
    )
    resolved = with_churn_reasons(ledger, found)
    assert resolved["reason"].to_list() == ["seats", "competitor"]
    assert resolved.columns == ledger.columns


# The mart: five customers of January 2025, reckoned by hand


AS_OF = date(2025, 3, 31)


def _company() -> pl.DataFrame:
    """Ana leaves in February for a reason that only the CRM knows; Ben because a payment failed; Cam without a word
    and comes back in March; Dan stays; Eva leaves twice in February.
    """
    rows = []
    for name, amount in {"ana": 100_00, "ben": 50_00, "cam": 30_00, "dan": 10_00, "eva": 20_00}.items():
        rows.append(change(name, "2025-01-10", amount))
    first = {row["customer_id"]: row for row in rows}
    rows += [
        end("ana", "2025-02-20", first["ana"]) | {"reason": None},
        end("ben", "2025-02-10", first["ben"]) | {"reason": "payment_failed"},
        end("cam", "2025-02-12", first["cam"]) | {"reason": None},
        change("cam", "2025-03-05", 30_00),
        end("eva", "2025-02-03", first["eva"]) | {"reason": "price"},
        change("eva", "2025-02-14", 20_00),
        end("eva", "2025-02-27", first["eva"]) | {"reason": "moved"},
    ]
    return pl.DataFrame(rows, schema=polars_schema(SubscriptionChanges) | {"account_id": pl.String()})


@pytest.fixture(scope="module")
def built() -> dict[str, pl.DataFrame]:
    policy = Policy()
    states = subscription_states(with_prices(_company(), empty_frame(Prices)), empty_frame(Discounts), policy, AS_OF)
    billed_days = account_days(states, policy)
    billed = mrr_ledger(states, billed_days)
    needed = pl.DataFrame({"currency": ["USD"], "month": [date(2025, 1, 1)]})
    fx = month_rates(empty_frame(FxRates), needed, policy, AS_OF)
    said = losses({"account_id": "ana", "lost_on": date(2025, 2, 22), "reason": "competitor"})
    events = churn_events(billed_days, billed, said, fx, policy)
    account_day, ledger = (with_churn_reasons(rows, events) for rows in (billed_days, billed))
    attributes = pl.DataFrame(
        [
            {"account_id": name, "month": date(2025, 1, 1), **dict.fromkeys(DIMENSIONS, "some")}
            for name in ("ana", "ben", "cam", "dan", "eva")
        ]
    ).with_columns(country=pl.Series(["ES", "ES", "PT", "PT", "PT"]))
    periods = calendars(date(2025, 1, 10), AS_OF)
    movements = movement_slices(movement_sums(ledger, account_day, attributes, fx, periods, policy, AS_OF), periods)
    customers = customer_slices(customer_sums(account_day, attributes, periods, policy), periods)
    kept = retention(movements, customers, trailing_12m(ledger, attributes, fx, periods, policy, AS_OF), policy)
    shards = [["ana", "cam"], ["ben", "dan", "eva"]]
    sums = [
        churn_reason_sums(
            *(rows.filter(pl.col("account_id").is_in(names)) for rows in (ledger, account_day, events)),
            attributes,
            fx,
            periods,
            policy,
            AS_OF,
        )
        for names in shards
    ]
    mart = churn_reasons(add_up(sums), kept, movements, policy)
    ChurnReasons.validate(mart.with_columns(policy_version=pl.lit("v1")))
    assert not mart.select(key_columns(ChurnReasons)).is_duplicated().any()
    return {"events": events, "retention": kept, "movements": movements, "mart": mart}


def rows_of(mart: pl.DataFrame, month: date, dimension: str = "all", member: str = "all") -> pl.DataFrame:
    return mart.filter(
        (pl.col("grain") == "month")
        & (pl.col("period_start") == month)
        & (pl.col("dimension") == dimension)
        & (pl.col("member") == member)
    )


def test_february_by_reason_is_as_reckoned_by_hand(built: dict[str, pl.DataFrame]) -> None:
    expected = pl.DataFrame(
        [
            ("all", "all", 4, 1, 2, 1, 1, 200_00 * 12),
            ("involuntary", "all", 1, 0, 1, 0, 0, 50_00 * 12),
            ("involuntary", "payment_failed", 1, 0, 1, 0, 0, 50_00 * 12),
            ("unknown", "all", 2, 1, 1, 0, 1, 50_00 * 12),
            ("unknown", "cancelled", 1, 0, 0, 0, 1, 30_00 * 12),
            ("unknown", "moved", 1, 1, 1, 0, 0, 20_00 * 12),
            ("voluntary", "all", 1, 0, 0, 1, 0, 100_00 * 12),
            ("voluntary", "competitor", 1, 0, 0, 1, 0, 100_00 * 12),
        ],
        schema=[
            "churn_type",
            "churn_reason",
            "customers",
            "unmapped_customers",
            "from_billing",
            "from_crm",
            "from_none",
            "arr_minor",
        ],
        orient="row",
    )
    found = rows_of(built["mart"], date(2025, 2, 1))
    assert_frame_equal(found.select(expected.columns), expected)
    total = found.row(0, named=True)
    assert (total["involuntary_churn_share"], total["n"], total["small_n"]) == (1 / 4, 4, True)
    assert (total["involuntary_arr_churn_share"], total["arr"]) == (50 / 200, 2_400.0)
    shares = dict(found.select("churn_reason", "churn_reason_arr_share").rows())
    assert shares["competitor"] == 0.5
    assert found["involuntary_churn_share"].null_count() == found.height - 1


def test_the_types_in_retention_and_movements_follow_the_same_precedence(built: dict[str, pl.DataFrame]) -> None:
    kept = rows_of(built["retention"].filter(pl.col("basis") == "reporting"), date(2025, 2, 1)).row(0, named=True)
    lost = {kind: kept[f"customers_lost_{kind}"] for kind in ("voluntary", "involuntary", "unknown")}
    assert lost == {"voluntary": 1, "involuntary": 1, "unknown": 2}
    for series in ("net", "gross"):
        moved = built["movements"].filter((pl.col("basis") == "reporting") & (pl.col("series") == series))
        row = rows_of(moved, date(2025, 2, 1)).row(0, named=True)
        # In the gross series Eva's first loss, for the price, counts too.
        assert row["churn_voluntary_arr_minor"] == (100_00 + (20_00 if series == "gross" else 0)) * 12


def test_a_quarter_counts_who_is_gone_at_its_end_by_the_last_reason(built: dict[str, pl.DataFrame]) -> None:
    quarter = built["mart"].filter((pl.col("grain") == "quarter") & (pl.col("dimension") == "all"))
    assert quarter["customers"].to_list() == [0, 0, 0, 0]  # nobody was a customer when it began
    week = built["mart"].filter(
        (pl.col("grain") == "week") & (pl.col("dimension") == "all") & (pl.col("churn_reason") == "price")
    )
    assert week.select("period_start", "customers").rows() == [(date(2025, 2, 3), 1)]


def test_members_stand_apart_and_a_month_without_losses_is_a_row_of_zeros(built: dict[str, pl.DataFrame]) -> None:
    spain = rows_of(built["mart"], date(2025, 2, 1), "country", "ES")
    assert spain.filter(pl.col("churn_type") == "all")["customers"].to_list() == [2]
    march = rows_of(built["mart"], date(2025, 3, 1))
    assert march["churn_reason"].to_list() == ["all"] * 4
    assert march["customers"].to_list() == [0] * 4
    assert march["churn_reason_share"].null_count() == 4


def test_without_any_loss_there_is_no_event() -> None:
    none = churn_events(days().clear(), NO_LEDGER, losses(), rates(), POLICY)
    assert none.is_empty()
    ChurnEvent.validate(none)
