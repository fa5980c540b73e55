"""Renewals against the worked examples, hand-reckoned terms, and the invariants of section 18."""

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from schemas.contract import key_columns, polars_schema
from schemas.crm import Contracts
from schemas.marts_health import HealthScore
from schemas.marts_renewals import ContractTerm, Renewals, UpcomingRenewals
from schemas.policy import Policy
from transforms.money import RATE_SCALE
from transforms.renewals import contract_terms, renewals, upcoming_renewals
from transforms.reporting import MissingRate
from transforms.slices import DIMENSIONS

POLICY = Policy(renewal_grace_days=30)
AS_OF = date(2025, 12, 31)
MEMBERS = {"segment": "core", "plan": "team", "country": "ES", "industry": "it", "channel": "web", "tenure": "12-24"}


def contracts(*terms: dict[str, Any]) -> pl.DataFrame:
    """Terms from 2024-06-01 to 2025-06-01 (so the grace lasts to 2025-06-30) of 1,000.00 USD, unless said otherwise."""
    plain = {
        "term_start": date(2024, 6, 1),
        "term_end": date(2025, 6, 1),
        "arr_minor": 100_000,
        "currency": "USD",
        "is_evergreen": False,
        "auto_renews": False,
    }
    rows = [
        dict.fromkeys(polars_schema(Contracts)) | plain | {"term_id": f"t{i}", "account_id": f"a{i}"} | term
        for i, term in enumerate(terms, start=1)
    ]
    return pl.DataFrame(rows, schema=polars_schema(Contracts))


def attributes(accounts: pl.Series | list[str], owner: str = "csm-1") -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"account_id": account, "month": date(2020, 1, 1), **MEMBERS, "owner": owner}
            for account in sorted(set(accounts))
        ],
        schema={"account_id": pl.String, "month": pl.Date, **dict.fromkeys(DIMENSIONS, pl.String)},
    )


def month_rates(**by_currency: int) -> pl.DataFrame:
    """The same rate in every month of 2023 to 2026, in reporting minor units per `RATE_SCALE` native ones."""
    months = pl.date_range(date(2023, 1, 1), date(2026, 12, 1), "1mo", eager=True)
    return pl.concat(
        pl.DataFrame({"currency": [currency] * len(months), "month": months, "rate": [rate] * len(months)})
        for currency, rate in sorted(({"USD": RATE_SCALE} | by_currency).items())
    )


def mart(source: pl.DataFrame, as_of: date = AS_OF, policy: Policy = POLICY, **rates: int) -> pl.DataFrame:
    terms = contract_terms(source, policy, as_of)
    rows = renewals(terms, attributes(source["account_id"]), policy, as_of, month_rates(**rates))
    Renewals.validate(rows.with_columns(policy_version=pl.lit("v1")))
    assert not rows.select(key_columns(Renewals)).is_duplicated().any()
    return rows


def one(
    rows: pl.DataFrame,
    start: date = date(2025, 1, 1),
    grain: str = "year",
    basis: str = "native",
    currency: str = "USD",
) -> dict[str, Any]:
    """The row of all accounts of a period."""
    return rows.filter(
        (pl.col("grain") == grain)
        & (pl.col("period_start") == start)
        & (pl.col("basis") == basis)
        & (pl.col("currency") == currency)
        & (pl.col("dimension") == "all")
    ).row(0, named=True)


def outcome(as_of: date = AS_OF, policy: Policy = POLICY, **term: Any) -> tuple[Any, ...]:
    """outcome, decided_by and decided_on of one term."""
    return contract_terms(contracts(term), policy, as_of).select("outcome", "decided_by", "decided_on").row(0)


def decision(result: str, on: date | None, **more: Any) -> dict[str, Any]:
    return {"outcome": result, "decided_at": on, **more}


@pytest.mark.parametrize(("due", "renewed", "rate"), [(24, 22, 22 / 24), (100, 85, 0.85)])
def test_renewal_rate_is_accounts_renewed_over_accounts_due_and_decided(due: int, renewed: int, rate: float) -> None:
    day = date(2025, 5, 20)
    rows = mart(contracts(*(decision("renewed" if i < renewed else "lost", day) for i in range(due))))
    row = one(rows)
    assert (row["renewal_rate_numerator"], row["renewal_rate_denominator"], row["n"]) == (renewed, due, due)
    assert row["renewal_rate"] == pytest.approx(rate, abs=1e-15)
    assert row["small_n"] == (due < 30)
    assert row["partial_count"] == 0


def test_one_of_three_leaves_and_the_others_renew_sixty_percent_higher() -> None:
    day = date(2025, 5, 20)
    grown = decision("renewed", day, renewed_arr_minor=160_000)
    row = one(mart(contracts(decision("lost", day), grown, grown)))
    assert round(row["renewal_rate"] * 100, 2) == 66.67
    assert round(row["renewal_rate_gross"] * 100, 2) == 66.67
    assert round(row["renewal_rate_net"] * 100, 2) == 106.67
    assert (row["renewal_rate_gross_numerator"], row["renewal_rate_gross_denominator"]) == (200_000, 300_000)
    assert (row["renewal_rate_net_numerator"], row["renewal_rate_net_denominator"]) == (320_000, 300_000)
    assert (row["renewed_arr"], row["lost_arr"], row["due_arr"]) == (3200.0, 1000.0, 3000.0)


def test_the_fact_keeps_every_term_with_its_outcome() -> None:
    source = contracts(
        decision("renewed", date(2025, 4, 1), renewed_arr_minor=90_000, auto_renews=None),
        {"is_evergreen": True},
        {"cancelled_at": date(2025, 2, 1), "loss_reason": "price"},
        {"loss_reason": "guess"},
    )
    plain = {
        "contract_id": None,
        "term_start": date(2024, 6, 1),
        "term_end": date(2025, 6, 1),
        "lapses_on": date(2025, 7, 1),
        "currency": "USD",
        "arr_minor": 100_000,
        "is_evergreen": False,
        "auto_renews": False,
        "is_due": False,
        "is_cancelled_before_due": False,
        "outcome": None,
        "decided_by": None,
        "decided_on": None,
        "renewed_arr_minor": None,
        "is_early": False,
        "is_late": False,
        "is_partial": False,
        "loss_reason": None,
    }
    signed = {
        "is_due": True,
        "outcome": "renewed",
        "decided_by": "decision",
        "decided_on": date(2025, 4, 1),
        "renewed_arr_minor": 90_000,
        "is_early": True,
        "is_partial": True,
    }
    lapsed = {
        "is_due": True,
        "outcome": "lost",
        "decided_by": "no_decision",
        "decided_on": date(2025, 7, 1),
        "loss_reason": "non_renewal",
    }
    expected = pl.DataFrame(
        [
            {"term_id": "t1", "account_id": "a1", **plain, **signed},
            {"term_id": "t2", "account_id": "a2", **plain, "is_evergreen": True},
            {"term_id": "t3", "account_id": "a3", **plain, "is_cancelled_before_due": True, "loss_reason": "price"},
            {"term_id": "t4", "account_id": "a4", **plain, **lapsed},
        ],
        schema=polars_schema(ContractTerm),
    )
    found = contract_terms(source.reverse(), POLICY, AS_OF)
    assert_frame_equal(found, expected)
    ContractTerm.validate(found)


def test_a_term_without_decision_is_open_within_the_grace_and_lost_on_the_day_after() -> None:
    assert outcome(as_of=date(2025, 6, 30)) == ("open", None, None)
    assert outcome(as_of=date(2025, 7, 1)) == ("lost", "no_decision", date(2025, 7, 1))


def test_a_late_signature_counts_on_the_last_day_of_the_grace_and_no_longer_the_day_after() -> None:
    assert outcome(**decision("renewed", date(2025, 6, 30))) == ("renewed", "decision", date(2025, 6, 30))
    assert outcome(**decision("renewed", date(2025, 7, 1))) == ("lost", "no_decision", date(2025, 7, 1))


def test_a_decision_after_as_of_is_not_known() -> None:
    lost = decision("lost", date(2025, 5, 20), loss_reason="price")
    terms = contract_terms(contracts(lost), POLICY, date(2025, 5, 19))
    assert terms.select("outcome", "decided_on", "loss_reason").row(0) == ("open", None, None)
    assert outcome(as_of=date(2025, 5, 20), **lost) == ("lost", "decision", date(2025, 5, 20))


def test_an_outcome_without_a_day_counts_from_the_due_day_on() -> None:
    renewed = decision("renewed", None)
    assert outcome(as_of=date(2025, 5, 31), **renewed) == ("open", None, None)
    assert outcome(as_of=date(2025, 6, 1), **renewed) == ("renewed", "decision", date(2025, 6, 1))
    assert outcome(policy=Policy(renewal_grace_days=0), **renewed) == ("renewed", "decision", date(2025, 6, 1))


def test_an_automatic_renewal_without_outcome_is_renewed_once_the_grace_is_over() -> None:
    assert outcome(as_of=date(2025, 6, 30), auto_renews=True) == ("open", None, None)
    assert outcome(as_of=date(2025, 7, 1), auto_renews=True) == ("renewed", "auto_renewal", date(2025, 6, 1))


def test_a_cancellation_counts_within_the_grace_and_from_its_day_on() -> None:
    in_grace, on_its_end, later = date(2025, 6, 10), date(2025, 7, 1), date(2025, 9, 1)
    assert outcome(as_of=date(2025, 6, 9), cancelled_at=in_grace) == ("open", None, None)
    assert outcome(as_of=in_grace, cancelled_at=in_grace) == ("lost", "cancellation", in_grace)
    on_the_due_day = date(2025, 6, 1)
    assert outcome(cancelled_at=on_the_due_day) == ("lost", "cancellation", on_the_due_day)
    for day in (on_its_end, later):
        assert outcome(cancelled_at=day) == ("lost", "no_decision", on_its_end)
        assert outcome(cancelled_at=day, auto_renews=True) == ("renewed", "auto_renewal", date(2025, 6, 1))


def test_terms_that_lapsed_are_those_lost_without_a_word() -> None:
    source = contracts(
        {"arr_minor": 10_000},
        {"arr_minor": 20_000, "cancelled_at": date(2025, 6, 10)},
        decision("lost", date(2025, 5, 20), arr_minor=40_000),
        decision("renewed", date(2025, 5, 20), arr_minor=80_000),
        {"arr_minor": 160_000, "term_end": date(2025, 12, 20)},
        {"arr_minor": 320_000, "auto_renews": True},
    )
    row = one(mart(source))
    assert (row["lost_count"], row["lost_arr_minor"]) == (3, 70_000)
    assert (row["lapsed_count"], row["lapsed_arr_minor"]) == (1, 10_000)
    reasons = contract_terms(source, POLICY, AS_OF).select("decided_by", "loss_reason").rows()
    assert reasons == [
        ("no_decision", "non_renewal"),
        ("cancellation", None),
        ("decision", None),
        ("decision", None),
        (None, None),
        ("auto_renewal", None),
    ]


def test_the_reason_of_a_loss_is_stated_by_the_crm_and_of_losses_alone() -> None:
    day = date(2025, 6, 10)
    source = contracts(
        decision("lost", day, cancelled_at=day, loss_reason="price"),
        decision("renewed", day, loss_reason="price"),
    )
    assert contract_terms(source, POLICY, AS_OF)["loss_reason"].to_list() == ["price", None]


def test_an_automatic_renewal_is_lost_if_cancelled_in_the_grace_or_if_the_crm_says_so_later() -> None:
    in_grace = date(2025, 6, 10)
    assert outcome(auto_renews=True, cancelled_at=in_grace) == ("lost", "cancellation", in_grace)
    late = decision("lost", date(2025, 8, 1), auto_renews=True)
    assert outcome(as_of=date(2025, 7, 31), **late) == ("renewed", "auto_renewal", date(2025, 6, 1))
    assert outcome(**late) == ("lost", "no_decision", date(2025, 7, 1))
    renewed_late = decision("renewed", date(2025, 8, 1), auto_renews=True)
    assert outcome(**renewed_late) == ("renewed", "auto_renewal", date(2025, 6, 1))


@pytest.mark.parametrize(
    ("begins", "as_of", "expected"),
    [
        (date(2025, 6, 1), date(2025, 6, 1), ("renewed", "following_term", date(2025, 6, 1), 150_000)),
        (date(2025, 6, 30), AS_OF, ("renewed", "following_term", date(2025, 6, 30), 150_000)),
        (date(2025, 7, 1), AS_OF, ("lost", "no_decision", date(2025, 7, 1), None)),
        (date(2025, 9, 1), AS_OF, ("lost", "no_decision", date(2025, 7, 1), None)),
        (date(2025, 6, 30), date(2025, 6, 29), ("open", None, None, None)),
    ],
)
def test_the_following_term_of_the_same_contract_is_the_renewal_once_it_begins_within_the_grace(
    begins: date, as_of: date, expected: tuple[Any, ...]
) -> None:
    source = contracts(
        {"contract_id": "k", "account_id": "a"},
        {
            "contract_id": "k",
            "account_id": "a",
            "term_start": begins,
            "term_end": date(2026, 6, 1),
            "arr_minor": 150_000,
        },
    )
    first = contract_terms(source, POLICY, as_of).filter(pl.col("term_id") == "t1")
    assert first.select("outcome", "decided_by", "decided_on", "renewed_arr_minor").row(0) == expected


def test_a_term_that_follows_without_a_gap_is_the_renewal_even_without_grace() -> None:
    source = contracts(
        {"contract_id": "k", "account_id": "a"},
        {"contract_id": "k", "account_id": "a", "term_start": date(2025, 6, 1), "term_end": date(2026, 6, 1)},
    )
    terms = contract_terms(source, Policy(renewal_grace_days=0), AS_OF)
    assert terms["decided_by"].to_list() == ["following_term", None]


def test_terms_without_contract_or_of_another_contract_renew_nothing() -> None:
    later = {"account_id": "a", "term_start": date(2025, 6, 1), "term_end": date(2026, 6, 1)}
    loose = contracts({"account_id": "a"}, later)
    others = contracts({"account_id": "a", "contract_id": "k1"}, later | {"contract_id": "k2"})
    for source in (loose, others):
        assert contract_terms(source, POLICY, AS_OF)["outcome"].to_list() == ["lost", "open"]


def test_the_renewed_value_is_the_stated_one_else_of_the_following_term_in_the_same_currency_else_the_old_one() -> None:
    signed = decision("renewed", date(2025, 5, 1))
    later = {"term_start": date(2025, 6, 1), "term_end": date(2026, 6, 1), "arr_minor": 70_000}
    pairs = [
        (signed | {"renewed_arr_minor": 130_000}, later),
        (signed, later),
        (signed, later | {"currency": "EUR"}),
        (signed | {"currency": "EUR"}, later),
    ]
    source = contracts(
        *(term | {"contract_id": f"k{i}", "account_id": "a"} for i, pair in enumerate(pairs) for term in pair)
    )
    terms = contract_terms(source, POLICY, AS_OF)
    assert terms.filter(pl.col("term_end") == date(2025, 6, 1))["renewed_arr_minor"].to_list() == [
        130_000,
        70_000,
        100_000,
        100_000,
    ]


def test_a_term_cancelled_before_it_is_due_leaves_the_due_set_but_a_renewal_signed_early_stays() -> None:
    cancelled = date(2025, 5, 1)
    source = contracts(
        {"cancelled_at": cancelled},
        decision("lost", cancelled, cancelled_at=cancelled, arr_minor=50_000),
        decision("renewed", date(2025, 4, 1), cancelled_at=cancelled),
    )
    row = one(mart(source))
    assert (row["due_count"], row["renewed_count"], row["lost_count"]) == (1, 1, 0)
    assert (row["cancelled_before_due_count"], row["cancelled_before_due_accounts"]) == (2, 2)
    assert row["cancelled_before_due_arr_minor"] == 150_000
    assert one(mart(source, as_of=date(2025, 4, 30)))["due_count"] == 3


def test_early_renewals_belong_to_the_period_in_which_they_are_due() -> None:
    source = contracts(
        decision("renewed", date(2025, 3, 1)),
        decision("renewed", date(2025, 6, 1), arr_minor=20_000),
        decision("renewed", date(2025, 6, 20), arr_minor=30_000),
    )
    rows = mart(source)
    june = one(rows, date(2025, 6, 1), "month")
    assert (june["renewed_count"], june["early_count"], june["late_count"]) == (3, 1, 1)
    assert (june["early_arr_minor"], june["late_arr_minor"]) == (100_000, 30_000)
    march = one(rows, date(2025, 3, 1), "month")
    assert (march["due_count"], march["renewal_rate"], march["renewal_rate_denominator"]) == (0, None, 0)


def test_open_terms_are_outside_the_rates_and_a_period_with_only_open_terms_has_none() -> None:
    as_of = date(2025, 6, 15)
    row = one(mart(contracts({"arr_minor": 40_000}), as_of), date(2025, 6, 1), "month")
    assert (row["due_accounts"], row["open_accounts"], row["open_count"], row["open_arr_minor"]) == (1, 1, 1, 40_000)
    assert [row[f"renewal_rate{kind}"] for kind in ("", "_gross", "_net")] == [None, None, None]
    assert not row["is_complete"]


def test_an_account_with_several_terms_counts_once_and_a_partial_loss_shows_in_the_money() -> None:
    day = date(2025, 5, 1)
    source = contracts(
        decision("renewed", day, account_id="a", renewed_arr_minor=300_000),
        decision("lost", day, account_id="a"),
        decision("lost", day, account_id="b"),
        {"account_id": "b"},
        decision("lost", day, account_id="c"),
        decision("renewed", day, account_id="d", renewed_arr_minor=30_000),
    )
    row = one(mart(source, as_of=date(2025, 6, 15)))
    names = ("due_accounts", "renewed_accounts", "open_accounts", "lost_accounts")
    assert tuple(row[name] for name in names) == (4, 2, 1, 1)
    assert row["renewal_rate"] == pytest.approx(2 / 3)
    assert (row["renewed_old_arr_minor"], row["lost_arr_minor"], row["open_arr_minor"]) == (200_000, 300_000, 100_000)
    assert row["renewal_rate_gross"] == pytest.approx(130_000 / 500_000)
    assert row["renewal_rate_net"] == pytest.approx(330_000 / 500_000)
    assert (row["partial_count"], row["partial_lost_arr_minor"]) == (1, 70_000)


def test_currencies_stand_apart_natively_and_meet_at_the_rate_of_the_due_month() -> None:
    day = date(2025, 5, 20)
    source = contracts(
        decision("renewed", day, account_id="a", renewed_arr_minor=120_000),
        decision("lost", day, account_id="a", currency="EUR", arr_minor=50_001),
    )
    rows = mart(source, EUR=11 * RATE_SCALE // 10)
    assert one(rows)["renewal_rate"] == 1.0
    assert one(rows, currency="EUR")["renewal_rate"] == 0.0
    both = one(rows, basis="reporting")
    assert (both["due_accounts"], both["renewed_accounts"], both["lost_accounts"]) == (1, 1, 0)
    assert both["lost_arr_minor"] == 55_001  # 55,001.1
    assert both["renewal_rate_net_denominator"] == 155_001
    assert rows.filter(pl.col("basis") == "reporting")["currency"].unique().to_list() == ["USD"]


def test_the_rate_is_that_of_the_due_month_and_of_the_month_of_as_of_for_what_is_due_later() -> None:
    months = pl.DataFrame(
        {
            "currency": ["EUR", "EUR", "EUR"],
            "month": [date(2025, 5, 1), date(2025, 6, 1), date(2025, 7, 1)],
            "rate": [2 * RATE_SCALE, 3 * RATE_SCALE, 4 * RATE_SCALE],
        }
    )
    source = contracts({"currency": "EUR"})
    for as_of, expected in ((date(2025, 5, 31), 200_000), (AS_OF, 300_000)):
        terms = contract_terms(source, POLICY, as_of)
        rows = renewals(terms, attributes(["a1"]), POLICY, as_of, months)
        assert one(rows, basis="reporting")["due_arr_minor"] == expected


def test_a_missing_rate_stops_the_run_with_currency_and_month() -> None:
    with pytest.raises(MissingRate, match=r"EUR 2025-06 \(1 in all\)"):
        mart(contracts({"currency": "EUR"}))


def test_amounts_read_in_major_units_of_their_currency() -> None:
    rows = mart(
        contracts({"currency": "JPY"}, {"currency": "KWD"}, {"arr_minor": 12_345}), JPY=RATE_SCALE, KWD=RATE_SCALE
    )
    assert one(rows, currency="USD")["due_arr"] == 123.45
    assert one(rows, currency="JPY")["due_arr"] == 100_000.0
    assert one(rows, currency="KWD")["due_arr"] == 100.0


def test_periods_run_from_the_first_term_to_as_of_with_zeros_where_nothing_is_due() -> None:
    source = contracts(
        {"term_start": date(2025, 4, 15)}, {"term_end": date(2026, 6, 1), "term_start": date(2025, 5, 1)}
    )
    months = mart(source, as_of=date(2025, 7, 10)).filter(
        (pl.col("grain") == "month") & (pl.col("basis") == "native") & (pl.col("dimension") == "all")
    )
    expected = pl.DataFrame(
        {
            "period_start": [date(2025, month, 1) for month in (4, 5, 6, 7)],
            "period_end": [date(2025, month, 1) for month in (5, 6, 7, 8)],
            "is_complete": [True, True, True, False],
            "due_count": [0, 0, 1, 0],
        }
    )
    assert_frame_equal(months.select(expected.columns), expected)


def test_a_first_term_that_begins_on_as_of_is_due_in_the_year_already() -> None:
    day = date(2025, 4, 15)
    rows = mart(contracts({"term_start": day, "term_end": date(2025, 10, 15)}), as_of=day)
    assert (one(rows)["due_count"], one(rows)["open_count"]) == (1, 1)
    assert mart(contracts({"term_start": day, "term_end": date(2025, 10, 15)}), as_of=date(2025, 4, 14)).is_empty()


def test_members_are_those_of_the_start_of_the_period() -> None:
    owners = pl.concat([attributes(["a1"]), attributes(["a1"], "csm-2").with_columns(month=pl.date(2025, 6, 1))])
    rows = renewals(contract_terms(contracts({}), POLICY, AS_OF), owners, POLICY, AS_OF, month_rates())
    by_owner = rows.filter((pl.col("dimension") == "owner") & (pl.col("basis") == "native") & (pl.col("due_count") > 0))
    assert dict(by_owner.select("grain", "member").rows()) == {
        "week": "csm-1",  # 2025-06-01 is a Sunday: its week begins in May
        "month": "csm-2",
        "quarter": "csm-1",
        "year": "csm-1",
    }


def test_without_contracts_the_marts_are_empty_but_have_their_columns() -> None:
    nothing = contracts()
    assert mart(nothing).is_empty()
    terms = contract_terms(nothing, POLICY, AS_OF)
    found = upcoming_renewals(terms, attributes([]), scores(), POLICY, AS_OF)
    assert found.is_empty()
    assert found.columns == list(polars_schema(UpcomingRenewals))[:-1]


def test_upcoming_renewals_are_the_open_terms_of_the_next_180_days_by_horizon() -> None:
    as_of = date(2025, 1, 1)
    days = [0, 1, 30, 31, 60, 90, 91, 180, 181]
    source = contracts(
        *({"term_end": as_of + timedelta(days=day), "term_id": f"d{day:03}"} for day in days),
        decision("renewed", date(2024, 12, 1), term_end=date(2025, 1, 20), term_id="signed"),
        decision("lost", date(2024, 12, 1), term_end=date(2025, 1, 20), term_id="lost"),
        {"cancelled_at": date(2024, 12, 1), "term_end": date(2025, 1, 20), "term_id": "cancelled"},
        {"is_evergreen": True, "term_end": date(2025, 1, 20), "term_id": "evergreen"},
    )  # fmt: skip
    terms = contract_terms(source, POLICY, as_of)
    found = upcoming_renewals(terms, attributes(source["account_id"]), scores(), POLICY, as_of)
    UpcomingRenewals.validate(found.with_columns(policy_version=pl.lit("v1")))
    expected = pl.DataFrame(
        {
            "term_id": ["d001", "d030", "d031", "d060", "d090", "d091", "d180"],
            "days_to_go": [1, 30, 31, 60, 90, 91, 180],
            "horizon_days": [30, 30, 60, 60, 90, 180, 180],
        }
    )
    assert_frame_equal(found.select(expected.columns), expected)
    assert found.select("owner", "segment", "arr", "arr_minor", "is_auto_renew", "likelihood").row(0) == (
        "csm-1",
        "core",
        1000.0,
        100_000,
        False,
        None,
    )


def scores(*rows: tuple[str, date, float | None, str]) -> pl.DataFrame:
    """Account, month, score and band."""
    named = [dict(zip(("account_id", "month", "score", "band"), row, strict=True)) for row in rows]
    schema = polars_schema(HealthScore)
    return pl.DataFrame([dict.fromkeys(schema) | row for row in named], schema=schema)


def test_the_likelihood_is_the_share_renewed_in_12_months_of_accounts_in_the_same_band_before() -> None:
    as_of = date(2025, 12, 31)
    later = {"term_start": date(2025, 3, 1), "term_end": date(2026, 3, 1)}
    source = contracts(
        decision("renewed", date(2025, 6, 3), account_id="was green 1"),
        decision("lost", date(2025, 6, 3), account_id="was green 2"),
        decision("renewed", date(2025, 6, 3), account_id="was green 3"),
        decision("lost", date(2025, 6, 3), account_id="was red"),
        decision("lost", date(2025, 6, 3), account_id="never scored"),
        decision(
            "lost", date(2024, 12, 31), account_id="long ago", term_start=date(2024, 1, 1), term_end=date(2025, 1, 1)
        ),
        decision("lost", date(2024, 7, 9), account_id="longer ago", term_end=date(2024, 7, 9)),
        *({**later, "account_id": f"now {band}", "term_id": f"now {band}"} for band in ("green", "red", "yellow")),
        {**later, "account_id": "unscored", "term_id": "unscored"},
    )
    may, november, december = date(2025, 5, 1), date(2024, 11, 1), date(2025, 12, 1)
    health = scores(
        *((f"was green {number}", may, 80.0, "green") for number in (1, 2, 3)),
        *((f"was green {number}", date(2025, 6, 1), 10.0, "red") for number in (1, 2, 3)),
        ("was red", may, 10.0, "red"),
        ("long ago", november, 10.0, "red"),
        ("longer ago", date(2024, 6, 1), 10.0, "red"),
        ("now green", november, 5.0, "red"),
        ("now green", date(2026, 1, 1), 5.0, "red"),
        ("now green", december, 71.5, "green"),
        ("now red", december, 3.0, "red"),
        ("now yellow", december, 50.0, "yellow"),
    )
    terms = contract_terms(source, POLICY, as_of)
    found = upcoming_renewals(terms, attributes(source["account_id"]), health, POLICY, as_of)
    UpcomingRenewals.validate(found.with_columns(policy_version=pl.lit("v1")))
    columns = ["term_id", "health_score", "health_band", "likelihood", "renewed_terms", "decided_terms", "small_n"]
    assert found.select(columns).rows() == [
        ("now green", 71.5, "green", 2 / 3, 2, 3, True),
        ("now red", 3.0, "red", 0.0, 0, 1, True),
        ("now yellow", 50.0, "yellow", None, 0, 0, True),
        ("unscored", None, None, None, 0, 0, True),
    ]


@pytest.mark.parametrize(("decided", "is_small"), [(2, True), (3, False)])
def test_a_likelihood_of_few_decided_terms_is_marked(decided: int, is_small: bool) -> None:
    policy = Policy(renewal_grace_days=30, small_n=3)
    lost = [decision("lost", date(2025, 6, 3), account_id=f"lost {number}") for number in range(decided)]
    source = contracts(*lost, {"account_id": "now", "term_end": date(2026, 3, 1)})
    health = scores(
        *((f"lost {number}", date(2025, 5, 1), 10.0, "red") for number in range(decided)),
        ("now", date(2025, 12, 1), 10.0, "red"),
    )
    terms = contract_terms(source, policy, AS_OF)
    found = upcoming_renewals(terms, attributes(source["account_id"]), health, policy, AS_OF)
    assert found.select("likelihood", "decided_terms", "small_n").rows() == [(0.0, decided, is_small)]


DAYS = st.dates(date(2025, 1, 1), date(2025, 12, 31))


@st.composite
def random_terms(draw: st.DrawFn) -> pl.DataFrame:
    """Terms of a few accounts with every mix of outcome, decision day, cancellation, currency and value."""
    rows = []
    for number in range(draw(st.integers(1, 8))):
        end = draw(DAYS)
        result = draw(st.sampled_from([None, "renewed", "lost"]))
        rows.append(
            {
                "term_id": f"t{number}",
                "account_id": draw(st.sampled_from(["a", "b", "c"])),
                "contract_id": draw(st.sampled_from([None, "k1", "k2"])),
                "term_start": end - timedelta(days=draw(st.sampled_from([90, 365]))),
                "term_end": end,
                "arr_minor": draw(st.integers(0, 10**6)),
                "currency": draw(st.sampled_from(["USD", "EUR"])),
                "is_evergreen": draw(st.sampled_from([None, False, False, True])),
                "auto_renews": draw(st.booleans()),
                "outcome": result,
                "decided_at": draw(st.none() | DAYS) if result else None,
                "renewed_arr_minor": draw(st.none() | st.integers(0, 10**6)) if result == "renewed" else None,
                "cancelled_at": draw(st.none() | st.none() | DAYS),
            }
        )
    return contracts(*rows)


@settings(max_examples=30, deadline=None)
@given(random_terms(), st.dates(date(2025, 4, 1), date(2026, 3, 1)), st.randoms(use_true_random=False))
def test_invariant_13_renewed_lost_and_open_make_the_due_in_accounts_terms_and_money(
    source: pl.DataFrame, as_of: date, random: Any
) -> None:
    rows = mart(source, as_of, EUR=10_837_654_321)
    for total, parts in {
        "due_count": ("renewed_count", "lost_count", "open_count"),
        "due_accounts": ("renewed_accounts", "lost_accounts", "open_accounts"),
        "due_arr_minor": ("renewed_old_arr_minor", "lost_arr_minor", "open_arr_minor"),
    }.items():
        assert (rows[total] == rows.select(pl.sum_horizontal(parts)).to_series()).all()
    assert (rows["kept_arr_minor"] <= rows["renewed_arr_minor"]).all()
    decided = rows.drop_nulls("renewal_rate_gross")
    assert decided["renewal_rate_gross"].is_between(0, 1).all()
    assert (decided["renewal_rate_gross"] <= decided["renewal_rate_net"]).all()
    counts = [name for name in rows.columns if name.endswith(("_count", "_accounts", "_arr_minor"))]
    slice_sums = rows.group_by("grain", "period_start", "basis", "currency", "dimension").agg(pl.col(counts).sum())
    assert (
        slice_sums.select("grain", "period_start", "basis", "currency", *counts).unique().height * 8
        == slice_sums.height
    )
    shuffled = source.with_columns(pl.Series("order", random.sample(range(source.height), source.height))).sort("order")
    assert_frame_equal(mart(shuffled.drop("order"), as_of, EUR=10_837_654_321), rows)


@settings(max_examples=40, deadline=None)
@given(random_terms(), st.dates(date(2025, 4, 1), date(2026, 3, 1)))
def test_what_is_dated_after_as_of_changes_no_outcome(source: pl.DataFrame, as_of: date) -> None:
    is_known = (pl.coalesce("decided_at", "term_end") <= as_of).fill_null(False)
    then = source.filter(pl.col("term_start") <= as_of).with_columns(
        pl.when(is_known).then(pl.col("outcome", "decided_at", "renewed_arr_minor")),
        cancelled_at=pl.when(pl.col("cancelled_at") <= as_of).then("cancelled_at"),
    )
    now = contract_terms(source, POLICY, as_of).filter(pl.col("term_start") <= as_of)
    assert_frame_equal(now, contract_terms(then, POLICY, as_of))
