"""The reference pages are what the contracts and the catalogue say."""

import re
from pathlib import Path

import pytest

from pipelines import docs, kpi_examples
from pipelines.run import published_dir
from pipelines.show import find_kpi
from schemas.catalogue import CATALOGUE
from warehouse.publish import open_published


def test_the_pages_in_the_repository_are_up_to_date() -> None:
    docs.main(["--check"])


def test_check_names_the_page_that_differs_and_leaves_it_alone(tmp_path: Path) -> None:
    docs.main(["--folder", str(tmp_path)])
    page = tmp_path / "kpis.md"
    page.write_text("old")
    with pytest.raises(SystemExit, match=r"^out of date: kpis\.md\. Run `python -m pipelines\.docs`"):
        docs.main(["--check", "--folder", str(tmp_path)])
    assert page.read_text() == "old"


def test_check_fails_where_a_page_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"tables\.md, kpis\.md"):
        docs.main(["--check", "--folder", str(tmp_path)])


def test_the_table_page_says_what_a_column_must_keep_to() -> None:
    lines = docs.pages()["tables.md"].splitlines()
    status = next(line for line in lines if line.startswith("| `status` | text | required | State of the item"))
    assert status.endswith("One of `trialing`, `active`, `past_due`, `unpaid`, `paused`, `ended`. |")
    assert "| `email` | text | optional, personal | E-mail address of the customer. |" in lines
    assert (
        "In every row exactly one of percent_off_bp and amount_off_minor is given; ends_at is after starts_at." in lines
    )


def test_the_kpi_page_explains_a_rate() -> None:
    section = docs.pages()["kpis.md"].split("### Expansion rate\n")[1].split("###")[0]
    assert section.splitlines()[1:] == [
        "`expansion_rate` · es: *Tasa de expansión* · pt: *Taxa de expansão*",
        "",
        "Expansion as a share of the opening MRR.",
        "",
        "| | |",
        "|---|---|",
        "| column | `marts.retention.expansion_rate` |",
        "| headline rows | `basis = reporting` |",
        "| formula | expansion / opening MRR |",
        "| numerator | `expansion_rate_numerator`: expansion; "
        "annualised minor units of `currency`, at the period's closing rate |",
        "| denominator | `expansion_rate_denominator`: opening MRR; "
        "annualised minor units of `currency`, at the period's closing rate |",
        "| unit | `rate` (share), higher is better |",
        "| grains | `day`, `week`, `month`, `quarter`, `year` |",
        "| example | 60960 / 19045407 = 0.0032 (2026-03) |",
        "| NULL | NULL where the opening MRR is 0. |",
        "| from | `subscription_changes`, `prices`, `discounts`, `fx_rates` |",
        "| definitions section | 4 |",
        "",
    ]


def test_the_kpi_page_in_spanish_explains_a_sum_of_money() -> None:
    section = docs.pages()["kpis.es.md"].split("### ARR por renovar\n")[1].split("###")[0]
    assert section.splitlines()[1:] == [
        "`renewals_due_arr` · en: *ARR due for renewal* · pt: *ARR a renovar*",
        "",
        "ARR de los contratos que vencen en el período.",
        "",
        "| | |",
        "|---|---|",
        "| columna | `marts.renewals.due_arr` |",
        "| filas principales | `basis = reporting` |",
        "| fórmula | due_arr_minor / 10^(decimales de la moneda) |",
        "| exacto | `due_arr_minor` |",
        "| unidad | `money_per_year` (`currency` al año), neutro, aditivo |",
        "| granularidad | `week` (semana), `month` (mes), `quarter` (trimestre), `year` (año) |",
        "| ejemplo | 27609 USD (2026-02) |",
        "| NULL | Nunca NULL: un período sin eventos es una fila de ceros. |",
        "| a partir de | `contracts`, `fx_rates` |",
        "| sección de las definiciones | 8 |",
        "",
    ]


def test_the_examples_of_kpis_are_what_the_sample_company_shows(sample) -> None:
    with open_published(published_dir(sample)) as con:
        now = kpi_examples.examples(con)
    assert now == kpi_examples.kept(), "run `python -m pipelines.docs --examples` and commit what it writes"
    # A company of 60 accounts is too small for the model, and half of it is still there; survival is of open periods.
    too_small = {"clv_predicted", "clv_holdout_error", "median_lifetime_days"}
    of_open_periods = {"projected_survival", "survival", "survival_12m", "survival_24m"}
    assert {kpi.id for kpi in CATALOGUE} - set(now) <= too_small | of_open_periods


@pytest.mark.parametrize(
    ("kpi", "example", "line"),
    [
        ("customer_churn_rate", {"value": 0.01, "numerator": 5, "denominator": 500}, "5 / 500 = 0.01 (2026-03)"),
        ("nps", {"value": 50, "numerator": 50, "denominator": 100}, "100 x 50 / 100 = 50 (2026-03)"),
        ("mrr", {"value": 670.5, "numerator": 804600, "currency": "EUR"}, "670.5 EUR (2026-03)"),
        (
            "tickets_by_type",
            {"value": 0.25, "numerator": 1, "denominator": 4, "part": "bug"},
            "1 / 4 = 0.25 (2026-03, bug)",
        ),
    ],
)
def test_an_example_is_one_line(kpi, example, line) -> None:
    assert kpi_examples.shown(find_kpi(kpi), {"grain": "month", "period": "2026-03-01"} | example) == line


@pytest.mark.parametrize("page", ["kpis.md", "kpis.es.md", "kpis.pt.md"])
def test_the_kpi_pages_lead_to_each_other(page: str) -> None:
    linked = set(re.findall(r"\]\((kpis[\w.]*\.md)\)", docs.pages()[page]))
    assert linked == {"kpis.md", "kpis.es.md", "kpis.pt.md"} - {page}
