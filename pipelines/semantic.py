"""The semantic model: what BI tools and AI assistants need to reckon every KPI from `marts.kpi_values`.

A document of Open Semantic Interchange (now Apache Ossie), written from the catalogue and the contracts. In the newest
released version of the format: later drafts may still change.
"""

from typing import Any

import yaml

from schemas.catalogue import CATALOGUE, Kpi
from schemas.contract import Contract, column_specs, grain, key_columns, table_name
from schemas.currencies import EXPONENTS
from schemas.marts import KpiCatalogue
from schemas.marts_values import KpiValues
from warehouse import names

OSI_VERSION = "0.1.1"

_HEAD = "# Written by `python -m pipelines.docs` from the catalogue and the contracts in schemas/; change those.\n"
_INSTRUCTIONS = (
    "Group or filter by grain, period_start, dimension and part: a metric is of one of each, and NULL over several. "
    "Members of one dimension may be left out of the grouping: numerators and denominators are added and divided "
    "again. Metrics that cannot be added (medians, lifetime values, survival, rates by booked cost, shares of a part) "
    "are of a single row: group them by member too. For the total take dimension = 'all' and part = 'all'. Rows with "
    "not_observed have no value because nothing was recorded yet; that is not 0. Rows with small_n rest on few cases. "
    "Periods with is_complete = false are still running. Never add a metric over periods."
)


def semantic_model() -> str:
    """The text of the document."""
    model = {
        "name": "customer_success_kpis",
        "description": "Customer-success KPIs by month, quarter and year, for all accounts and by dimension.",
        "ai_context": {"instructions": _INSTRUCTIONS},
        "datasets": [
            _dataset(KpiValues, [_field("slice", _SLICE, _SLICE_MEANS), _field("minor_units", _minor_units(), _UNITS)]),
            _dataset(KpiCatalogue, []),
        ],
        "relationships": [
            {
                "name": "values_of_kpi",
                "from": "kpi_values",
                "to": "kpi_catalogue",
                "from_columns": ["kpi"],
                "to_columns": ["kpi"],
            }
        ],
        "metrics": [_metric(kpi) for kpi in CATALOGUE],
    }
    document = {"version": OSI_VERSION, "semantic_model": [model]}
    return _HEAD + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


_SLICE = (
    "CASE WHEN numerator IS NULL THEN 'nothing to add' "
    "ELSE grain || ' ' || CAST(period_start AS VARCHAR(10)) || ' ' || dimension || ' ' || part END"
)
_SLICE_MEANS = "Period, dimension and part of the row: only rows of one slice may be added."
_UNITS = "Minor units in one major unit of the currency; null without one."


def _minor_units() -> str:
    unusual = sorted({exponent for exponent in EXPONENTS.values() if exponent != 2})
    codes = {
        exponent: ", ".join(names.literal(code) for code in sorted(EXPONENTS) if EXPONENTS[code] == exponent)
        for exponent in unusual
    }
    cases = (f"WHEN currency IN ({codes[exponent]}) THEN {10**exponent}" for exponent in unusual)
    return f"CASE {' '.join(cases)} WHEN currency IS NOT NULL THEN 100 END"


def _dataset(contract: type[Contract], computed: list[dict[str, Any]]) -> dict[str, Any]:
    name = table_name(contract)
    return {
        "name": name.split(".")[1],
        "source": name,
        "primary_key": list(key_columns(contract)),
        "description": grain(contract),
        "fields": [
            *(
                _field(spec.name, spec.name, spec.description, is_time=spec.name == "period_start")
                for spec in column_specs(contract)
            ),
            *computed,
        ],
    }


def _field(name: str, expression: str, description: str, *, is_time: bool = False) -> dict[str, Any]:
    field = {"name": name, "expression": _in_sql(expression), "description": description}
    return field | ({"dimension": {"is_time": True}} if is_time else {})


def _metric(kpi: Kpi) -> dict[str, Any]:
    return {
        "name": kpi.id,
        "expression": _in_sql(expression(kpi)),
        "description": f"{kpi.meaning.en} {kpi.null_rule.en} Unit: {kpi.unit}, {kpi.direction.replace('_', ' ')}.",
        "ai_context": {"synonyms": list(dict.fromkeys(kpi.name))},
    }


def expression(kpi: Kpi) -> str:
    """The KPI as an aggregate over rows of the data set `kpi_values`, in standard SQL.

    A sum or rate over members of one slice, NULL where a member lacks a part of it; any other KPI of a single row.
    """
    if not (kpi.is_additive or (kpi.ratio and kpi.ratio.adds_up)):
        return f"CASE WHEN COUNT({_of(kpi, '1')}) = 1 THEN MAX({_of(kpi, 'kpi_values.value')}) END"
    value = f"SUM({_of(kpi, 'kpi_values.numerator')})"
    if kpi.unit != "count":
        value = f"CAST({value} AS DOUBLE PRECISION)"
    if kpi.ratio:
        value += f" / NULLIF(SUM({_of(kpi, 'kpi_values.denominator')}), 0)"
    if kpi.scale != 1:
        value += f" * {kpi.scale}"
    if kpi.unit == "money_per_month":
        value += " / 12"
    if kpi.unit.startswith("money"):
        value += " / MAX(kpi_values.minor_units)"
    return f"CASE WHEN COUNT(DISTINCT {_of(kpi, 'kpi_values.slice')}) = 1 THEN {value} END"


def _of(kpi: Kpi, column: str) -> str:
    return f"CASE WHEN kpi_values.kpi = {names.literal(kpi.id)} THEN {column} END"


def _in_sql(text: str) -> dict[str, Any]:
    return {"dialects": [{"dialect": "ANSI_SQL", "expression": text}]}
