"""Rules over several rows and tables."""

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.validation import conserved, with_provenance
from transforms.quality import cross_check, outside_scale, overlapping, without_price


def table(**columns: list[object]) -> pl.DataFrame:
    return with_provenance(pl.DataFrame(columns, strict=False), "shop")


def refused(checked) -> list[tuple[str, int, str, str]]:
    return checked.quarantined.select("table", "row", "column", "rule").rows()


def test_a_line_of_no_invoice_is_an_orphan():
    invoices, lines = table(invoice_id=["i1"]), table(line_id=["l1", "l2"], invoice_id=["i1", "i9"])
    checked = cross_check({"invoices": invoices, "invoice_lines": lines})
    assert checked.tables["invoice_lines"]["line_id"].to_list() == ["l1"]
    assert refused(checked) == [("invoice_lines", 2, "invoice_id", "orphan")]
    assert checked.quarantined["advice"].to_list() == [
        "invoice_id names no accepted row of invoices: deliver that row, or correct the id"
    ]
    assert conserved(2, checked.tables["invoice_lines"], checked.quarantined, lines.clear())


def test_no_row_is_an_orphan_of_a_table_that_is_not_observed():
    lines = table(line_id=["l1"], invoice_id=["i9"])
    checked = cross_check({"invoice_lines": lines})
    assert checked.tables["invoice_lines"].equals(lines)
    assert checked.quarantined.is_empty()


def test_a_row_that_names_no_parent_is_no_orphan():
    attempts = table(attempt_id=["a1"], invoice_id=[None]).with_columns(pl.col("invoice_id").cast(pl.String))
    checked = cross_check({"invoices": table(invoice_id=["i1"]), "payment_attempts": attempts})
    assert checked.quarantined.is_empty()


def test_children_of_a_refused_row_follow_it():
    checked = cross_check(
        {
            "invoices": table(invoice_id=["i1"]),
            "payment_attempts": table(attempt_id=["a1", "a2"], invoice_id=["i1", "i9"]),
            "refunds": table(refund_id=["r1", "r2"], invoice_id=["i1", "i1"], attempt_id=["a1", "a2"]),
        }
    )
    assert refused(checked) == [
        ("payment_attempts", 2, "invoice_id", "orphan"),
        ("refunds", 2, "attempt_id", "orphan"),
    ]


def changes(*rows: tuple[str, str, int | None, str | None, str | None]) -> pl.DataFrame:
    schema = ["status", "kind", "unit_amount_minor", "currency", "interval"]
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    ids = [f"s{at}" for at in range(1, len(rows) + 1)]
    return with_provenance(frame.with_columns(subscription_id=pl.Series(ids), price_id=pl.Series(ids)), "shop")


def test_a_change_that_counts_but_has_no_price_is_refused():
    rows = changes(
        ("active", "licensed", 100, "USD", "month"),
        ("active", "licensed", None, "USD", "month"),
        ("past_due", "licensed", 100, None, "month"),
        ("active", "metered", 0, "USD", None),
        ("active", "one_time", None, None, None),
        ("ended", "licensed", None, None, None),
        ("trialing", "licensed", None, None, None),
    )
    assert without_price(rows).to_list() == [False, True, True, True, False, False, False]


def test_an_unknown_price_is_told_beside_the_price_that_it_leaves_missing():
    rows = changes(("active", "licensed", 100, "USD", "month"), ("active", "licensed", None, None, None))
    checked = cross_check({"prices": table(price_id=["s1"]), "subscription_changes": rows})
    assert refused(checked) == [
        ("subscription_changes", 2, "price_id", "orphan"),
        ("subscription_changes", 2, "unit_amount_minor", "without_price"),
    ]


def test_an_answer_outside_its_scale_is_refused_never_clipped():
    surveys = table(survey_id=["nps", "csat"], scale_min=[0, 1], scale_max=[10, 5])
    answers = table(
        response_id=["1", "2", "3", "4", "5", "6"],
        survey_id=["nps", "nps", "csat", "csat", "csat", "ces"],
        score=[0, 11, 0, 5, None, 7],
    )
    assert outside_scale(answers, surveys).to_list() == [False, True, True, False, False, False]
    checked = cross_check({"surveys": surveys, "survey_responses": answers})
    assert checked.tables["survey_responses"]["response_id"].to_list() == ["1", "4", "5"]
    assert refused(checked) == [
        ("survey_responses", 2, "score", "outside_scale"),
        ("survey_responses", 3, "score", "outside_scale"),
        ("survey_responses", 6, "survey_id", "orphan"),
    ]


def test_terms_of_one_contract_that_overlap_are_refused_all():
    terms = table(
        term_id=["t1", "t2", "t3", "t4", "t5"],
        contract_id=["c1", "c1", "c1", "c2", None],
        term_start=[date(2025, 1, 1), date(2025, 12, 31), date(2027, 1, 1), date(2025, 6, 1), date(2025, 6, 1)],
        term_end=[date(2026, 1, 1), date(2027, 1, 1), date(2028, 1, 1), date(2026, 6, 1), date(2026, 6, 1)],
    )
    checked = cross_check({"contracts": terms})
    assert checked.tables["contracts"]["term_id"].to_list() == ["t3", "t4", "t5"]
    assert refused(checked) == [("contracts", row, "term_start", "overlapping_terms") for row in (1, 2)]


@pytest.mark.parametrize("seed", range(3))
def test_overlaps_do_not_depend_on_the_order_of_rows(seed):
    frame = pl.DataFrame({"g": ["a"] * 4 + ["b"] * 2, "s": [1, 3, 20, 5, 1, 5], "e": [10, 4, None, 6, 5, None]})
    mixed = frame.with_row_index("at").sample(fraction=1, shuffle=True, seed=seed)
    marked = mixed.with_columns(overlapping(mixed, "g", "s", "e").alias("meets")).sort("at")
    assert marked["meets"].to_list() == [True, True, False, True, False, False]


window = st.tuples(st.sampled_from("ab"), st.integers(0, 12), st.one_of(st.none(), st.integers(0, 12)))


@given(st.lists(window, max_size=7))
def test_overlaps_are_those_that_a_pair_by_pair_reckoning_finds(rows):
    def meet(one, other) -> bool:
        far = 10**6
        (g, s, e), (h, t, f) = one, other
        e, f = far if e is None else e, far if f is None else f
        return g == h and s < e and t < f and s < f and t < e

    frame = pl.DataFrame(rows, schema={"g": pl.String, "s": pl.Int64, "e": pl.Int64}, orient="row")
    expected = [any(meet(one, other) for j, other in enumerate(rows) if i != j) for i, one in enumerate(rows)]
    assert overlapping(frame, "g", "s", "e").to_list() == expected
