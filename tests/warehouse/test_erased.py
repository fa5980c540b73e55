"""What is left of a text, and of an id, once somebody is erased."""

import pytest

from warehouse.erased import Erased, load, save

NOBODY = Erased(salt="00" * 32)
ANA = NOBODY.with_person(" Ana@Uno.example", "address")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ana@uno.example", "{}"),
        ("Write to ana@uno.example.", "Write to {}."),
        ("Ana <ana@uno.example>, ben@dos.example", "Ana <{}>, ben@dos.example"),
        ("mailto:ana@uno.example?subject=x", "mailto:{}?subject=x"),
        ("billing:ana@uno.example", "billing:{}"),
        ("to=ana@uno.example&x=1", "to={}&x=1"),
        ("'ana@uno.example'", "'{}'"),
        ("x+ana@uno.example", "x+ana@uno.example"),
        ("ana@uno.example.org", "ana@uno.example.org"),
        ("mariana@uno.example", "mariana@uno.example"),
        ("ana", "ana"),
    ],
)
def test_an_address_is_replaced_wherever_it_stands_and_no_other(text, expected):
    assert ANA.without_addresses(text) == expected.format(ANA.pseudonym("ana@uno.example"))


def test_a_pseudonym_keeps_the_domain_and_is_alike_for_texts_alike_but_for_the_case_of_letters():
    small, large = ANA.pseudonym("ana@uno.example"), ANA.pseudonym("Ana@uno.example")
    assert small.endswith("@uno.example")
    assert small != large
    assert small == large.lower()
    assert ANA.pseudonym("ana@uno.example ") == small
    assert Erased().pseudonym("ana@uno.example") != small


def test_a_person_is_known_whatever_the_case_the_blanks_and_the_way_of_writing_accents():
    zoe = NOBODY.with_person("Zoë@uno.example", "address")
    assert zoe.kind(" ZOE\u0308@UNO.example ") == "address"
    assert zoe.kind("zoe@uno.example") is None


@pytest.mark.parametrize(
    ("kind", "column", "left", "is_hit"),
    [
        ("id", {"of_person": True, "of_account": False}, None, True),
        ("id", {"of_person": False, "of_account": True}, "10", False),
        ("customer", {"of_person": True, "of_account": False}, "10", True),
        ("customer", {"of_person": False, "of_account": True}, "10", True),
        ("customer", {"of_person": False, "of_account": False}, "10", False),
    ],
)
def test_a_short_id_means_somebody_only_in_columns_that_name_them(kind, column, left, is_hit):
    erased = NOBODY.with_person("10", kind)
    assert erased.told("10", **column) == (left or erased.pseudonym("10"), is_hit)


def test_a_cell_that_only_mentions_an_address_does_not_make_its_row_theirs():
    told = {
        text: ANA.told(text, of_person=False, of_account=False)[1]
        for text in ("ana@uno.example", "Ana Mora <ana@uno.example>", "Ask ana@uno.example about it")
    }
    assert list(told.values()) == [True, True, False]


def test_the_list_is_the_same_once_it_was_kept(tmp_path):
    assert load(tmp_path).people == {}
    save(tmp_path, ANA)
    assert load(tmp_path) == ANA
    assert "ana" not in repr(ANA)
