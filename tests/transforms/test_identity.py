"""Identity: accounts of customers, references and respondents; exclusions; deleted customers."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from schemas.billing import Customers, SubscriptionChanges
from schemas.contract import polars_schema
from schemas.crm import Accounts
from schemas.identity import ExcludedAccounts, IdentityMap
from schemas.policy import Policy
from transforms.identity import (
    Directory,
    IdentityCycle,
    account_of_customers,
    account_of_refs,
    account_of_respondents,
    directory,
    identity_conflicts,
    identity_coverage,
    resolve,
    resolve_people,
    surviving_accounts,
    with_deletions,
    without_excluded,
)

POLICY = Policy()
PARENT = Policy(account_level="parent")
REFS = {"source": pl.String, "ref": pl.String}


def accounts(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(
        [{"source": "crm", **row} for row in rows], schema={"source": pl.String, **polars_schema(Accounts)}
    )


def identity_map(*rows: tuple[str, str, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=polars_schema(IdentityMap), orient="row")


def excluded(*rows: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame([(*row, None) for row in rows], schema=polars_schema(ExcludedAccounts), orient="row")


def customers(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(
        [{"source": "billing", **row} for row in rows], schema={"source": pl.String, **polars_schema(Customers)}
    )


def changes(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(
        [{"source": "billing", **row} for row in rows],
        schema={"source": pl.String, **polars_schema(SubscriptionChanges)},
    )


def known(
    crm: pl.DataFrame | None = None,
    mapped: pl.DataFrame | None = None,
    left_out: pl.DataFrame | None = None,
    policy: Policy = POLICY,
) -> Directory:
    return directory(
        accounts() if crm is None else crm,
        identity_map() if mapped is None else mapped,
        excluded() if left_out is None else left_out,
        policy,
    )


def found(customer_ids: list[str], known: Directory, **refs: str) -> dict[str, tuple[str, str]]:
    """customer_id -> (account_id, matched_by)."""
    named = customers(*({"customer_id": c, "account_ref": refs.get(c)} for c in customer_ids))
    rows = account_of_customers(named, changes(), known)
    return {row["customer_id"]: (row["account_id"], row["matched_by"]) for row in rows.to_dicts()}


def test_each_way_to_an_account_in_its_order() -> None:
    crm = accounts(*({"account_id": a} for a in ("A1", "A2", "A3", "c4", "c3")))
    mapped = identity_map(("billing", "c1", "A1"), ("*", "c1", "A3"), ("*", "c2", "A2"), ("other", "c5", "A1"))
    rows = account_of_customers(
        customers(
            {"customer_id": "c1", "account_ref": "A2"},
            {"customer_id": "c2", "account_ref": "A3"},
            {"customer_id": "c3", "account_ref": "A3"},
            {"customer_id": "c4", "account_ref": "no such account"},
            {"customer_id": "c5"},
        ),
        changes(
            {"customer_id": "c6", "item_id": "i6"},
            {"customer_id": "c6", "item_id": "i7"},
            {"customer_id": "c1", "item_id": "i1"},
        ),
        known(crm, mapped),
    )
    assert_frame_equal(
        rows,
        pl.DataFrame(
            [
                ("billing", "c1", "A1", "identity_map", "A2", None),
                ("billing", "c2", "A2", "identity_map", "A3", None),
                ("billing", "c3", "A3", "account_ref", "c3", None),
                ("billing", "c4", "c4", "account_id", None, None),
                ("billing", "c5", "c5", "own", None, None),
                ("billing", "c6", "c6", "own", None, None),
            ],
            schema=dict.fromkeys(
                ["source", "customer_id", "account_id", "matched_by", "conflicts_with", "excluded_reason"], pl.String
            ),
            orient="row",
        ),
    )


def test_without_crm_and_map_every_customer_is_an_account_of_its_own() -> None:
    assert found(["c1", "c2"], known(), c1="A1") == {"c1": ("c1", "own"), "c2": ("c2", "own")}


def test_merged_accounts_are_followed_to_the_survivor_even_if_the_crm_lost_them() -> None:
    crm = accounts({"account_id": "A1"}, {"account_id": "A2"})
    mapped = identity_map(
        ("billing", "c1", "A4"), ("crm", "A4", "A3"), ("crm", "A3", "A2"), ("*", "A2", "A1"), ("*", "A1", "A1")
    )
    assert found(["c1", "c2", "c3", "A3"], known(crm, mapped), c2="A2", c3="A4") == {
        "c1": ("A1", "identity_map"),
        "c2": ("A1", "account_ref"),
        "c3": ("A1", "account_ref"),
        "A3": ("A1", "account_id"),
    }


def test_a_map_row_of_another_source_merges_no_accounts() -> None:
    crm = accounts({"account_id": "A1"}, {"account_id": "A2"})
    assert found(["c1"], known(crm, identity_map(("billing", "A1", "A2"))), c1="A1") == {"c1": ("A1", "account_ref")}


@pytest.mark.parametrize("length", [2, 3, 5])
def test_a_circle_of_merges_is_an_error_that_names_the_accounts(length: int) -> None:
    circle = [(f"A{i}", f"A{(i + 1) % length}") for i in range(length)]
    mapped = identity_map(("*", "person@example.com", "A0"), *(("*", *step) for step in circle))
    with pytest.raises(IdentityCycle, match="identity_map maps accounts in a circle: A0, A1") as error:
        known(mapped=mapped)
    assert "person" not in str(error.value)


def test_parent_level_climbs_to_the_top_by_the_newest_attributes() -> None:
    crm = accounts(
        {"account_id": "child", "parent_account_id": "old parent"},
        {"account_id": "child", "parent_account_id": "middle", "effective_from": datetime(2025, 3, 1).date()},
        {"account_id": "middle", "parent_account_id": "merged top"},
        {"account_id": "top", "parent_account_id": "top"},
        {"account_id": "former", "parent_account_id": "top"},
        {"account_id": "former", "effective_from": datetime(2025, 3, 1).date()},
    )
    mapped = identity_map(("crm", "merged top", "top"))
    ids = ["child", "middle", "top", "former", "c9"]
    at_parent = found(ids, known(crm, mapped, policy=PARENT))
    assert {c: account for c, (account, _) in at_parent.items()} == {
        "child": "top",
        "middle": "top",
        "top": "top",
        "former": "former",
        "c9": "c9",
    }
    assert {c: account for c, (account, _) in found(ids, known(crm, mapped)).items()} == {c: c for c in ids}


def test_a_circle_of_parents_is_an_error_only_at_parent_level() -> None:
    crm = accounts({"account_id": "A1", "parent_account_id": "A2"}, {"account_id": "A2", "parent_account_id": "A1"})
    with pytest.raises(IdentityCycle, match="parent_account_id names parents in a circle: A1, A2"):
        known(crm, policy=PARENT)
    assert found(["A1"], known(crm)) == {"A1": ("A1", "account_id")}


def test_references_by_map_then_account_then_customer_else_unassigned() -> None:
    crm = accounts({"account_id": "A1"}, {"account_id": "A2"})
    book = known(crm, identity_map(("support", "org-7", "A2"), ("billing", "c1", "A1"), ("billing2", "twice", "A1")))
    mapped = account_of_customers(
        pl.concat(
            [
                customers({"customer_id": "c1"}, {"customer_id": "c2"}, {"customer_id": "twice"}),
                customers({"customer_id": "twice"}).with_columns(source=pl.lit("billing2")),
            ]
        ),
        changes(),
        book,
    )
    refs = pl.DataFrame(
        [
            *(("support", ref) for ref in ("org-7", "A1", "c1", "c2", "nobody", None, "A1", "twice")),
            ("usage", "org-7"),
        ],
        schema=REFS,
        orient="row",
    )
    assert_frame_equal(
        account_of_refs(refs, mapped, book),
        pl.DataFrame(
            [
                ("support", "A1", "A1"),
                ("support", "c1", "A1"),
                ("support", "c2", "c2"),
                ("support", "nobody", "unassigned"),
                ("support", "org-7", "A2"),
                ("support", "twice", "unassigned"),
                ("usage", "org-7", "unassigned"),
            ],
            schema={**REFS, "account_id": pl.String},
            orient="row",
        ).with_columns(conflicts_with=pl.lit(None, pl.String), excluded_reason=pl.lit(None, pl.String)),
    )


def test_resolve_keeps_rows_and_order_and_replaces_an_account_id() -> None:
    book = known(accounts({"account_id": "A1"}), identity_map(("crm", "A2", "A1")))
    contracts = pl.DataFrame({"source": ["crm"] * 4, "account_id": ["A2", None, "A9", "A1"], "term_id": [1, 2, 3, 4]})
    refs = account_of_refs(
        contracts.select("source", ref="account_id"), account_of_customers(customers(), changes(), book), book
    )
    assert_frame_equal(
        resolve(contracts, refs, "account_id"),
        contracts.with_columns(
            account_id=pl.Series(["A1", "unassigned", "unassigned", "A1"]), excluded_reason=pl.lit(None, pl.String)
        ),
    )


def test_survey_answers_by_account_ref_else_by_respondent() -> None:
    book = known(
        accounts({"account_id": "A1"}, {"account_id": "A2"}), identity_map(("*", "p1", "A1"), ("*", "p2", "A2"))
    )
    answers = pl.DataFrame(
        [
            ("nps", "p1", "A2"),
            ("nps", "p1", None),
            ("nps", "p2", "gone"),
            ("nps", "p3", None),
            ("nps", None, None),
            ("nps", "A1", None),
        ],
        schema={"source": pl.String, "respondent_id": pl.String, "account_ref": pl.String},
        orient="row",
    )
    refs = account_of_refs(
        answers.select("source", ref="account_ref"), account_of_customers(customers(), changes(), book), book
    )
    people = account_of_respondents(answers, book)
    resolved = resolve_people(answers, refs, people)
    assert resolved["account_id"].to_list() == ["A2", "A1", "A2", "unassigned", "unassigned", "unassigned"]
    assert resolved.drop("account_id", "excluded_reason").equals(answers)


def test_excluded_accounts_and_customers_are_dropped_and_counted_by_reason() -> None:
    crm = accounts({"account_id": "A1"}, {"account_id": "A2"}, {"account_id": "A3"})
    mapped = identity_map(
        ("billing", "c1", "A1"), ("billing", "c2", "A1"), ("billing", "c3", "A2"), ("crm", "A9", "A3")
    )
    book = known(crm, mapped, excluded(("A2", "partner"), ("c2", "test"), ("c5", "test"), ("A9", "internal")))
    rows = changes(*({"customer_id": c, "item_id": c} for c in ("c1", "c2", "c3", "c4", "c5", "A3")))
    kept, counts = without_excluded(resolve(rows, account_of_customers(customers(), rows, book), "customer_id"))
    assert kept.select("customer_id", "account_id").rows() == [("c1", "A1"), ("c4", "c4")]
    assert "excluded_reason" not in kept.columns
    assert_frame_equal(counts, pl.DataFrame({"reason": ["internal", "partner", "test"], "accounts": [1, 1, 2]}))
    refs = pl.DataFrame({"source": ["usage"] * 4, "ref": ["A1", "A2", "c2", "c3"]})
    answers = account_of_refs(refs, account_of_customers(customers(), rows, book), book)
    assert answers["excluded_reason"].to_list() == [None, "partner", "test", "partner"]


def test_at_parent_level_an_excluded_child_leaves_the_parent_and_an_excluded_parent_takes_all() -> None:
    crm = accounts(
        {"account_id": "P"},
        {"account_id": "sandbox", "parent_account_id": "P"},
        {"account_id": "branch", "parent_account_id": "P"},
    )
    ids = customers(*({"customer_id": c} for c in ("P", "branch", "sandbox")))

    def reasons(left_out: pl.DataFrame) -> list[str | None]:
        return account_of_customers(ids, changes(), known(crm, left_out=left_out, policy=PARENT))[
            "excluded_reason"
        ].to_list()

    assert reasons(excluded(("sandbox", "test"))) == [None, None, "test"]
    assert reasons(excluded(("P", "internal"))) == ["internal"] * 3


def test_the_surviving_accounts_own_rows_hold() -> None:
    crm = accounts(
        {"account_id": "A1", "industry": "saas"},
        {"account_id": "A2", "industry": "retail"},
        {"account_id": "A3", "industry": "farming"},
        {"account_id": "A4", "industry": "mining"},
        {"account_id": "A5", "industry": "test"},
    )
    mapped = identity_map(("crm", "A2", "A1"), ("crm", "A4", "gone"), ("crm", "A3", "gone"))
    rows = surviving_accounts(crm, known(crm, mapped, excluded(("A5", "test"))))
    assert rows.columns == crm.columns
    assert rows.select("account_id", "industry").rows() == [("A1", "saas"), ("gone", "farming")]


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def row(item: str, at: str, status: str = "active", customer: str = "c1", **more: Any) -> dict[str, Any]:
    return {
        "change_id": f"{item}/{at}",
        "subscription_id": f"sub-{item}",
        "item_id": item,
        "customer_id": customer,
        "effective_at": day(at),
        "status": status,
        "price_id": "p",
        "quantity": 2,
        **more,
    }


def ended(item: str, **more: Any) -> dict[str, Any]:
    return row(item, "2025-05-05T12:00", "ended", change_id=f"{item}:deleted", reason="deleted", **more)


DELETED = customers({"customer_id": "c1", "deleted_at": day("2025-05-05T12:00")}, {"customer_id": "c2"})


def test_a_deleted_customer_ends_every_living_item_and_drops_what_follows() -> None:
    rows = [
        row("i1", "2025-01-01"),
        row("i1", "2025-03-01", quantity=3, term_ends_at=day("2026-01-01")),
        row("i1", "2025-06-01", quantity=9),
        row("i2", "2025-01-01"),
        row("i2", "2025-02-01", "ended", reason="price"),
        row("i3", "2025-07-01"),
        row("i4", "2025-01-01", customer="c2"),
        row("i5", "2025-05-05T12:00"),
        row("i6", "2025-04-01"),
        row("i6", "2025-05-05T12:00", "ended", reason="payment_failed"),
    ]
    expected = [rows[i] for i in (0, 1, 3, 4, 6, 8, 9)] + [ended("i1", quantity=3)]
    assert_frame_equal(with_deletions(changes(*rows), DELETED), changes(*expected))


def test_a_cancellation_asked_for_before_the_deletion_stays_pending_until_it() -> None:
    asked = row("i1", "2025-12-01", "ended", requested_at=day("2025-04-01"))
    late = row("i2", "2025-12-01", "ended", requested_at=day("2025-06-01"))
    rows = [row("i1", "2025-01-01"), asked, row("i2", "2025-01-01"), late]
    expected = [rows[0], {**asked, "withdrawn_at": day("2025-05-05T12:00")}, rows[2], ended("i1"), ended("i2")]
    assert_frame_equal(with_deletions(changes(*rows), DELETED), changes(*expected))


def test_an_item_that_moved_to_another_customer_outlives_the_first() -> None:
    rows = changes(row("i1", "2025-01-01"), row("i1", "2025-02-01", customer="c2"))
    assert_frame_equal(with_deletions(rows, DELETED), rows)


def test_without_a_deletion_nothing_changes() -> None:
    rows = changes(row("i1", "2025-01-01"), row("i1", "2025-06-01", "ended", requested_at=day("2025-04-01")))
    assert_frame_equal(with_deletions(rows, customers({"customer_id": "c1"})), rows)


def test_coverage_counts_ids_by_source_and_kind_with_the_revenue_on_both_sides() -> None:
    book = known(accounts({"account_id": "A1"}), identity_map(("billing", "c1", "A1")))
    mapped = account_of_customers(
        customers({"customer_id": "c1"}, {"customer_id": "c2"}, {"customer_id": "c3"}), changes(), book
    )
    refs = account_of_refs(
        pl.DataFrame({"source": ["support", "support", "support", "usage"], "ref": ["A1", "c1", "c2", "x"]}),
        mapped,
        book,
    )
    arr = pl.DataFrame({"account_id": ["A1", "c2", "c3"], "arr_minor": [100, 20, 3]})
    columns = ["source", "kind", "matched", "unmatched", "conflicting", "matched_arr_minor", "unmatched_arr_minor"]
    assert_frame_equal(
        identity_coverage({"customers": mapped, "tickets": refs}, arr),
        pl.DataFrame(
            [
                ("billing", "customers", 1, 2, 0, 100, 23),
                ("support", "tickets", 3, 0, 0, 120, 3),
                ("usage", "tickets", 0, 1, 0, 0, 123),
            ],
            schema=columns,
            orient="row",
        ),
    )
    without_billing = identity_coverage({"tickets": refs}, arr.clear())
    assert without_billing.select(columns[-2:]).null_count().row(0) == (2, 2)


def test_matches_that_name_different_accounts_are_conflicts_and_the_first_counts() -> None:
    book = known(
        accounts({"account_id": "A1"}, {"account_id": "A2"}, {"account_id": "A3"}),
        identity_map(("billing", "c1", "A1"), ("billing", "c2", "A2"), ("crm", "A3", "A2")),
    )
    mapped = account_of_customers(
        customers(
            {"customer_id": "c1", "account_ref": "A2"},
            {"customer_id": "c2", "account_ref": "A2"},
            # A3 was merged into A2: both name one account.
            {"customer_id": "A2", "account_ref": "A3"},
        ),
        changes(),
        book,
    )
    assert mapped.select("customer_id", "account_id", "conflicts_with").rows() == [
        ("A2", "A2", None),
        ("c1", "A1", "A2"),
        ("c2", "A2", None),
    ]
    assert identity_coverage({"customers": mapped}, pl.DataFrame({"account_id": ["A1"], "arr_minor": [5]})).row(0)[
        2:5
    ] == (3, 0, 1)
    assert identity_conflicts({"customers": mapped}).rows() == [("billing", "customers", "A1", "A2", 1)]


BY_DOMAIN = Policy(match_email_domains=True)
WITH_DOMAINS = (
    {"account_id": "A1", "domain": " Acme.Example "},
    {"account_id": "A2", "domain": "shared.example"},
    {"account_id": "A3", "domain": "shared.example"},
    {"account_id": "A4", "domain": "gmail.com"},
    {"account_id": "A5", "domain": "old.example"},
    {"account_id": "A6", "domain": ""},
)


def by_domain(policy: Policy, *refs: str) -> list[str]:
    who = known(accounts(*WITH_DOMAINS), identity_map(("crm", "A5", "A1")), policy=policy)
    nobody = account_of_customers(customers(), changes(), who)
    named = pl.DataFrame([("desk", ref) for ref in refs], schema=REFS, orient="row")
    rows = account_of_refs(named, nobody, who)
    return [dict(rows.select("ref", "account_id").iter_rows())[ref] for ref in refs]


def test_an_address_means_the_only_account_of_its_domain_where_the_policy_says_so():
    refs = [
        "ana@acme.example",
        " ANA@ACME.example",
        "bo@shared.example",
        "c@gmail.com",
        "d@old.example",
        "acme.example",
    ]
    assert by_domain(BY_DOMAIN, *refs) == ["A1", "A1", "unassigned", "unassigned", "A1", "unassigned"]
    assert by_domain(POLICY, *refs) == ["unassigned"] * 6
    assert by_domain(BY_DOMAIN, "x@sub.acme.example", "x@y@acme.example", "@acme.example") == ["unassigned"] * 3


def test_whatever_names_the_account_comes_before_the_domain_and_conflicts_are_told():
    who = known(
        accounts(*WITH_DOMAINS),
        identity_map(("desk", "bo@acme.example", "A2"), ("billing", "c3", "A3")),
        excluded(("A6", "test")),
        BY_DOMAIN,
    )
    named = customers(
        {"customer_id": "c1", "email": "pay@acme.example"},
        {"customer_id": "c2", "email": "pay@acme.example", "account_ref": "A2"},
        {"customer_id": "c3", "email": None},
        {"customer_id": "c4", "email": "nobody@else.example"},
    )
    rows = account_of_customers(named, changes(), who)
    assert rows.select("customer_id", "account_id", "matched_by", "conflicts_with").rows() == [
        ("c1", "A1", "email_domain", None),
        ("c2", "A2", "account_ref", "A1"),
        ("c3", "A3", "identity_map", None),
        ("c4", "c4", "own", None),
    ]
    people = pl.DataFrame(
        [("desk", "bo@acme.example"), ("desk", "cy@acme.example")],
        schema={"source": pl.String, "respondent_id": pl.String},
        orient="row",
    )
    found = account_of_respondents(people, who)
    assert found.select("respondent_id", "account_id", "conflicts_with").rows() == [
        ("bo@acme.example", "A2", "A1"),
        ("cy@acme.example", "A1", None),
    ]


def test_a_domain_of_an_excluded_account_excludes():
    who = known(accounts({"account_id": "T", "domain": "test.example"}), None, excluded(("T", "test")), BY_DOMAIN)
    rows = account_of_customers(customers({"customer_id": "c1", "email": "a@test.example"}), changes(), who)
    assert rows.select("account_id", "excluded_reason").rows() == [("T", "test")]
