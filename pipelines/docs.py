"""The reference pages, written from the contracts and the catalogue: `python -m pipelines.docs`.

`docs/tables.md` holds every source and published table, `docs/kpis.md` every KPI (`kpis.es.md` and `kpis.pt.md` in
Spanish and Portuguese), `docs/policy.md` every key of `policy.yaml`, `docs/formats.md` every ready-made mapping,
`docs/semantic_model.yaml` the KPIs for machines. `--check` writes nothing and fails where a page is not what the code
says.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from pipelines import kpi_examples
from pipelines.report.texts import word
from pipelines.semantic import semantic_model
from pipelines.sources import known_apis, ready_made
from pipelines.sources.ready_made import Format
from schemas import catalogue
from schemas.catalogue import Kpi
from schemas.contract import Contract, column_specs, key_columns, table_name
from schemas.origins import origins_of
from schemas.policy import HEALTH_VALUES, Policy
from schemas.sources import SYSTEMS
from schemas.tables import PUBLISHED
from schemas.texts import DIRECTIONS, GRAINS, UNITS, Text
from warehouse.views import VIEWS

FOLDER = Path(__file__).resolve().parents[1] / "docs"

_TYPES = {
    pl.String(): "text",
    pl.Int64(): "integer",
    pl.Float64(): "number",
    pl.Boolean(): "true/false",
    pl.Date(): "date",
    pl.Datetime("us", "UTC"): "instant",
}

_TABLES_HEAD = """\
# Tables

Written by `python -m pipelines.docs` from the contracts in `schemas/`; change those, not this page.

| type | means | in DuckDB |
|---|---|---|
| text | characters | VARCHAR |
| integer | whole number of 64 bits; money in minor units | BIGINT |
| number | floating point, at the end of a reckoning only | DOUBLE |
| true/false | | BOOLEAN |
| date | day in the reporting time zone | DATE |
| instant | moment in UTC | TIMESTAMP WITH TIME ZONE |
"""

_SOURCES_HEAD = """\
## Source tables

What the mapping of a source must deliver. A *required* column is filled in every row; an *optional* one may be empty,
or absent. A row that breaks a rule is quarantined. Columns marked *personal* hold personal data: they stay out of logs,
messages and marts.
"""

_PUBLISHED_HEAD = """\
## Published tables

What a release holds. Columns marked *nullable* may be NULL. Names are a promise: they are added to, not changed.
*From* are the columns whose values make the value: of the same table where no table is named, of the source tables as
`staging.<table>`. What only decides which rows there are is left out.
"""

_VIEWS_HEAD = """\
## Views

Wide views on the published tables, for reading; columns not listed are named as in their table.
[questions.md](questions.md) asks twenty questions of them.
"""

_KPI_PAGES = {"en": ("kpis.md", "English"), "es": ("kpis.es.md", "Español"), "pt": ("kpis.pt.md", "Português")}

_KPIS_HEAD = Text(
    """\
# KPIs

Written by `python -m pipelines.docs` from the catalogue in `schemas/catalogue.py`; change that, not this page. The same
texts stand in `marts.kpi_catalogue`.

- A KPI is a column of a table. A row is one slice: `grain`, `period_start`, `period_end`, `is_complete`, `dimension`
  and `member`, with `basis` and `currency` where it holds money. [tables.md](tables.md) has every column.
- `marts.kpi_values` has the headline rows of all KPIs by month, quarter and year in the same columns.
  [semantic_model.yaml](semantic_model.yaml) has a formula on it for every KPI, for tools that read Open Semantic
  Interchange (Apache Ossie).
- A rate stands beside its numerator and denominator. To sum up rates, add numerators and denominators and divide again;
  never average rates. `n` says how many cases stand behind a row, `small_n` that they are few.
- *Additive* KPIs may be added over the members of one dimension, within one period, basis and currency. Balances such
  as MRR are never added over time.
- S, E, N, R and C are the customers at the start and at the end of a period, new, returned and lost.
- Examples are all customers of the sample company with 60 accounts (`{kind: sample, accounts: 60}`), as of 2 April
  2026. Numerators and denominators of money are annualised minor units where the KPI says so.
- Sections are those of the [KPI definitions](definitions.md).
""",
    """\
# KPI

Escrito por `python -m pipelines.docs` a partir del catálogo en `schemas/catalogue.py`; cambie ese archivo, no esta
página. Los mismos textos están en `marts.kpi_catalogue`.

- Un KPI es una columna de una tabla. Una fila es un corte: `grain`, `period_start`, `period_end`, `is_complete`,
  `dimension` y `member`, con `basis` y `currency` si contiene dinero. [tables.md](tables.md), en inglés, describe todas
  las columnas.
- `marts.kpi_values` tiene las filas principales de todos los KPI por mes, trimestre y año en las mismas columnas.
  [semantic_model.yaml](semantic_model.yaml) tiene una fórmula sobre esa tabla para cada KPI, para herramientas que leen
  Open Semantic Interchange (Apache Ossie).
- Una tasa está junto a su numerador y su denominador. Para resumir tasas, sume numeradores y denominadores y vuelva a
  dividir; nunca promedie tasas. `n` dice cuántos casos hay detrás de una fila; `small_n`, que son pocos.
- Los KPI *aditivos* se pueden sumar entre los miembros de una dimensión, dentro de un período, una base y una moneda.
  Los saldos como el MRR nunca se suman en el tiempo.
- S, E, N, R y C son los clientes al inicio y al cierre de un período, los nuevos, los recuperados y los perdidos.
- Los ejemplos son de todos los clientes de la empresa de muestra con 60 cuentas (`{kind: sample, accounts: 60}`), al 2
  de abril de 2026. Los numeradores y denominadores de dinero son unidades menores anualizadas donde el KPI lo dice.
- Las secciones son las de las [definiciones de los KPI](definitions.md) (en inglés).
""",
    """\
# KPIs

Escrito por `python -m pipelines.docs` a partir do catálogo em `schemas/catalogue.py`; altere esse arquivo, não esta
página. Os mesmos textos estão em `marts.kpi_catalogue`.

- Um KPI é uma coluna de uma tabela. Uma linha é um recorte: `grain`, `period_start`, `period_end`, `is_complete`,
  `dimension` e `member`, com `basis` e `currency` se contém dinheiro. [tables.md](tables.md), em inglês, descreve todas
  as colunas.
- `marts.kpi_values` tem as linhas principais de todos os KPIs por mês, trimestre e ano nas mesmas colunas.
  [semantic_model.yaml](semantic_model.yaml) tem uma fórmula sobre essa tabela para cada KPI, para ferramentas que leem
  Open Semantic Interchange (Apache Ossie).
- Uma taxa está ao lado do seu numerador e do seu denominador. Para resumir taxas, some numeradores e denominadores e
  divida de novo; nunca tire a média de taxas. `n` diz quantos casos há por trás de uma linha; `small_n`, que são
  poucos.
- KPIs *aditivos* podem ser somados entre os membros de uma dimensão, dentro de um período, uma base e uma moeda.
  Saldos como o MRR nunca são somados no tempo.
- S, E, N, R e C são os clientes no início e no fim de um período, os novos, os recuperados e os perdidos.
- Os exemplos são de todos os clientes da empresa de amostra com 60 contas (`{kind: sample, accounts: 60}`), em 2 de
  abril de 2026. Numeradores e denominadores de dinheiro são unidades menores anualizadas onde o KPI o diz.
- As seções são as das [definições dos KPIs](definitions.md) (em inglês).
""",
)

_KPI_WORDS = {
    "headline_rows": Text("headline rows", "filas principales", "linhas principais"),
    "parts": Text("a row for each", "una fila por cada", "uma linha para cada"),
    "exact": Text("exact", "exacto", "exato"),
    "unit": Text("unit", "unidad", "unidade"),
    "additive": Text("additive", "aditivo", "aditivo"),
    "grains": Text("grains", "granularidad", "granularidade"),
    "from": Text("from", "a partir de", "a partir de"),
    "example": Text("example", "ejemplo", "exemplo"),
}
"""Names of the rows that the report has no words for."""

_FORMATS_HEAD = """\
# Ready-made mappings

Written by `python -m pipelines.docs` from `pipelines/sources/formats/` and `apis/`; change those, not this page.

A table of `sources.yaml` names one with `format`, and may override every key and column of it (a column as a whole):

```yaml
sources:
  billing:
    kind: files
    tables:
      subscription_changes:
        format: stripe_subscriptions_csv
        files: "subscriptions*.csv"
        columns:
          plan: Product
```

`kpis sources detect FILE` proposes the mapping of a file, `kpis sources init FOLDER` writes a `sources.yaml` for a
folder of exports, and `kpis sources preview NAME` shows what comes of it. Vendors change their exports: a header that
is gone stops the source with a message. A row whose words the mapping does not know is refused, not guessed. The
layouts are those of documentation, SDKs and public files; look at the preview of yours before you trust it.
"""

_APIS_HEAD = """
## APIs

These APIs are read with `kind: api` ([sources.md](sources.md#an-api)), by the same mappings.
"""

_POLICY_HEAD = """\
# Policy

Written by `python -m pipelines.docs` from `schemas/policy.py`; change that, not this page.

What a company may choose, in `policy.yaml` beside `sources.yaml`. A key that is left out has its default. Any other
value gives another `policy_version`, which stands in every published row, and rebuilds every number but the health
scores of months that are over. Give the policy a `name` of your own: it precedes the version.
"""

_HEALTH_HEAD = """
## Measures of the health score

`health_measures` replaces all of them: name each measure that is to count, with `zero_at`, `hundred_at` and `weight`.

| measure | value | `zero_at` | `hundred_at` | `weight` |
|---|---|---|---|---|"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the pages, or with `--check` exits with 1 and a message where they differ."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is out of date")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of the pages")
    parser.add_argument("--examples", action="store_true", help="reckon the examples of KPIs anew first")
    options = parser.parse_args(arguments)
    if options.examples:
        kpi_examples.write()
    stale = {name: text for name, text in pages().items() if _read(options.folder / name) != text}
    if options.check and stale:
        sys.exit(f"out of date: {', '.join(stale)}. Run `python -m pipelines.docs` and commit what it writes.")
    for name, text in stale.items():
        (options.folder / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """The text of each page by file name."""
    return {
        "tables.md": "\n".join(_tables()),
        **{page: "\n".join(_kpis(language)) for language, (page, _) in _KPI_PAGES.items()},
        "policy.md": "\n".join(_policy()),
        "formats.md": "\n".join(_formats()),
        "semantic_model.yaml": semantic_model(),
    }


def _formats() -> Iterator[str]:
    yield _FORMATS_HEAD
    found = [ready_made.load(name) for name in ready_made.names()]
    yield "| format | export | tables |"
    yield "|---|---|---|"
    for one in found:
        yield _row(f"[`{one.name}`](#{one.name})", one.title, _code(list(one.tables)))
    yield _APIS_HEAD
    yield "| `api` | what is read | tables, with the mapping of each |"
    yield "|---|---|---|"
    for name in known_apis.names():
        api = known_apis.load(name)
        tables = (f"`{table}` ([{(ready := one.tables[table])}](#{ready}))" for table, one in api.tables.items())
        yield _row(f"`{name}`", f"{api.title}. {api.about}", ", ".join(tables))
    for one in found:
        yield f"\n## {one.name}\n"
        yield f"{one.title}.\n"
        yield f"{one.about}\n"
        yield "```yaml"
        for table in one.tables:
            yield f"{table}: {{format: {one.name}, files: {_example_file(one)}}}"
        yield "```"
    yield ""


def _example_file(one: Format) -> str:
    ending = next((part for part in ("json", "tsv") if part in one.name.split("_")), "csv")
    return f'"{one.name.removesuffix(f"_{ending}")}*.{ending}"'


def _policy() -> Iterator[str]:
    yield _POLICY_HEAD
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    for name, field in Policy.model_fields.items():
        default = yaml.safe_dump(
            Policy().model_dump(mode="json")[name], default_flow_style=True, width=10_000, sort_keys=False
        )
        shown = "see below" if name == "health_measures" else f"`{default.removesuffix('...' + chr(10)).strip()}`"
        yield _row(f"`{name}`", shown, field.description or "")
    yield _HEALTH_HEAD
    for measure, scale in Policy().health_measures.items():
        numbers = (f"{number:g}" for number in (scale.zero_at, scale.hundred_at, scale.weight))
        yield _row(f"`{measure}`", HEALTH_VALUES[measure], *numbers)
    yield ""


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


_SYSTEM_NAMES = {"crm": "CRM"}


def _tables() -> Iterator[str]:
    yield _TABLES_HEAD
    yield _SOURCES_HEAD
    for system, contracts in SYSTEMS.items():
        yield f"### {_SYSTEM_NAMES.get(system, system.capitalize())}\n"
        for contract in contracts:
            yield from _table(contract, "####", is_source=True)
    yield _PUBLISHED_HEAD
    for contract in PUBLISHED.values():
        yield from _table(contract, "###", is_source=False)
    yield _VIEWS_HEAD
    for view in VIEWS:
        yield f"### {view.name}\n"
        yield f"{view.comment}\n"
        yield from (f"- `{column}`: {comment}" for column, comment in view.columns.items())
        yield ""


def _table(contract: type[Contract], heading: str, *, is_source: bool) -> Iterator[str]:
    """One table: what a row is, its key, its columns with the values they take, and for a source all of its rules."""
    schema = contract.to_schema()
    filled, nullable = ("required", "optional") if is_source else ("", "nullable")
    yield f"{heading} {table_name(contract)}\n"
    yield f"{_docstring(contract)}\n"
    yield f"Key: {_code(key_columns(contract))}.\n"
    yield "| column | type | | description |" if is_source else "| column | type | | description | from |"
    yield "|---|---|---|---|" if is_source else "|---|---|---|---|---|"
    for spec in column_specs(contract):
        marks = [nullable if spec.nullable else filled, "personal" if spec.personal else ""]
        checks = schema.columns[spec.name].checks
        rules = [_rule(check, spec.description) for check in checks if is_source or check.name == "isin"]
        yield _row(
            f"`{spec.name}`",
            _TYPES[spec.dtype],
            ", ".join(filter(None, marks)),
            " ".join(filter(None, [spec.description, *rules])),
            *([] if is_source else [origins_of(table_name(contract))[spec.name].told(table_name(contract))]),
        )
    yield ""
    if schema.checks:
        yield f"In every row {'; '.join(check.description for check in schema.checks)}.\n"


def _rule(check: Any, description: str) -> str:
    """What a column must keep to, unless its description says so already."""
    limits = check.statistics
    match check.name:
        case "isin":
            values = limits["allowed_values"]
            return "" if all(str(value) in description for value in values) else f"One of {_code(values)}."
        case "in_range":
            return f"From {limits['min_value']:,} to {limits['max_value']:,}."
        case "greater_than_or_equal_to":
            return f"At least {limits['min_value']:,}."
        case "str_contains":
            return "Not 0."
        case "str_matches":
            return f"Matches `{limits['pattern']}`."
        case unknown:
            raise NotImplementedError(f"the reference page has no words for the rule {unknown}")


def _kpis(language: str) -> Iterator[str]:
    found = kpi_examples.kept()
    yield _KPIS_HEAD.of(language)
    others = {page: name for code, (page, name) in _KPI_PAGES.items() if code != language}
    yield " · ".join(f"[{name}]({page})" for page, name in others.items()) + "\n"
    for table in dict.fromkeys(kpi.table for kpi in catalogue.CATALOGUE):
        yield f"## {table}\n"
        if language == "en":
            yield f"{_docstring(PUBLISHED[table])}\n"
        for kpi in catalogue.of_table(table):
            yield from _kpi(kpi, language, found)


def _kpi(kpi: Kpi, language: str, found: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    def label(key: str) -> str:
        return _KPI_WORDS[key].of(language) if key in _KPI_WORDS else word(key, language).lower()

    names = [f"{code}: *{kpi.name.of(code)}*" for code in _KPI_PAGES if code != language]
    yield f"### {kpi.name.of(language)}\n"
    yield f"{' · '.join([f'`{kpi.id}`', *names])}\n"
    yield f"{kpi.meaning.of(language)}\n"
    yield "| | |"
    yield "|---|---|"
    yield _row(label("column"), f"`{kpi.table}.{kpi.column}`")
    if kpi.rows:
        yield _row(label("headline_rows"), _code([f"{column} = {value}" for column, value in kpi.rows.items()]))
    if kpi.parts:
        yield _row(label("parts"), _code(kpi.parts))
    yield _row(label("formula"), kpi.formula.of(language))
    if kpi.ratio:
        yield _row(label("numerator"), f"`{kpi.numerator}`: {kpi.ratio.numerator_text.of(language)}")
        yield _row(label("denominator"), f"`{kpi.denominator}`: {kpi.ratio.denominator_text.of(language)}")
    elif kpi.exact != kpi.column:
        yield _row(label("exact"), f"`{kpi.exact}`")
    unit = _explained(kpi.unit, UNITS[kpi.unit].of(language).format(currency="`currency`"))
    about = [unit, DIRECTIONS[kpi.direction].of(language)] + [label("additive")] * kpi.is_additive
    yield _row(label("unit"), ", ".join(about))
    yield _row(label("grains"), ", ".join(_explained(grain, GRAINS[grain].of(language)) for grain in kpi.grains))
    if kpi.id in found:
        yield _row(label("example"), kpi_examples.shown(kpi, found[kpi.id]))
    yield _row("NULL", kpi.null_rule.of(language))
    yield _row(label("from"), _code(kpi.sources))
    yield _row(label("section"), kpi.section)
    yield ""


def _explained(code: str, words: str) -> str:
    """A code as it stands in the tables, with its words where they differ."""
    return f"`{code}`" if words == code else f"`{code}` ({words})"


def _docstring(contract: type[Contract]) -> str:
    return " ".join((contract.__doc__ or "").split())


def _code(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


if __name__ == "__main__":
    main()
