"""The KPI catalogue: what every published KPI is called, means and is made of, in English, Spanish and Portuguese.

The one place for these texts: table and column comments, asset descriptions, `marts.kpi_catalogue` and the reference
page follow it. Numbers follow the definitions; `section` says where.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from schemas.texts import Direction, Text, Unit, joined, symbols

MOVEMENTS = "marts.mrr_movements"
RETENTION = "marts.retention"
COHORTS = "marts.cohorts"
REVENUE = "marts.revenue_per_customer"
RENEWALS = "marts.renewals"
SURVEY_SCORES = "marts.survey_scores"
SURVEY_RESPONSE_RATES = "marts.survey_response_rates"
SUPPORT = "marts.support"
SUPPORT_BY_TYPE = "marts.support_by_type"
RESOURCE_RATINGS = "marts.resource_ratings"
ADOPTION = "marts.adoption"
FEATURE_ADOPTION = "marts.feature_adoption"
ONBOARDING = "marts.onboarding"
ACQUISITION_COST = "marts.acquisition_cost"
RETENTION_COST = "marts.retention_cost"
INVOICED_REVENUE = "marts.invoiced_revenue"
CLV = "marts.clv"
SURVIVAL = "marts.survival"
SURVIVAL_CURVE = "marts.survival_curve"
CHURN_REASONS = "marts.churn_reasons"
DUNNING = "marts.dunning"
HEALTH = "marts.health"
HEALTH_BACKTEST = "marts.health_backtest"

EVERY_GRAIN = ("day", "week", "month", "quarter", "year")
SPARSE_GRAINS = ("week", "month", "quarter", "year")
LONG_GRAINS = ("month", "quarter", "year")

EVERY_ROW: Mapping[str, str] = {}
REPORTING = {"basis": "reporting"}
BY_REASON = ("churn_type", "churn_reason")
ALL_REASONS = dict.fromkeys(BY_REASON, "all")
ALL_PAYMENTS = {"breakdown": "all", "bucket": "all"}

BILLING = ("subscription_changes", "prices", "discounts", "fx_rates")
CONTRACT_TERMS = ("contracts", "fx_rates")
SURVEYS = ("surveys", "survey_responses")
TICKETS = ("tickets",)
ANSWERS = ("tickets", "ticket_replies")
RATINGS = ("resource_ratings",)
USE = ("daily_use",)
SEATS = ("seats", "daily_use")
MILESTONES = ("milestones", "contracts")
COSTS = ("costs", "fx_rates")
INVOICES = ("invoices", "invoice_lines", "credit_notes", "usage_charges", "fx_rates")
LOSSES = (*BILLING, "loss_reasons")
PAYMENTS = ("payment_attempts", "fx_rates")
SIGNS = (
    *BILLING,
    "accounts",
    "seats",
    "daily_use",
    "feature_entitlements",
    "survey_responses",
    "tickets",
    "payment_attempts",
    "milestones",
    "contracts",
)

NO_EVENTS = Text(
    "Never NULL: a period without events is a row of zeros.",
    "Nunca NULL: un período sin eventos es una fila de ceros.",
    "Nunca NULL: um período sem eventos é uma linha de zeros.",
)
NO_OPENING_CUSTOMERS = Text(
    "NULL where nobody was a customer at the start, and on rows of native currencies.",
    "NULL cuando nadie era cliente al inicio y en las filas de monedas originales.",
    "NULL quando ninguém era cliente no início e nas linhas de moedas originais.",
)
NO_OPENING_MRR = Text(
    "NULL where the opening MRR is 0.", "NULL cuando el MRR inicial es 0.", "NULL quando o MRR inicial é 0."
)
NO_MRR_THEN = Text(
    "NULL where nothing was paid 12 months earlier, and at the grains day and week.",
    "NULL cuando no se pagaba nada hace 12 meses y en las granularidades día y semana.",
    "NULL quando nada era pago há 12 meses e nas granularidades dia e semana.",
)
NO_DECISION = Text(
    "NULL where no renewal is decided; the open ones are counted beside it.",
    "NULL cuando ninguna renovación está decidida; las pendientes se cuentan aparte.",
    "NULL quando nenhuma renovação está decidida; as em aberto são contadas à parte.",
)
NO_TICKETS = Text(
    "NULL where no ticket was created, or too few have ended for the estimate.",
    "NULL cuando no se creó ningún ticket o hay muy pocos casos concluidos para la estimación.",
    "NULL quando nenhum ticket foi criado ou há poucos casos concluídos para a estimativa.",
)
NO_SEATS = Text(
    "NULL where no limited seats are purchased, or use was not recorded in all of the 30 days.",
    "NULL cuando no hay asientos limitados comprados o no se registró el uso en cada uno de los 30 días.",
    "NULL quando não há assentos limitados comprados ou o uso não foi registrado em cada um dos 30 dias.",
)
NO_USE = Text(
    "NULL where use was not recorded in all of the days looked back on.",
    "NULL cuando no se registró el uso en todos los días considerados.",
    "NULL quando o uso não foi registrado em todos os dias considerados.",
)
NO_STARTS = Text(
    "NULL where no contract started, or too few have ended for the estimate.",
    "NULL cuando no inició ningún contrato o hay muy pocos casos concluidos para la estimación.",
    "NULL quando nenhum contrato iniciou ou há poucos casos concluídos para a estimativa.",
)
NO_COST_BOOKED = Text(
    "NULL for a member that no cost was booked to.",
    "NULL para un miembro sin ningún costo registrado.",
    "NULL para um membro sem nenhum custo registrado.",
)
NO_CHURN = Text(
    "NULL with the reason: nobody was lost, too little history, or nothing to multiply.",
    "NULL con el motivo: no se perdió a nadie, historia demasiado corta o nada que multiplicar.",
    "NULL com o motivo: ninguém foi perdido, histórico curto demais ou nada a multiplicar.",
)
NO_MODEL = Text(
    "NULL with the reason: under 3 renewals or 100 customers, nobody lost, or not among the newest 6 months.",
    "NULL con el motivo: menos de 3 renovaciones o 100 clientes, nadie perdido o fuera de los 6 meses más recientes.",
    "NULL com o motivo: menos de 3 renovações ou 100 clientes, ninguém perdido ou fora dos 6 meses mais recentes.",
)
NO_LOSSES = Text("NULL where nobody left.", "NULL cuando nadie se fue.", "NULL quando ninguém saiu.")
NO_FAILURES = Text(
    "NULL where no payment failed.", "NULL cuando ningún pago falló.", "NULL quando nenhum pagamento falhou."
)
NO_SCORES = Text(
    "NULL where no customer has a score.",
    "NULL cuando ningún cliente tiene puntuación.",
    "NULL quando nenhum cliente tem pontuação.",
)
NO_CASES = Text(
    "NULL where nobody left or nobody stayed, and by decile.",
    "NULL cuando nadie se fue o nadie se quedó, y por decil.",
    "NULL quando ninguém saiu ou ninguém ficou, e por decil.",
)
NO_ANSWERS = Text(
    "NULL where nobody answered, and on rows of other instruments.",
    "NULL cuando nadie respondió y en las filas de otros instrumentos.",
    "NULL quando ninguém respondeu e nas linhas de outros instrumentos.",
)
NO_CONTRACTS = Text(
    "NULL where no contract started.", "NULL cuando no inició ningún contrato.", "NULL quando nenhum contrato iniciou."
)
NO_CUSTOMERS = Text(
    "NULL where nobody is a customer.", "NULL cuando nadie es cliente.", "NULL quando ninguém é cliente."
)

_ARR = Text(
    "annualised minor units of `currency`, at the period's closing rate",
    "unidades menores anualizadas de `currency`, al tipo de cambio de cierre del período",
    "unidades menores anualizadas de `currency`, à taxa de câmbio do fim do período",
)
_COHORT_ARR = Text(
    "annualised minor units of `currency`, at the exchange rate of age 0",
    "unidades menores anualizadas de `currency`, al tipo de cambio de la edad 0",
    "unidades menores anualizadas de `currency`, à taxa de câmbio da idade 0",
)
_AMOUNT = Text("minor units of `currency`", "unidades menores de `currency`", "unidades menores de `currency`")
_PAYMENT_MONEY = Text(
    "minor units of `currency`, at the rate of the month of the first failure",
    "unidades menores de `currency`, al tipo de cambio del mes del primer fallo",
    "unidades menores de `currency`, à taxa de câmbio do mês da primeira falha",
)
_RENEWAL_ARR = Text(
    "annualised minor units of `currency`, at the rate of the month in which the term is due",
    "unidades menores anualizadas de `currency`, al tipo de cambio del mes en que vence el contrato",
    "unidades menores anualizadas de `currency`, à taxa de câmbio do mês em que o contrato vence",
)

_MINOR_UNITS = Text("10^(decimals of the currency)", "10^(decimales de la moneda)", "10^(casas decimais da moeda)")
_CLOSING_ARR = Text("closing ARR", "ARR final", "ARR final")
_PAYING_CUSTOMERS = Text("paying customers", "clientes de pago", "clientes pagantes")
_CUSTOMERS_AT_START = Text("customers at the start", "clientes al inicio", "clientes no início")
_OPENING_MRR = Text("opening MRR", "MRR inicial", "MRR inicial")
_MRR_THEN = Text("MRR 12 months earlier", "MRR de hace 12 meses", "MRR de há 12 meses")
_MRR_AT_AGE_0 = Text("MRR of the cohort at age 0", "MRR de la cohorte en la edad 0", "MRR da coorte na idade 0")
_OLD_ARR = Text(
    "old ARR of renewed and lost terms",
    "ARR anterior de los contratos renovados y perdidos",
    "ARR anterior dos contratos renovados e perdidos",
)
_CSAT_ANSWERS = Text("CSAT answers used", "respuestas CSAT utilizadas", "respostas CSAT utilizadas")
_CES_ANSWERS = Text("CES answers used", "respuestas CES utilizadas", "respostas CES utilizadas")
_ACCOUNTS_STARTED = Text("accounts started", "cuentas que iniciaron", "contas que iniciaram")
_DAILY_CUSTOMERS = Text("sum of daily customers", "suma de clientes diarios", "soma dos clientes diários")
_CUSTOMERS_LOST = Text("customers lost", "clientes perdidos", "clientes perdidos")
_ARR_LOST = Text("ARR of customers lost", "ARR de los clientes perdidos", "ARR dos clientes perdidos")
_BY_BAND = Text(
    "customers at the end of the period by the band of their last score",
    "clientes al cierre del período según la banda de su última puntuación",
    "clientes no fim do período segundo a faixa da sua última pontuação",
)
_PAYMENTS_RECOVERED = Text("payments recovered", "pagos recuperados", "pagamentos recuperados")
_EVER_PAID = Text("accounts that ever paid", "cuentas que alguna vez pagaron", "contas que já pagaram alguma vez")


@dataclass(frozen=True)
class Ratio:
    """What a rate divides, in words. Its columns are `<column>_numerator` and `<column>_denominator`.

    Units are named for amounts of money; everything else is counted. `adds_up`: the numerators and denominators of all
    members give those of the total; False too where there are no members.
    """

    numerator: Text
    denominator: Text
    numerator_unit: Text | None = None
    denominator_unit: Text | None = None
    adds_up: bool = True

    @property
    def numerator_text(self) -> Text:
        """The numerator with its unit."""
        return joined("; ", *filter(None, (self.numerator, self.numerator_unit)))

    @property
    def denominator_text(self) -> Text:
        """The denominator with its unit."""
        return joined("; ", *filter(None, (self.denominator, self.denominator_unit)))

    @property
    def formula(self) -> Text:
        """The one divided by the other."""
        terms = (self.numerator, self.denominator)
        return joined(
            " / ", *(joined("", "(", term, ")") if " + " in term.en or " - " in term.en else term for term in terms)
        )


@dataclass(frozen=True)
class Kpi:
    """One KPI: where it stands, what it means and how it is reckoned.

    `is_additive`: it may be added over the members of a dimension (of one period, basis and currency). `exact`: the
    column of exact integers behind a KPI that is a sum; a rate has a `ratio` instead, and is `scale` times it.

    `rows`: the values of columns that pick its headline rows in the table. `parts`: the columns that tell these rows
    apart within a period and member, such as the issue type. `n`: the column of its number of cases, with `small_n`
    beside it. `period`: the column of the period's first day. `is_snapshot`: it is known for the newest period alone.
    `needs`: source tables without which its table has rows, but no value for it.
    """

    id: str
    table: str
    column: str
    name: Text
    meaning: Text
    formula: Text
    unit: Unit
    direction: Direction
    section: str
    null_rule: Text
    grains: tuple[str, ...] = EVERY_GRAIN
    sources: tuple[str, ...] = BILLING
    is_additive: bool = False
    ratio: Ratio | None = None
    exact: str | None = None
    scale: int = 1
    rows: Mapping[str, str] = field(default_factory=dict, hash=False)
    parts: tuple[str, ...] = ()
    n: str | None = "n"
    period: str = "period_start"
    is_snapshot: bool = False
    needs: tuple[str, ...] = ()

    @property
    def numerator(self) -> str | None:
        """Column that holds the numerator of a rate, or the exact integer behind a sum."""
        return f"{self.column}_numerator" if self.ratio else self.exact

    @property
    def denominator(self) -> str | None:
        """Column that holds the denominator of a rate; None for a sum."""
        return f"{self.column}_denominator" if self.ratio else None

    @property
    def is_curve(self) -> bool:
        """True where a period has a value for every age."""
        return "age" in self.parts

    @property
    def has_money(self) -> bool:
        """True where its value, or what it divides, is an amount of money in the row's currency."""
        of_money = self.ratio and (self.ratio.numerator_unit or self.ratio.denominator_unit)
        return self.unit.startswith("money") or bool(of_money)


def of_table(table: str) -> list[Kpi]:
    """The KPIs of a table, in the order of the catalogue."""
    return [kpi for kpi in CATALOGUE if kpi.table == table]


def rates_of(table: str) -> list[Kpi]:
    """The KPIs of a table that stand beside their numerator and denominator, in the order of their columns."""
    return [kpi for kpi in of_table(table) if kpi.ratio]


def kpi_of(table: str, column: str) -> Kpi | None:
    """The KPI that a column of a table holds, if it holds one."""
    return _BY_COLUMN.get((table, column))


def catalogue_frame() -> pl.DataFrame:
    """The catalogue as a table. Grain: KPI, in the order of the catalogue. Columns of `marts.KpiCatalogue`, less
    policy_version; lists are joined by comma and space.
    """
    return pl.DataFrame(
        [
            {
                "kpi": kpi.id,
                "table_name": kpi.table,
                "column_name": kpi.column,
                **_columns("name", kpi.name),
                **_columns("meaning", kpi.meaning),
                **_columns("formula", kpi.formula),
                "numerator": kpi.numerator,
                "denominator": kpi.denominator,
                "scale": kpi.scale,
                "n": kpi.n,
                "headline_rows": " and ".join(f"{column} = {value}" for column, value in kpi.rows.items()) or None,
                "parts": ", ".join(kpi.parts) or None,
                "unit": kpi.unit,
                "direction": kpi.direction,
                "grains": ", ".join(kpi.grains),
                "source_tables": ", ".join(kpi.sources),
                **_columns("null_rule", kpi.null_rule),
                "section": kpi.section,
                "is_additive": kpi.is_additive,
            }
            for kpi in CATALOGUE
        ],
        schema_overrides=dict.fromkeys(("numerator", "denominator", "n", "headline_rows", "parts"), pl.String),
    )


def _columns(name: str, text: Text) -> dict[str, str]:
    return {f"{name}_{language}": words for language, words in text._asdict().items()}


def _mrr(column: str, name: Text, meaning: Text, *, exact: str, direction: Direction = "higher_is_better") -> Kpi:
    return Kpi(
        id="mrr" if column == "mrr_net" else column,
        table=REVENUE,
        column=column,
        name=name,
        meaning=meaning,
        formula=joined(" / ", exact, "12", _MINOR_UNITS),
        unit="money_per_month",
        direction=direction,
        section="2",
        null_rule=NO_EVENTS,
        is_additive=True,
        exact=exact,
        rows=REPORTING,
    )


def _movement(column: str, name: Text, meaning: Text, *, direction: Direction) -> Kpi:
    exact = column.removesuffix("_mrr") + "_arr_minor"
    return Kpi(
        id=column,
        table=MOVEMENTS,
        column=column,
        name=name,
        meaning=meaning,
        formula=joined(" / ", exact, "12", _MINOR_UNITS),
        unit="money_per_month",
        direction=direction,
        section="3",
        null_rule=NO_EVENTS,
        is_additive=True,
        exact=exact,
        rows=REPORTING | {"series": "net"},
        n=None,
    )


def _customer_count(kpi_id: str, column: str, name: Text, meaning: Text, formula: Text, *, direction: Direction) -> Kpi:
    return Kpi(
        id=kpi_id,
        table=RETENTION,
        column=column,
        name=name,
        meaning=meaning,
        formula=formula,
        unit="count",
        direction=direction,
        section="1, 4",
        null_rule=Text(
            "NULL on rows of native currencies: a customer belongs to no currency.",
            "NULL en las filas de monedas originales: un cliente no pertenece a ninguna moneda.",
            "NULL nas linhas de moedas originais: um cliente não pertence a nenhuma moeda.",
        ),
        is_additive=True,
        exact=column,
        rows=REPORTING,
    )


def _customer_rate(
    kpi_id: str,
    name: Text,
    meaning: Text,
    numerator: Text,
    denominator: Text,
    *,
    direction: Direction,
    section: str = "4",
) -> Kpi:
    ratio = Ratio(numerator, denominator)
    return Kpi(
        id=kpi_id,
        table=RETENTION,
        column=kpi_id,
        name=name,
        meaning=meaning,
        formula=ratio.formula,
        unit="rate",
        direction=direction,
        section=section,
        null_rule=NO_OPENING_CUSTOMERS,
        ratio=ratio,
        rows=REPORTING,
    )


def _revenue_rate(
    kpi_id: str,
    name: Text,
    meaning: Text,
    numerator: Text,
    denominator: Text = _OPENING_MRR,
    *,
    direction: Direction,
    unit: Unit = "rate",
    section: str = "4",
    null_rule: Text = NO_OPENING_MRR,
    grains: tuple[str, ...] = EVERY_GRAIN,
) -> Kpi:
    ratio = Ratio(numerator, denominator, _ARR, _ARR)
    return Kpi(
        id=kpi_id,
        table=RETENTION,
        column=kpi_id,
        name=name,
        meaning=meaning,
        formula=ratio.formula,
        unit=unit,
        direction=direction,
        section=section,
        null_rule=null_rule,
        grains=grains,
        ratio=ratio,
        rows=REPORTING,
    )


def _cohort_rate(
    column: str, name: Text, meaning: Text, numerator: Text, denominator: Text, unit: Text | None = None
) -> Kpi:
    ratio = Ratio(numerator, denominator, unit, unit)
    return Kpi(
        id=f"cohort_{column}",
        table=COHORTS,
        column=column,
        name=name,
        meaning=meaning,
        formula=ratio.formula,
        unit="rate",
        direction="higher_is_better",
        section="5",
        null_rule=Text(
            "NULL where the cohort is empty at age 0; a cell after `as_of` is absent.",
            "NULL cuando la cohorte está vacía en la edad 0; una celda posterior a `as_of` no aparece.",
            "NULL quando a coorte está vazia na idade 0; uma célula posterior a `as_of` não aparece.",
        ),
        grains=LONG_GRAINS,
        ratio=ratio,
        parts=("age",),
        period="cohort_start",
    )


def _renewal_rate(
    column: str, name: Text, meaning: Text, numerator: Text, denominator: Text, unit: Text | None = None
) -> Kpi:
    ratio = Ratio(numerator, denominator, unit, unit)
    return Kpi(
        id=column,
        table=RENEWALS,
        column=column,
        name=name,
        meaning=meaning,
        formula=ratio.formula,
        unit="rate",
        direction="higher_is_better",
        section="8",
        null_rule=NO_DECISION,
        grains=SPARSE_GRAINS,
        sources=CONTRACT_TERMS,
        ratio=ratio,
        rows=REPORTING,
    )


def _renewal_sum(kpi_id: str, column: str, name: Text, meaning: Text) -> Kpi:
    return Kpi(
        id=kpi_id,
        table=RENEWALS,
        column=column,
        name=name,
        meaning=meaning,
        formula=joined(" / ", f"{column}_minor", _MINOR_UNITS),
        unit="money_per_year",
        direction="neutral",
        section="8",
        null_rule=NO_EVENTS,
        grains=SPARSE_GRAINS,
        sources=CONTRACT_TERMS,
        is_additive=True,
        exact=f"{column}_minor",
        rows=REPORTING,
    )


def _renewal_count(
    kpi_id: str, column: str, name: Text, meaning: Text, formula: Text, *, direction: Direction = "neutral"
) -> Kpi:
    return Kpi(
        id=kpi_id,
        table=RENEWALS,
        column=column,
        name=name,
        meaning=meaning,
        formula=formula,
        unit="count",
        direction=direction,
        section="8",
        null_rule=NO_EVENTS,
        grains=SPARSE_GRAINS,
        sources=CONTRACT_TERMS,
        is_additive=True,
        exact=column,
        rows=REPORTING,
    )


def _survey_score(
    column: str,
    name: Text,
    meaning: Text,
    numerator: Text,
    denominator: Text,
    *,
    scale: int = 1,
    unit: Unit = "rate",
    null_rule: Text = NO_ANSWERS,
) -> Kpi:
    ratio = Ratio(numerator, denominator, adds_up=column != "ces_mean")
    return Kpi(
        id=column,
        table=SURVEY_SCORES,
        column=column,
        name=name,
        meaning=meaning,
        formula=joined(" x ", ratio.formula, str(scale)) if scale != 1 else ratio.formula,
        unit=unit,
        direction="higher_is_better",
        section="9",
        null_rule=null_rule,
        grains=SPARSE_GRAINS,
        sources=SURVEYS,
        ratio=ratio,
        scale=scale,
        rows={"instrument": column.split("_", maxsplit=1)[0], "survey_id": "all"},
    )


def _nps_interval(
    column: str, name: Text, meaning: Text, formula: Text, *, direction: Direction = "higher_is_better"
) -> Kpi:
    return Kpi(
        id=column,
        table=SURVEY_SCORES,
        column=column,
        name=name,
        meaning=meaning,
        formula=formula,
        unit="points",
        direction=direction,
        section="9",
        null_rule=NO_ANSWERS,
        grains=SPARSE_GRAINS,
        sources=SURVEYS,
        rows={"instrument": "nps", "survey_id": "all"},
    )


def _answer_count(kpi_id: str, column: str, name: Text, meaning: Text, formula: Text) -> Kpi:
    return Kpi(
        id=kpi_id,
        table=SURVEY_SCORES,
        column=column,
        name=name,
        meaning=meaning,
        formula=formula,
        unit="count",
        direction="neutral",
        section="9",
        null_rule=NO_EVENTS,
        grains=SPARSE_GRAINS,
        sources=SURVEYS,
        is_additive=True,
        exact=column,
        rows={"survey_id": "all"},
        parts=("instrument",),
    )


def _engagement(
    kpi_id: str,
    table: str,
    name: Text,
    meaning: Text,
    *,
    section: str,
    sources: tuple[str, ...],
    null_rule: Text,
    column: str | None = None,
    ratio: Ratio | None = None,
    formula: Text | None = None,
    unit: Unit = "rate",
    direction: Direction = "higher_is_better",
    rows: Mapping[str, str] = EVERY_ROW,
    parts: tuple[str, ...] = (),
) -> Kpi:
    """A KPI of support, adoption or onboarding: a rate, a duration by its formula, or a count that adds up."""
    column = column or kpi_id
    is_count = ratio is None and unit == "count"
    reckoned = ratio.formula if ratio else formula
    assert reckoned
    return Kpi(
        id=kpi_id,
        table=table,
        column=column,
        name=name,
        meaning=meaning,
        formula=reckoned,
        unit=unit,
        direction=direction,
        section=section,
        null_rule=null_rule,
        grains=SPARSE_GRAINS,
        sources=sources,
        is_additive=is_count,
        ratio=ratio,
        exact=column if is_count else None,
        rows=rows,
        parts=parts,
    )


def _money_sum(
    kpi_id: str,
    table: str,
    column: str,
    name: Text,
    meaning: Text,
    *,
    direction: Direction,
    section: str,
    grains: tuple[str, ...],
    sources: tuple[str, ...],
    rows: Mapping[str, str] = EVERY_ROW,
) -> Kpi:
    return Kpi(
        id=kpi_id,
        table=table,
        column=column,
        name=name,
        meaning=meaning,
        formula=joined(" / ", f"{column}_minor", _MINOR_UNITS),
        unit="money",
        direction=direction,
        section=section,
        null_rule=NO_EVENTS,
        grains=grains,
        sources=sources,
        is_additive=True,
        exact=f"{column}_minor",
        rows=rows,
    )


def _cost_rate(
    column: str,
    table: str,
    name: Text,
    meaning: Text,
    numerator: Text,
    denominator: Text,
    null_rule: Text,
    numerator_unit: Text = _AMOUNT,
) -> Kpi:
    ratio = Ratio(numerator, denominator, numerator_unit, adds_up=False)
    return Kpi(
        id=column,
        table=table,
        column=column,
        name=name,
        meaning=meaning,
        formula=joined(" / ", ratio.formula, _MINOR_UNITS),
        unit="money",
        direction="lower_is_better",
        section="7",
        null_rule=null_rule,
        grains=LONG_GRAINS,
        sources=(*COSTS, *BILLING[:3]),
        ratio=ratio,
    )


def _lifetime_value(
    column: str,
    name: Text,
    meaning: Text,
    formula: Text,
    *,
    sources: tuple[str, ...],
    null_rule: Text = NO_CHURN,
    unit: Unit = "money",
    direction: Direction = "higher_is_better",
    needs: tuple[str, ...] = (),
) -> Kpi:
    return Kpi(
        id=column,
        table=CLV,
        column=column,
        name=name,
        meaning=meaning,
        formula=formula,
        unit=unit,
        direction=direction,
        section="6",
        null_rule=null_rule,
        grains=("month",),
        sources=sources,
        needs=needs,
    )


def _survival(
    column: str,
    table: str,
    name: Text,
    meaning: Text,
    formula: Text,
    null_rule: Text,
    unit: Unit = "rate",
) -> Kpi:
    return Kpi(
        id=column,
        table=table,
        column=column,
        name=name,
        meaning=meaning,
        formula=formula,
        unit=unit,
        direction="higher_is_better",
        section="6",
        null_rule=null_rule,
        grains=("month",),
        parts=("age",) if table == SURVIVAL_CURVE else (),
        is_snapshot=True,
    )


def _churn_share(
    column: str,
    name: Text,
    meaning: Text,
    numerator: Text,
    denominator: Text,
    *,
    null_rule: Text,
    unit: Text | None = None,
) -> Kpi:
    rows = ALL_REASONS if column.startswith("involuntary") else EVERY_ROW
    ratio = Ratio(numerator, denominator, unit, unit, adds_up=bool(rows))
    return Kpi(
        id=column,
        table=CHURN_REASONS,
        column=column,
        name=name,
        meaning=meaning,
        formula=ratio.formula,
        unit="rate",
        direction="neutral",
        section="15",
        null_rule=null_rule,
        grains=SPARSE_GRAINS,
        sources=LOSSES,
        ratio=ratio,
        rows=rows,
        parts=() if rows else BY_REASON,
    )


def _churn_sum(kpi_id: str, column: str, name: Text, meaning: Text, formula: Text) -> Kpi:
    rows = ALL_REASONS if column == "unmapped_customers" else EVERY_ROW
    is_money = column == "arr"
    return Kpi(
        id=kpi_id,
        table=CHURN_REASONS,
        column=column,
        name=name,
        meaning=meaning,
        formula=formula,
        unit="money_per_year" if is_money else "count",
        direction="lower_is_better",
        section="15",
        null_rule=NO_EVENTS,
        grains=SPARSE_GRAINS,
        sources=LOSSES,
        is_additive=True,
        exact="arr_minor" if is_money else column,
        rows=rows,
        parts=() if rows else BY_REASON,
    )


def _recovery_rate(
    column: str,
    name: Text,
    meaning: Text,
    numerator: Text,
    denominator: Text,
    *,
    null_rule: Text,
    unit: Text | None = None,
) -> Kpi:
    ratio = Ratio(numerator, denominator, unit, unit)
    return Kpi(
        id=column,
        table=DUNNING,
        column=column,
        name=name,
        meaning=meaning,
        formula=ratio.formula,
        unit="rate",
        direction="higher_is_better",
        section="15",
        null_rule=null_rule,
        grains=SPARSE_GRAINS,
        sources=PAYMENTS,
        ratio=ratio,
        rows=ALL_PAYMENTS,
    )


def _dunning_sum(kpi_id: str, column: str, name: Text, meaning: Text, formula: Text, *, unit: Unit = "count") -> Kpi:
    exact = {"failed_amount": "failed_amount_minor", "revenue_at_risk": "revenue_at_risk_arr_minor"}.get(column, column)
    return Kpi(
        id=kpi_id,
        table=DUNNING,
        column=column,
        name=name,
        meaning=meaning,
        formula=formula,
        unit=unit,
        direction="lower_is_better",
        section="15",
        null_rule=NO_EVENTS,
        grains=SPARSE_GRAINS,
        sources=PAYMENTS if column != "revenue_at_risk" else (*PAYMENTS, *BILLING[:-1]),
        is_additive=True,
        exact=exact,
        rows=ALL_PAYMENTS,
    )


def _health(
    kpi_id: str,
    column: str,
    name: Text,
    meaning: Text,
    *,
    unit: Unit,
    direction: Direction,
    table: str = HEALTH,
    ratio: Ratio | None = None,
    null_rule: Text = NO_EVENTS,
    rows: Mapping[str, str] = EVERY_ROW,
    parts: tuple[str, ...] = (),
) -> Kpi:
    return Kpi(
        id=kpi_id,
        table=table,
        column=column,
        name=name,
        meaning=meaning,
        formula=ratio.formula if ratio else _BY_BAND,
        unit=unit,
        direction=direction,
        section="10",
        null_rule=null_rule,
        grains=LONG_GRAINS,
        sources=SIGNS,
        is_additive=ratio is None,
        ratio=ratio,
        exact=None if ratio else column,
        rows=rows,
        parts=parts,
    )


_HEALTH_COUNTS: list[tuple[str, Text, Text, Direction]] = [
    (
        "red",
        Text("Customers with red health", "Clientes con salud en rojo", "Clientes com saúde vermelha"),
        Text(
            "Customers at the end of the period whose health score is in the red band.",
            "Clientes al cierre del período cuya puntuación de salud está en la banda roja.",
            "Clientes no fim do período cuja pontuação de saúde está na faixa vermelha.",
        ),
        "lower_is_better",
    ),
    (
        "yellow",
        Text("Customers with yellow health", "Clientes con salud en amarillo", "Clientes com saúde amarela"),
        Text(
            "Customers at the end of the period whose health score is in the yellow band.",
            "Clientes al cierre del período cuya puntuación de salud está en la banda amarilla.",
            "Clientes no fim do período cuja pontuação de saúde está na faixa amarela.",
        ),
        "neutral",
    ),
    (
        "green",
        Text("Customers with green health", "Clientes con salud en verde", "Clientes com saúde verde"),
        Text(
            "Customers at the end of the period whose health score is in the green band.",
            "Clientes al cierre del período cuya puntuación de salud está en la banda verde.",
            "Clientes no fim do período cuja pontuação de saúde está na faixa verde.",
        ),
        "higher_is_better",
    ),
    (
        "insufficient_data",
        Text("Customers without a health score", "Clientes sin puntuación de salud", "Clientes sem pontuação de saúde"),
        Text(
            "Customers at the end of the period of whom too little is known for a health score.",
            "Clientes al cierre del período de quienes se sabe demasiado poco para una puntuación de salud.",
            "Clientes no fim do período de quem se sabe pouco demais para uma pontuação de saúde.",
        ),
        "lower_is_better",
    ),
]

_RECURRING_REVENUE = [
    _mrr(
        "mrr_net",
        Text(
            "Monthly recurring revenue (MRR)", "Ingresos recurrentes mensuales (MRR)", "Receita recorrente mensal (MRR)"
        ),
        Text(
            "Value per month of all contracts in force at the end of the period, after recurring discounts.",
            "Valor mensual de todos los contratos vigentes al cierre del período, después de descuentos recurrentes.",
            "Valor mensal de todos os contratos vigentes no fim do período, já com os descontos recorrentes.",
        ),
        exact="arr_minor",
    ),
    Kpi(
        id="arr",
        table=REVENUE,
        column="arr",
        name=Text(
            "Annual recurring revenue (ARR)", "Ingresos recurrentes anuales (ARR)", "Receita recorrente anual (ARR)"
        ),
        meaning=Text(
            "Value per year of all contracts in force at the end of the period: 12 times MRR, exactly.",
            "Valor anual de todos los contratos vigentes al cierre del período: exactamente 12 veces el MRR.",
            "Valor anual de todos os contratos vigentes no fim do período: exatamente 12 vezes o MRR.",
        ),
        formula=joined(" / ", "arr_minor", _MINOR_UNITS),
        unit="money_per_year",
        direction="higher_is_better",
        section="0, 2",
        null_rule=NO_EVENTS,
        is_additive=True,
        exact="arr_minor",
        rows=REPORTING,
    ),
    _mrr(
        "mrr_list",
        Text("MRR at list price", "MRR a precio de lista", "MRR a preço de tabela"),
        Text(
            "MRR at contract prices, before discounts.",
            "MRR a los precios del contrato, antes de descuentos.",
            "MRR aos preços de contrato, antes dos descontos.",
        ),
        exact="arr_list_minor",
        direction="neutral",
    ),
    _mrr(
        "mrr_committed",
        Text("Committed MRR", "MRR comprometido", "MRR comprometido"),
        Text(
            "MRR less all that is already scheduled to end or shrink.",
            "MRR menos todo lo que ya tiene programada su baja o su reducción.",
            "MRR menos tudo o que já está programado para terminar ou diminuir.",
        ),
        exact="arr_committed_minor",
    ),
    _mrr(
        "mrr_past_due",
        Text("Past-due MRR", "MRR con pagos vencidos", "MRR em atraso"),
        Text(
            "MRR of subscriptions whose payment is overdue, within the grace period; it is part of MRR.",
            "MRR de suscripciones con pagos vencidos, dentro del plazo de gracia; forma parte del MRR.",
            "MRR de assinaturas com pagamento em atraso, dentro da carência; faz parte do MRR.",
        ),
        exact="arr_past_due_minor",
        direction="lower_is_better",
    ),
    _mrr(
        "mrr_renewal_grace",
        Text("MRR awaiting renewal", "MRR pendiente de renovación", "MRR à espera de renovação"),
        Text(
            "MRR of terms that have ended without a renewal decision, within the grace period; it is part of MRR.",
            "MRR de contratos vencidos sin decisión de renovación, dentro del plazo de gracia; forma parte del MRR.",
            "MRR de contratos vencidos sem decisão de renovação, dentro da carência; faz parte do MRR.",
        ),
        exact="arr_renewal_grace_minor",
        direction="neutral",
    ),
    Kpi(
        id="paying_customers",
        table=REVENUE,
        column="paying_customers",
        name=Text("Paying customers", "Clientes de pago", "Clientes pagantes"),
        meaning=Text(
            "Accounts with MRR above 0 at the end of the period.",
            "Cuentas con MRR mayor que 0 al cierre del período.",
            "Contas com MRR acima de 0 no fim do período.",
        ),
        formula=Text(
            "accounts with closing MRR > 0 (in the row's currency; not to be added over currencies)",
            "cuentas con MRR final > 0 (en la moneda de la fila; no se suman entre monedas)",
            "contas com MRR final > 0 (na moeda da linha; não se somam entre moedas)",
        ),
        unit="count",
        direction="higher_is_better",
        section="1",
        null_rule=NO_EVENTS,
        is_additive=True,
        exact="paying_customers",
        rows=REPORTING,
    ),
    Kpi(
        id="arpa",
        table=REVENUE,
        column="arpa",
        name=Text(
            "Average revenue per account (ARPA)",
            "Ingreso medio por cuenta (ARPA)",
            "Receita média por conta (ARPA)",
        ),
        meaning=Text(
            "MRR per paying customer at the end of the period.",
            "MRR por cliente de pago al cierre del período.",
            "MRR por cliente pagante no fim do período.",
        ),
        formula=joined(" / ", _CLOSING_ARR, _PAYING_CUSTOMERS, "12", _MINOR_UNITS),
        unit="money_per_month",
        direction="higher_is_better",
        section="6",
        null_rule=Text("NULL where nobody pays.", "NULL cuando nadie paga.", "NULL quando ninguém paga."),
        ratio=Ratio(
            _CLOSING_ARR,
            _PAYING_CUSTOMERS,
            Text(
                "annualised minor units of `currency`",
                "unidades menores anualizadas de `currency`",
                "unidades menores anualizadas de `currency`",
            ),
        ),
        rows=REPORTING,
    ),
]

_MOVEMENTS = [
    _movement(
        "new_mrr",
        Text("New MRR", "MRR nuevo", "Novo MRR"),
        Text(
            "MRR of accounts that pay for the first time.",
            "MRR de cuentas que pagan por primera vez.",
            "MRR de contas que pagam pela primeira vez.",
        ),
        direction="higher_is_better",
    ),
    _movement(
        "expansion_mrr",
        Text("Expansion MRR", "MRR de expansión", "MRR de expansão"),
        Text(
            "MRR that paying accounts added: seats, prices, plans, products, ended discounts.",
            "MRR que añadieron las cuentas que ya pagaban: puestos, precios, planes, productos o fin de descuentos.",
            "MRR que as contas já pagantes acrescentaram: licenças, preços, planos, produtos ou fim de descontos.",
        ),
        direction="higher_is_better",
    ),
    _movement(
        "contraction_mrr",
        Text("Contraction MRR", "MRR de contracción", "MRR de contração"),
        Text(
            "MRR that accounts gave up while they went on paying.",
            "MRR que redujeron las cuentas que siguen pagando.",
            "MRR que as contas reduziram sem deixar de pagar.",
        ),
        direction="lower_is_better",
    ),
    _movement(
        "churn_mrr",
        Text("Churned MRR", "MRR perdido por cancelaciones", "MRR perdido por cancelamento (churn)"),
        Text(
            "MRR of accounts that stopped paying altogether.",
            "MRR de las cuentas que dejaron de pagar por completo.",
            "MRR das contas que deixaram de pagar por completo.",
        ),
        direction="lower_is_better",
    ),
    _movement(
        "reactivation_mrr",
        Text("Reactivation MRR", "MRR de reactivación", "MRR de reativação"),
        Text(
            "MRR of accounts that pay again after they had stopped.",
            "MRR de cuentas que vuelven a pagar después de haber dejado de hacerlo.",
            "MRR de contas que voltam a pagar depois de terem parado.",
        ),
        direction="higher_is_better",
    ),
    _movement(
        "fx_impact_mrr",
        Text("Exchange-rate effect on MRR", "Efecto del tipo de cambio en el MRR", "Efeito cambial no MRR"),
        Text(
            "Change of the opening MRR in the reporting currency that comes from exchange rates alone.",
            "Variación del MRR inicial en la moneda de presentación debida únicamente al tipo de cambio.",
            "Variação do MRR inicial na moeda de apresentação causada apenas pelo câmbio.",
        ),
        direction="neutral",
    ),
]

_CUSTOMER_COUNTS = [
    _customer_count(
        "customers",
        "closing_customers",
        Text("Customers", "Clientes", "Clientes"),
        Text(
            "Accounts that are customers at the end of the period: paying, paused within the limit, temporarily free.",
            "Cuentas que son clientes al cierre del período: de pago, en pausa dentro del límite "
            "o gratis temporalmente.",
            "Contas que são clientes no fim do período: pagantes, em pausa dentro do limite "
            "ou temporariamente gratuitas.",
        ),
        symbols("E = S - C + N + R"),
        direction="higher_is_better",
    ),
    _customer_count(
        "new_customers",
        "customers_new",
        Text("New customers", "Clientes nuevos", "Novos clientes"),
        Text(
            "Customers at the end of the period that became customers in it for the first time.",
            "Clientes al cierre del período que lo fueron por primera vez durante el período.",
            "Clientes no fim do período que se tornaram clientes nele pela primeira vez.",
        ),
        symbols("N"),
        direction="higher_is_better",
    ),
    _customer_count(
        "returned_customers",
        "customers_returned",
        Text("Returned customers", "Clientes recuperados", "Clientes recuperados"),
        Text(
            "Customers at the end of the period that had left before it and came back in it.",
            "Clientes al cierre del período que se habían ido antes y volvieron durante el período.",
            "Clientes no fim do período que haviam saído antes e voltaram durante o período.",
        ),
        symbols("R"),
        direction="higher_is_better",
    ),
    _customer_count(
        "lost_customers",
        "customers_lost",
        Text("Lost customers", "Clientes perdidos", "Clientes perdidos"),
        Text(
            "Customers at the start of the period that are no longer customers at its end.",
            "Clientes al inicio del período que ya no lo son al cierre.",
            "Clientes no início do período que já não o são no fim.",
        ),
        symbols("C"),
        direction="lower_is_better",
    ),
]

_RETENTION = [
    _customer_rate(
        "customer_churn_rate",
        Text("Customer churn rate", "Tasa de cancelación de clientes", "Taxa de cancelamento de clientes (churn)"),
        Text(
            "Share of the customers at the start of the period that are no longer customers at its end.",
            "Porcentaje de los clientes al inicio del período que se habían perdido al cierre.",
            "Percentual dos clientes do início do período perdidos até o fim dele.",
        ),
        _CUSTOMERS_LOST,
        _CUSTOMERS_AT_START,
        direction="lower_is_better",
    ),
    _customer_rate(
        "customer_churn_rate_voluntary",
        Text(
            "Voluntary customer churn rate",
            "Tasa de cancelación voluntaria de clientes",
            "Taxa de cancelamento voluntário de clientes",
        ),
        Text(
            "Share of the customers at the start that left of their own will.",
            "Porcentaje de los clientes al inicio que se fueron por decisión propia.",
            "Percentual dos clientes do início que saíram por decisão própria.",
        ),
        Text(
            "customers lost, voluntary",
            "clientes perdidos, cancelación voluntaria",
            "clientes perdidos, cancelamento voluntário",
        ),
        _CUSTOMERS_AT_START,
        direction="lower_is_better",
        section="4, 15",
    ),
    _customer_rate(
        "customer_churn_rate_involuntary",
        Text(
            "Involuntary customer churn rate",
            "Tasa de cancelación involuntaria de clientes",
            "Taxa de cancelamento involuntário de clientes",
        ),
        Text(
            "Share of the customers at the start that were lost because a payment failed.",
            "Porcentaje de los clientes al inicio que se perdieron por fallos en el pago.",
            "Percentual dos clientes do início perdidos por falha de pagamento.",
        ),
        Text(
            "customers lost, involuntary",
            "clientes perdidos, cancelación involuntaria",
            "clientes perdidos, cancelamento involuntário",
        ),
        _CUSTOMERS_AT_START,
        direction="lower_is_better",
        section="4, 15",
    ),
    _customer_rate(
        "customer_churn_rate_unknown",
        Text(
            "Customer churn rate, reason unknown",
            "Tasa de cancelación de clientes por motivo desconocido",
            "Taxa de cancelamento de clientes por motivo desconhecido",
        ),
        Text(
            "Share of the customers at the start that were lost for a reason that is not known.",
            "Porcentaje de los clientes al inicio que se perdieron sin que conste el motivo.",
            "Percentual dos clientes do início perdidos sem motivo registrado.",
        ),
        Text(
            "customers lost, reason unknown",
            "clientes perdidos, motivo desconocido",
            "clientes perdidos, motivo desconhecido",
        ),
        _CUSTOMERS_AT_START,
        direction="lower_is_better",
        section="4, 15",
    ),
    _customer_rate(
        "customer_churn_rate_incl_intraperiod",
        Text(
            "Customer churn rate incl. customers won and lost in the period",
            "Tasa de cancelación con los clientes captados y perdidos en el período",
            "Taxa de cancelamento com os clientes conquistados e perdidos no período",
        ),
        Text(
            "Customer churn rate that also counts those who came and left within the period.",
            "Tasa de cancelación que también cuenta a quienes llegaron y se fueron dentro del mismo período.",
            "Taxa de cancelamento que conta também quem entrou e saiu dentro do mesmo período.",
        ),
        Text(
            "customers lost + won and lost within the period",
            "clientes perdidos + captados y perdidos dentro del período",
            "clientes perdidos + conquistados e perdidos dentro do período",
        ),
        Text(
            "customers at the start + won and lost within the period",
            "clientes al inicio + captados y perdidos dentro del período",
            "clientes no início + conquistados e perdidos dentro do período",
        ),
        direction="lower_is_better",
    ),
    _customer_rate(
        "customer_retention_rate",
        Text(
            "Customer retention rate (CRR)",
            "Tasa de retención de clientes (CRR)",
            "Taxa de retenção de clientes (CRR)",
        ),
        Text(
            "Share of the customers at the start of the period that are still customers at its end.",
            "Porcentaje de los clientes al inicio del período que lo siguen siendo al cierre.",
            "Percentual dos clientes do início do período que continuam clientes no fim.",
        ),
        Text(
            "customers at the end - new - returned",
            "clientes al cierre - nuevos - recuperados",
            "clientes no fim - novos - recuperados",
        ),
        _CUSTOMERS_AT_START,
        direction="higher_is_better",
    ),
    _revenue_rate(
        "revenue_churn_rate",
        Text(
            "Revenue churn rate",
            "Tasa de pérdida de ingresos por cancelación",
            "Taxa de perda de receita por cancelamento",
        ),
        Text(
            "Share of the opening MRR that was lost with accounts that stopped paying.",
            "Porcentaje del MRR inicial perdido con las cuentas que dejaron de pagar.",
            "Percentual do MRR inicial perdido com as contas que deixaram de pagar.",
        ),
        Text("churn", "cancelaciones", "cancelamento"),
        direction="lower_is_better",
    ),
    _revenue_rate(
        "revenue_churn_rate_voluntary",
        Text(
            "Voluntary revenue churn rate",
            "Tasa de pérdida de ingresos por cancelación voluntaria",
            "Taxa de perda de receita por cancelamento voluntário",
        ),
        Text(
            "Share of the opening MRR lost with customers that left of their own will.",
            "Porcentaje del MRR inicial perdido con clientes que se fueron por decisión propia.",
            "Percentual do MRR inicial perdido com clientes que saíram por decisão própria.",
        ),
        Text(
            "churn of lost customers, voluntary",
            "cancelaciones de clientes perdidos, voluntarias",
            "cancelamento de clientes perdidos, voluntário",
        ),
        direction="lower_is_better",
        section="4, 15",
    ),
    _revenue_rate(
        "revenue_churn_rate_involuntary",
        Text(
            "Involuntary revenue churn rate",
            "Tasa de pérdida de ingresos por cancelación involuntaria",
            "Taxa de perda de receita por cancelamento involuntário",
        ),
        Text(
            "Share of the opening MRR lost with customers whose payment failed.",
            "Porcentaje del MRR inicial perdido con clientes cuyo pago falló.",
            "Percentual do MRR inicial perdido com clientes cujo pagamento falhou.",
        ),
        Text(
            "churn of lost customers, involuntary",
            "cancelaciones de clientes perdidos, involuntarias",
            "cancelamento de clientes perdidos, involuntário",
        ),
        direction="lower_is_better",
        section="4, 15",
    ),
    _revenue_rate(
        "revenue_churn_rate_unknown",
        Text(
            "Revenue churn rate, reason unknown",
            "Tasa de pérdida de ingresos por motivo desconocido",
            "Taxa de perda de receita por motivo desconhecido",
        ),
        Text(
            "Share of the opening MRR lost with customers whose reason is not known.",
            "Porcentaje del MRR inicial perdido con clientes cuyo motivo no consta.",
            "Percentual do MRR inicial perdido com clientes sem motivo registrado.",
        ),
        Text(
            "churn of lost customers, reason unknown",
            "cancelaciones de clientes perdidos, motivo desconocido",
            "cancelamento de clientes perdidos, motivo desconhecido",
        ),
        direction="lower_is_better",
        section="4, 15",
    ),
    _revenue_rate(
        "gross_revenue_churn_rate",
        Text("Gross revenue churn rate", "Tasa bruta de pérdida de ingresos", "Taxa bruta de perda de receita"),
        Text(
            "Share of the opening MRR that was lost by churn and contraction.",
            "Porcentaje del MRR inicial perdido por cancelaciones y contracciones.",
            "Percentual do MRR inicial perdido por cancelamento e contração.",
        ),
        Text("churn + contraction", "cancelaciones + contracciones", "cancelamento + contração"),
        direction="lower_is_better",
    ),
    _revenue_rate(
        "net_revenue_churn_rate",
        Text("Net revenue churn rate", "Tasa neta de pérdida de ingresos", "Taxa líquida de perda de receita"),
        Text(
            "Churn and contraction less expansion, as a share of the opening MRR; negative where expansion is larger.",
            "Cancelaciones y contracciones menos expansión, sobre el MRR inicial; negativa si la expansión es mayor.",
            "Cancelamento e contração menos expansão, sobre o MRR inicial; negativa se a expansão for maior.",
        ),
        Text(
            "churn + contraction - expansion",
            "cancelaciones + contracciones - expansión",
            "cancelamento + contração - expansão",
        ),
        direction="lower_is_better",
    ),
    _revenue_rate(
        "gross_revenue_retention",
        Text(
            "Gross revenue retention (GRR)",
            "Retención bruta de ingresos (GRR)",
            "Retenção bruta de receita (GRR)",
        ),
        Text(
            "Share of the opening MRR that is kept, without counting any expansion.",
            "Porcentaje del MRR inicial que se conserva, sin contar ninguna expansión.",
            "Percentual do MRR inicial que se mantém, sem contar nenhuma expansão.",
        ),
        Text(
            "sum over accounts of min(opening, closing)",
            "suma sobre las cuentas de min(MRR inicial, MRR final)",
            "soma sobre as contas de min(MRR inicial, MRR final)",
        ),
        direction="higher_is_better",
    ),
    _revenue_rate(
        "net_revenue_retention",
        Text("Net revenue retention (NRR)", "Retención neta de ingresos (NRR)", "Retenção líquida de receita (NRR)"),
        Text(
            "What the accounts that paid at the start pay at the end, as a share of what they paid at the start.",
            "Lo que pagan al cierre las cuentas que pagaban al inicio, sobre lo que pagaban entonces.",
            "O que as contas que pagavam no início pagam no fim, em relação ao que pagavam.",
        ),
        Text(
            "closing of accounts with opening > 0",
            "MRR final de las cuentas con MRR inicial > 0",
            "MRR final das contas com MRR inicial > 0",
        ),
        direction="higher_is_better",
    ),
    _revenue_rate(
        "nrr_12m",
        Text(
            "Net revenue retention over 12 months",
            "Retención neta de ingresos a 12 meses",
            "Retenção líquida de receita em 12 meses",
        ),
        Text(
            "What the accounts that paid 12 months earlier pay now, as a share of what they paid then.",
            "Lo que pagan hoy las cuentas que pagaban hace 12 meses, sobre lo que pagaban entonces.",
            "O que as contas que pagavam há 12 meses pagam hoje, em relação ao que pagavam.",
        ),
        Text(
            "MRR now of the accounts that paid 12 months earlier",
            "MRR actual de las cuentas que pagaban hace 12 meses",
            "MRR atual das contas que pagavam há 12 meses",
        ),
        _MRR_THEN,
        direction="higher_is_better",
        null_rule=NO_MRR_THEN,
        grains=LONG_GRAINS,
    ),
    _revenue_rate(
        "grr_12m",
        Text(
            "Gross revenue retention over 12 months",
            "Retención bruta de ingresos a 12 meses",
            "Retenção bruta de receita em 12 meses",
        ),
        Text(
            "Share of the MRR of 12 months earlier that is kept, without counting any expansion.",
            "Porcentaje del MRR de hace 12 meses que se conserva, sin contar ninguna expansión.",
            "Percentual do MRR de há 12 meses que se mantém, sem contar nenhuma expansão.",
        ),
        Text(
            "sum over accounts of min(MRR 12 months earlier, MRR now)",
            "suma sobre las cuentas de min(MRR de hace 12 meses, MRR actual)",
            "soma sobre as contas de min(MRR de há 12 meses, MRR atual)",
        ),
        _MRR_THEN,
        direction="higher_is_better",
        null_rule=NO_MRR_THEN,
        grains=LONG_GRAINS,
    ),
    _revenue_rate(
        "quick_ratio",
        Text("Quick ratio", "Quick ratio (MRR ganado frente a perdido)", "Quick ratio (MRR ganho sobre MRR perdido)"),
        Text(
            "MRR gained for each unit of MRR lost.",
            "MRR ganado por cada unidad de MRR perdida.",
            "MRR ganho para cada unidade de MRR perdida.",
        ),
        Text(
            "new + expansion + reactivation", "MRR nuevo + expansión + reactivación", "novo MRR + expansão + reativação"
        ),
        Text("contraction + churn", "contracciones + cancelaciones", "contração + cancelamento"),
        direction="higher_is_better",
        unit="ratio",
        null_rule=Text(
            "NULL where nothing was lost.", "NULL cuando no se perdió nada.", "NULL quando nada foi perdido."
        ),
    ),
    _revenue_rate(
        "expansion_rate",
        Text("Expansion rate", "Tasa de expansión", "Taxa de expansão"),
        Text(
            "Expansion as a share of the opening MRR.",
            "Expansión como porcentaje del MRR inicial.",
            "Expansão como percentual do MRR inicial.",
        ),
        Text("expansion", "expansión", "expansão"),
        direction="higher_is_better",
    ),
    _revenue_rate(
        "reactivation_rate",
        Text("Reactivation rate", "Tasa de reactivación", "Taxa de reativação"),
        Text(
            "Reactivation as a share of the opening MRR.",
            "Reactivación como porcentaje del MRR inicial.",
            "Reativação como percentual do MRR inicial.",
        ),
        Text("reactivation", "reactivación", "reativação"),
        direction="higher_is_better",
    ),
]

_COHORTS = [
    _cohort_rate(
        "customer_retention",
        Text("Customer retention by cohort", "Retención de clientes por cohorte", "Retenção de clientes por coorte"),
        Text(
            "Share of a cohort's customers at age 0 that are customers at this age.",
            "Porcentaje de los clientes de la cohorte en la edad 0 que lo son a esta edad.",
            "Percentual dos clientes da coorte na idade 0 que são clientes nesta idade.",
        ),
        Text(
            "customers of the cohort at this age",
            "clientes de la cohorte a esta edad",
            "clientes da coorte nesta idade",
        ),
        Text(
            "customers of the cohort at age 0", "clientes de la cohorte en la edad 0", "clientes da coorte na idade 0"
        ),
    ),
    _cohort_rate(
        "net_revenue_retention",
        Text(
            "Net revenue retention by cohort",
            "Retención neta de ingresos por cohorte",
            "Retenção líquida de receita por coorte",
        ),
        Text(
            "MRR of a cohort at this age as a share of its MRR at age 0.",
            "MRR de la cohorte a esta edad como porcentaje de su MRR en la edad 0.",
            "MRR da coorte nesta idade como percentual do seu MRR na idade 0.",
        ),
        Text("MRR of the cohort at this age", "MRR de la cohorte a esta edad", "MRR da coorte nesta idade"),
        _MRR_AT_AGE_0,
        _COHORT_ARR,
    ),
    _cohort_rate(
        "gross_revenue_retention",
        Text(
            "Gross revenue retention by cohort",
            "Retención bruta de ingresos por cohorte",
            "Retenção bruta de receita por coorte",
        ),
        Text(
            "Share of a cohort's MRR at age 0 that is kept at this age, without counting any expansion.",
            "Porcentaje del MRR de la cohorte en la edad 0 que conserva a esta edad, sin contar ninguna expansión.",
            "Percentual do MRR da coorte na idade 0 que se mantém nesta idade, sem contar nenhuma expansão.",
        ),
        Text(
            "sum over accounts of min(MRR at age 0, MRR at this age)",
            "suma sobre las cuentas de min(MRR en la edad 0, MRR a esta edad)",
            "soma sobre as contas de min(MRR na idade 0, MRR nesta idade)",
        ),
        _MRR_AT_AGE_0,
        _COHORT_ARR,
    ),
]

_RENEWALS = [
    _renewal_rate(
        "renewal_rate",
        Text("Renewal rate", "Tasa de renovación", "Taxa de renovação"),
        Text(
            "Of the accounts due in the period with a decision, the share that renewed.",
            "De las cuentas con vencimiento en el período y decisión tomada, porcentaje que renovó.",
            "Das contas com vencimento no período e decisão tomada, percentual que renovou.",
        ),
        Text("accounts renewed", "cuentas renovadas", "contas renovadas"),
        Text(
            "accounts renewed + accounts lost",
            "cuentas renovadas + cuentas perdidas",
            "contas renovadas + contas perdidas",
        ),
    ),
    _renewal_rate(
        "renewal_rate_gross",
        Text(
            "Gross revenue renewal rate", "Tasa bruta de renovación de ingresos", "Taxa bruta de renovação de receita"
        ),
        Text(
            "Of the ARR due in the period with a decision, the share that was renewed, without counting any increase.",
            "Del ARR con vencimiento en el período y decisión tomada, porcentaje renovado, sin contar ningún aumento.",
            "Do ARR com vencimento no período e decisão tomada, percentual renovado, sem contar nenhum aumento.",
        ),
        Text(
            "sum over renewed terms of min(old ARR, renewed ARR)",
            "suma sobre los contratos renovados de min(ARR anterior, ARR renovado)",
            "soma sobre os contratos renovados de min(ARR anterior, ARR renovado)",
        ),
        _OLD_ARR,
        _RENEWAL_ARR,
    ),
    _renewal_rate(
        "renewal_rate_net",
        Text("Net revenue renewal rate", "Tasa neta de renovación de ingresos", "Taxa líquida de renovação de receita"),
        Text(
            "Renewed ARR as a share of the old ARR due with a decision; above 100 % where increases exceed losses.",
            "ARR renovado sobre el ARR anterior ya decidido; supera el 100 % si los aumentos exceden las pérdidas.",
            "ARR renovado sobre o ARR anterior já decidido; passa de 100% se os aumentos superarem as perdas.",
        ),
        Text("renewed ARR", "ARR renovado", "ARR renovado"),
        _OLD_ARR,
        _RENEWAL_ARR,
    ),
    _renewal_sum(
        "renewals_due_arr",
        "due_arr",
        Text("ARR due for renewal", "ARR por renovar", "ARR a renovar"),
        Text(
            "ARR of the contract terms that are due in the period.",
            "ARR de los contratos que vencen en el período.",
            "ARR dos contratos que vencem no período.",
        ),
    ),
    _renewal_sum(
        "renewals_open_arr",
        "open_arr",
        Text("ARR of open renewals", "ARR de renovaciones pendientes", "ARR de renovações em aberto"),
        Text(
            "ARR of the terms due in the period without a decision so far; it is outside the rates.",
            "ARR de los contratos vencidos en el período aún sin decisión; no entra en las tasas.",
            "ARR dos contratos com vencimento no período ainda sem decisão; não entra nas taxas.",
        ),
    ),
    _renewal_count(
        "renewals_due",
        "due_count",
        Text("Renewals due", "Renovaciones por decidir", "Renovações a decidir"),
        Text(
            "Contract terms that end in the period, without those cancelled before they are due.",
            "Contratos que vencen en el período, sin los cancelados antes de vencer.",
            "Contratos que vencem no período, sem os cancelados antes de vencer.",
        ),
        Text(
            "terms renewed + terms lost + open terms",
            "contratos renovados + contratos perdidos + contratos pendientes",
            "contratos renovados + contratos perdidos + contratos em aberto",
        ),
    ),
    _renewal_count(
        "renewals_renewed",
        "renewed_count",
        Text("Terms renewed", "Contratos renovados", "Contratos renovados"),
        Text(
            "Terms due in the period that were renewed, be it early, late or for less.",
            "Contratos vencidos en el período que se renovaron, sea antes, después o por menos.",
            "Contratos com vencimento no período que foram renovados, seja antes, depois ou por menos.",
        ),
        Text(
            "terms due that were renewed within the grace",
            "contratos vencidos que se renovaron dentro de la gracia",
            "contratos vencidos que foram renovados dentro da carência",
        ),
        direction="higher_is_better",
    ),
    _renewal_count(
        "renewals_lost",
        "lost_count",
        Text("Terms lost", "Contratos perdidos", "Contratos perdidos"),
        Text(
            "Terms due in the period that were not renewed, with those on which nobody decided within the grace.",
            "Contratos vencidos en el período sin renovar, incluidos los que nadie decidió dentro de la gracia.",
            "Contratos com vencimento no período sem renovação, incluídos os que ninguém decidiu dentro da carência.",
        ),
        Text(
            "terms due that were lost, or without a decision when the grace was over",
            "contratos vencidos que se perdieron o sin decisión al terminar la gracia",
            "contratos vencidos que foram perdidos ou sem decisão quando a carência terminou",
        ),
        direction="lower_is_better",
    ),
    _renewal_count(
        "renewals_open",
        "open_count",
        Text("Open renewals", "Renovaciones pendientes", "Renovações em aberto"),
        Text(
            "Terms due in the period without a decision so far; they are outside the rates.",
            "Contratos vencidos en el período aún sin decisión; no entran en las tasas.",
            "Contratos com vencimento no período ainda sem decisão; não entram nas taxas.",
        ),
        Text(
            "terms due - terms renewed - terms lost",
            "contratos con vencimiento - contratos renovados - contratos perdidos",
            "contratos com vencimento - contratos renovados - contratos perdidos",
        ),
    ),
    _renewal_count(
        "renewals_early",
        "early_count",
        Text("Early renewals", "Renovaciones anticipadas", "Renovações antecipadas"),
        Text(
            "Terms due in the period that were renewed before the day on which they are due.",
            "Contratos vencidos en el período que se renovaron antes del día de su vencimiento.",
            "Contratos com vencimento no período que foram renovados antes do dia do vencimento.",
        ),
        Text(
            "terms renewed that were decided before their end",
            "contratos renovados que se decidieron antes de su fin",
            "contratos renovados que foram decididos antes do seu fim",
        ),
    ),
    _renewal_count(
        "renewals_late",
        "late_count",
        Text("Late renewals", "Renovaciones tardías", "Renovações tardias"),
        Text(
            "Terms due in the period that were renewed after the day on which they are due, within the grace.",
            "Contratos vencidos en el período que se renovaron después de su vencimiento, dentro de la gracia.",
            "Contratos com vencimento no período que foram renovados depois do vencimento, dentro da carência.",
        ),
        Text(
            "terms renewed that were decided after their end",
            "contratos renovados que se decidieron después de su fin",
            "contratos renovados que foram decididos depois do seu fim",
        ),
    ),
    _renewal_count(
        "renewals_partial",
        "partial_count",
        Text("Partial renewals", "Renovaciones parciales", "Renovações parciais"),
        Text(
            "Terms due in the period that were renewed for less than before.",
            "Contratos vencidos en el período que se renovaron por menos que antes.",
            "Contratos com vencimento no período que foram renovados por menos do que antes.",
        ),
        Text(
            "terms renewed with renewed ARR below old ARR",
            "contratos renovados con ARR renovado inferior al ARR anterior",
            "contratos renovados com ARR renovado abaixo do ARR anterior",
        ),
        direction="lower_is_better",
    ),
    _renewal_count(
        "renewals_cancelled_before_due",
        "cancelled_before_due_count",
        Text(
            "Terms cancelled before due", "Contratos cancelados antes de vencer", "Contratos cancelados antes de vencer"
        ),
        Text(
            "Terms that would have been due in the period but were cancelled before; they are no renewals due.",
            "Contratos que habrían vencido en el período, pero se cancelaron antes; no cuentan como vencidos.",
            "Contratos que venceriam no período, mas foram cancelados antes; não contam como vencidos.",
        ),
        Text(
            "terms cancelled before their end",
            "contratos cancelados antes de su fin",
            "contratos cancelados antes do seu fim",
        ),
        direction="lower_is_better",
    ),
]

_SURVEYS = [
    _survey_score(
        "nps",
        Text("Net Promoter Score (NPS)", "Net Promoter Score (NPS)", "Net Promoter Score (NPS)"),
        Text(
            "Share of promoters (9-10) less share of detractors (0-6), from -100 to 100.",
            "Porcentaje de promotores (9-10) menos porcentaje de detractores (0-6), de -100 a 100.",
            "Percentual de promotores (9-10) menos percentual de detratores (0-6), de -100 a 100.",
        ),
        Text("promoters - detractors", "promotores - detractores", "promotores - detratores"),
        Text("NPS answers used", "respuestas NPS utilizadas", "respostas NPS utilizadas"),
        scale=100,
        unit="points",
    ),
    _nps_interval(
        "nps_standard_error",
        Text("Standard error of the NPS", "Error estándar del NPS", "Erro padrão do NPS"),
        Text(
            "How far the NPS may be off because only some people answered, in points.",
            "Cuánto puede desviarse el NPS porque solo algunas personas respondieron, en puntos.",
            "Quanto o NPS pode se desviar porque só algumas pessoas responderam, em pontos.",
        ),
        Text(
            "100 x square root of (((promoters + detractors) / answers - (NPS / 100)^2) / answers)",
            "100 x raíz cuadrada de (((promotores + detractores) / respuestas - (NPS / 100)^2) / respuestas)",
            "100 x raiz quadrada de (((promotores + detratores) / respostas - (NPS / 100)^2) / respostas)",
        ),
        direction="lower_is_better",
    ),
    _nps_interval(
        "nps_ci_low",
        Text(
            "NPS, lower end of the interval",
            "NPS, extremo inferior del intervalo",
            "NPS, extremo inferior do intervalo",
        ),
        Text(
            "Lower end of the interval that holds the true NPS with 95 % confidence.",
            "Extremo inferior del intervalo que contiene el NPS verdadero con una confianza del 95 %.",
            "Extremo inferior do intervalo que contém o NPS verdadeiro com confiança de 95 %.",
        ),
        symbols("`nps` - 1.96 x nps_standard_error"),
    ),
    _nps_interval(
        "nps_ci_high",
        Text(
            "NPS, upper end of the interval",
            "NPS, extremo superior del intervalo",
            "NPS, extremo superior do intervalo",
        ),
        Text(
            "Upper end of the interval that holds the true NPS with 95 % confidence.",
            "Extremo superior del intervalo que contiene el NPS verdadero con una confianza del 95 %.",
            "Extremo superior do intervalo que contém o NPS verdadeiro com confiança de 95 %.",
        ),
        symbols("`nps` + 1.96 x nps_standard_error"),
    ),
    Kpi(
        id="nps_account_weighted",
        table=SURVEY_SCORES,
        column="nps_account_weighted",
        name=Text("NPS weighted by account", "NPS ponderado por cuenta", "NPS ponderado por conta"),
        meaning=Text(
            "NPS in which every account weighs the same, however many of its people answered.",
            "NPS en el que cada cuenta pesa lo mismo, sin importar cuántas personas respondieron.",
            "NPS em que cada conta tem o mesmo peso, não importa quantas pessoas responderam.",
        ),
        formula=Text(
            "mean over accounts of (promoters - detractors) / answers x 100",
            "promedio sobre las cuentas de (promotores - detractores) / respuestas x 100",
            "média sobre as contas de (promotores - detratores) / respostas x 100",
        ),
        unit="points",
        direction="higher_is_better",
        section="9",
        null_rule=NO_ANSWERS,
        grains=SPARSE_GRAINS,
        sources=SURVEYS,
        rows={"instrument": "nps", "survey_id": "all"},
    ),
    _survey_score(
        "csat",
        Text("Customer satisfaction (CSAT)", "Satisfacción del cliente (CSAT)", "Satisfação do cliente (CSAT)"),
        Text(
            "Share of positive answers among all answers, the neutral ones included.",
            "Porcentaje de respuestas positivas sobre el total, incluidas las neutras.",
            "Percentual de respostas positivas sobre o total, incluídas as neutras.",
        ),
        Text("positive answers", "respuestas positivas", "respostas positivas"),
        _CSAT_ANSWERS,
    ),
    _survey_score(
        "csat_top3",
        Text(
            "CSAT with neutral answers as positive",
            "CSAT con las respuestas neutras como positivas",
            "CSAT com as respostas neutras como positivas",
        ),
        Text(
            "Share of positive and neutral answers among all answers.",
            "Porcentaje de respuestas positivas y neutras sobre el total.",
            "Percentual de respostas positivas e neutras sobre o total.",
        ),
        Text("positive and neutral answers", "respuestas positivas y neutras", "respostas positivas e neutras"),
        _CSAT_ANSWERS,
    ),
    _survey_score(
        "ces_mean",
        Text(
            "Customer Effort Score (CES), mean",
            "Puntuación de esfuerzo del cliente (CES), promedio",
            "Pontuação de esforço do cliente (CES), média",
        ),
        Text(
            "Mean answer on ease, in points from 1; higher is easier.",
            "Promedio de las respuestas sobre la facilidad, en puntos desde 1; más alto es más fácil.",
            "Média das respostas sobre a facilidade, em pontos a partir de 1; quanto maior, mais fácil.",
        ),
        Text("sum of points", "suma de puntos", "soma dos pontos"),
        _CES_ANSWERS,
        unit="score",
        null_rule=joined(
            " ",
            NO_ANSWERS,
            Text(
                "Also NULL where scales of 5 and 7 points meet.",
                "También NULL cuando se mezclan escalas de 5 y 7 puntos.",
                "Também NULL quando se misturam escalas de 5 e 7 pontos.",
            ),
        ),
    ),
    _survey_score(
        "ces_low_effort",
        Text("Low-effort share (CES)", "Porcentaje de bajo esfuerzo (CES)", "Percentual de baixo esforço (CES)"),
        Text(
            "Share of answers that say it was easy: 5-7 of 7 points, 4-5 of 5.",
            "Porcentaje de respuestas que dicen que fue fácil: 5-7 de 7 puntos, 4-5 de 5.",
            "Percentual de respostas que dizem que foi fácil: 5-7 de 7 pontos, 4-5 de 5.",
        ),
        Text("answers of low effort", "respuestas de bajo esfuerzo", "respostas de baixo esforço"),
        _CES_ANSWERS,
    ),
    _survey_score(
        "ces_index",
        Text("CES index", "Índice CES", "Índice CES"),
        Text(
            "Share of the easiest answers less share of the hardest, from -100 to 100.",
            "Porcentaje de las respuestas más fáciles menos porcentaje de las más difíciles, de -100 a 100.",
            "Percentual das respostas mais fáceis menos percentual das mais difíceis, de -100 a 100.",
        ),
        Text(
            "easy answers - hard answers",
            "respuestas fáciles - respuestas difíciles",
            "respostas fáceis - respostas difíceis",
        ),
        Text(
            "CES answers used on scales of 5 or 7 points",
            "respuestas CES utilizadas en escalas de 5 o 7 puntos",
            "respostas CES utilizadas em escalas de 5 ou 7 pontos",
        ),
        scale=100,
        unit="points",
    ),
    Kpi(
        id="survey_response_rate",
        table=SURVEY_RESPONSE_RATES,
        column="response_rate",
        name=Text("Survey response rate", "Tasa de respuesta a las encuestas", "Taxa de resposta às pesquisas"),
        meaning=Text(
            "Share of the delivered invitations that were answered.",
            "Porcentaje de las invitaciones entregadas que obtuvieron respuesta.",
            "Percentual dos convites entregues que foram respondidos.",
        ),
        formula=Text(
            "delivered invitations answered / delivered invitations",
            "invitaciones entregadas con respuesta / invitaciones entregadas",
            "convites entregues com resposta / convites entregues",
        ),
        unit="rate",
        direction="higher_is_better",
        section="9",
        null_rule=Text("NULL without delivery data.", "NULL sin datos de entrega.", "NULL sem dados de entrega."),
        grains=SPARSE_GRAINS,
        sources=(*SURVEYS, "survey_invitations"),
        ratio=Ratio(
            Text(
                "delivered invitations answered",
                "invitaciones entregadas con respuesta",
                "convites entregues com resposta",
            ),
            Text("delivered invitations", "invitaciones entregadas", "convites entregues"),
        ),
        rows={"survey_id": "all"},
        parts=("instrument",),
        needs=("survey_invitations",),
    ),
    _answer_count(
        "survey_answers",
        "used",
        Text("Survey answers", "Respuestas de encuestas", "Respostas de pesquisas"),
        Text(
            "Complete answers that count: the last one of each respondent, account, survey and wave.",
            "Respuestas completas que cuentan: la última de cada persona, cuenta, encuesta y oleada.",
            "Respostas completas que contam: a última de cada pessoa, conta, pesquisa e onda.",
        ),
        Text(
            "complete answers - superseded answers",
            "respuestas completas - respuestas reemplazadas",
            "respostas completas - respostas substituídas",
        ),
    ),
    _answer_count(
        "survey_answers_superseded",
        "superseded",
        Text(
            "Superseded survey answers", "Respuestas de encuestas reemplazadas", "Respostas de pesquisas substituídas"
        ),
        Text(
            "Complete answers that a later one of the same respondent, account, survey and wave replaced.",
            "Respuestas completas que otra posterior de la misma persona, cuenta, encuesta y oleada reemplazó.",
            "Respostas completas que outra posterior da mesma pessoa, conta, pesquisa e onda substituiu.",
        ),
        Text(
            "complete answers - answers that count",
            "respuestas completas - respuestas que cuentan",
            "respostas completas - respostas que contam",
        ),
    ),
]

_ONBOARDING = [
    _engagement(
        "time_to_onboard_days",
        ONBOARDING,
        Text("Time to onboard", "Tiempo de incorporación", "Tempo de onboarding"),
        Text(
            "Median days from contract start until onboarding is completed, with accounts still open as censored.",
            "Mediana de días desde el inicio del contrato hasta completar la incorporación, abiertas censuradas.",
            "Mediana de dias do início do contrato até concluir o onboarding, com as contas em aberto como censuradas.",
        ),
        formula=Text(
            "Kaplan-Meier median of onboarding completed - contract start, open accounts censored at as_of",
            "mediana de Kaplan-Meier de incorporación completada - inicio del contrato, cuentas "
            "abiertas censuradas en as_of",
            "mediana de Kaplan-Meier de onboarding concluído - início do contrato, contas em aberto "
            "censuradas em as_of",
        ),
        section="12",
        sources=MILESTONES,
        null_rule=NO_STARTS,
        unit="days",
        direction="lower_is_better",
    ),
    _engagement(
        "time_to_onboard_days_completed_only",
        ONBOARDING,
        Text(
            "Time to onboard, completed only",
            "Tiempo de incorporación, solo completadas",
            "Tempo de onboarding, só concluídos",
        ),
        Text(
            "Median days from contract start until onboarding is completed, of the accounts that completed it.",
            "Mediana de días desde el inicio del contrato hasta completar la incorporación, solo completadas.",
            "Mediana de dias do início do contrato até concluir o onboarding, das contas que o concluíram.",
        ),
        formula=Text(
            "median of onboarding completed - contract start",
            "mediana de incorporación completada - inicio del contrato",
            "mediana de onboarding concluído - início do contrato",
        ),
        section="12",
        sources=MILESTONES,
        null_rule=Text(
            "NULL where no account completed it.",
            "NULL cuando ninguna cuenta la completó.",
            "NULL quando nenhuma conta o concluiu.",
        ),
        unit="days",
        direction="lower_is_better",
    ),
    _engagement(
        "onboarding_open_share",
        ONBOARDING,
        Text("Onboarding still open", "Incorporaciones abiertas", "Onboarding em aberto"),
        Text(
            "Share of the accounts that started in the period whose onboarding is not completed.",
            "Porcentaje de las cuentas que iniciaron en el período cuya incorporación no está completa.",
            "Percentual das contas que iniciaram no período cujo onboarding não está concluído.",
        ),
        ratio=Ratio(
            Text("accounts not onboarded", "cuentas sin incorporación completa", "contas sem onboarding concluído"),
            _ACCOUNTS_STARTED,
        ),
        section="12",
        sources=MILESTONES,
        null_rule=NO_CONTRACTS,
        direction="lower_is_better",
    ),
    _engagement(
        "time_to_value_days",
        ONBOARDING,
        Text("Time to value", "Tiempo hasta el primer valor", "Tempo até o primeiro valor"),
        Text(
            "Median days from contract start to the first value event, with accounts still open as censored.",
            "Mediana de días desde el inicio del contrato hasta el primer valor, con las cuentas abiertas censuradas.",
            "Mediana de dias do início do contrato até o primeiro valor, com as contas em aberto como censuradas.",
        ),
        formula=Text(
            "Kaplan-Meier median of first value event - contract start, open accounts censored at as_of",
            "mediana de Kaplan-Meier de primer valor - inicio del contrato, cuentas abiertas censuradas en as_of",
            "mediana de Kaplan-Meier de primeiro valor - início do contrato, contas em aberto censuradas em as_of",
        ),
        section="12",
        sources=MILESTONES,
        null_rule=NO_STARTS,
        unit="days",
        direction="lower_is_better",
    ),
    _engagement(
        "time_to_value_days_completed_only",
        ONBOARDING,
        Text(
            "Time to value, completed only",
            "Tiempo hasta el primer valor, solo con valor",
            "Tempo até o primeiro valor, só com valor",
        ),
        Text(
            "Median days from contract start to the first value event, of the accounts that have one.",
            "Mediana de días desde el inicio del contrato hasta el primer valor, de las cuentas que lo alcanzaron.",
            "Mediana de dias do início do contrato até o primeiro valor, das contas que o alcançaram.",
        ),
        formula=Text(
            "median of first value event - contract start",
            "mediana de primer valor - inicio del contrato",
            "mediana de primeiro valor - início do contrato",
        ),
        section="12",
        sources=MILESTONES,
        null_rule=Text(
            "NULL where no account has a first value event.",
            "NULL cuando ninguna cuenta alcanzó el primer valor.",
            "NULL quando nenhuma conta alcançou o primeiro valor.",
        ),
        unit="days",
        direction="lower_is_better",
    ),
    _engagement(
        "value_open_share",
        ONBOARDING,
        Text("Accounts without first value", "Cuentas sin primer valor", "Contas sem primeiro valor"),
        Text(
            "Share of the accounts that started in the period without a first value event so far.",
            "Porcentaje de las cuentas que iniciaron en el período y aún no alcanzan el primer valor.",
            "Percentual das contas que iniciaram no período e ainda não alcançaram o primeiro valor.",
        ),
        ratio=Ratio(
            Text("accounts without first value", "cuentas sin primer valor", "contas sem primeiro valor"),
            _ACCOUNTS_STARTED,
        ),
        section="12",
        sources=MILESTONES,
        null_rule=NO_CONTRACTS,
        direction="lower_is_better",
    ),
    _engagement(
        "on_time_milestone_rate",
        ONBOARDING,
        Text("Milestones on time", "Hitos a tiempo", "Marcos no prazo"),
        Text(
            "Share of the onboarding milestones due in the period that were reached by their due day.",
            "Porcentaje de los hitos de incorporación con vencimiento en el período que se alcanzaron a tiempo.",
            "Percentual dos marcos de onboarding com prazo no período que foram alcançados no prazo.",
        ),
        ratio=Ratio(
            Text(
                "milestones reached by their due day",
                "hitos alcanzados hasta su día de vencimiento",
                "marcos alcançados até o dia do prazo",
            ),
            Text("milestones due", "hitos con vencimiento", "marcos com prazo"),
        ),
        section="12",
        sources=("milestones",),
        null_rule=Text(
            "NULL where no milestone was due.",
            "NULL cuando no vencía ningún hito.",
            "NULL quando nenhum marco tinha prazo.",
        ),
    ),
    _engagement(
        "outcome_achieved_rate",
        ONBOARDING,
        Text("Outcomes achieved", "Resultados logrados", "Resultados alcançados"),
        Text(
            "Share of the agreed outcomes due in the period that were achieved, be it late.",
            "Porcentaje de los resultados acordados con fecha en el período que se lograron, aun con retraso.",
            "Percentual dos resultados acordados com data no período que foram alcançados, mesmo com atraso.",
        ),
        ratio=Ratio(
            Text("outcomes achieved", "resultados logrados", "resultados alcançados"),
            Text(
                "agreed outcomes whose date has passed",
                "resultados acordados cuya fecha ya pasó",
                "resultados acordados cuja data já passou",
            ),
        ),
        section="12",
        sources=("outcomes",),
        null_rule=Text(
            "NULL where no outcome was due.",
            "NULL cuando ningún resultado tenía fecha.",
            "NULL quando nenhum resultado tinha data.",
        ),
    ),
]

_SUPPORT = [
    _engagement(
        "tickets_created",
        SUPPORT,
        Text("Tickets created", "Tickets creados", "Tickets criados"),
        Text(
            "Support tickets created in the period, without spam, tests and merged ones.",
            "Tickets de soporte creados en el período, sin spam, pruebas ni fusionados.",
            "Tickets de suporte criados no período, sem spam, testes nem mesclados.",
        ),
        formula=Text(
            "tickets created that are not excluded", "tickets creados no excluidos", "tickets criados não excluídos"
        ),
        section="13",
        sources=TICKETS,
        null_rule=NO_EVENTS,
        unit="count",
        direction="neutral",
    ),
    _engagement(
        "tickets_per_customer",
        SUPPORT,
        Text("Tickets per customer", "Tickets por cliente", "Tickets por cliente"),
        Text(
            "Tickets created in the period per customer, on the average of its days.",
            "Tickets creados en el período por cliente, según el promedio diario de clientes.",
            "Tickets criados no período por cliente, pela média diária de clientes.",
        ),
        ratio=Ratio(
            Text("tickets created x days", "tickets creados x días", "tickets criados x dias"),
            Text(
                "customers at the end of each day, added up",
                "clientes al cierre de cada día, sumados",
                "clientes no fim de cada dia, somados",
            ),
        ),
        section="13",
        sources=(*TICKETS, "subscription_changes"),
        null_rule=Text(
            "NULL where nobody was a customer.", "NULL cuando nadie era cliente.", "NULL quando ninguém era cliente."
        ),
        unit="ratio",
        direction="lower_is_better",
    ),
    _engagement(
        "first_response_minutes",
        SUPPORT,
        Text("Time to first response", "Tiempo de primera respuesta", "Tempo até a primeira resposta"),
        Text(
            "Median minutes from a ticket's creation to the first public reply of an agent.",
            "Mediana de minutos desde la creación del ticket hasta la primera respuesta pública de un agente.",
            "Mediana de minutos da criação do ticket até a primeira resposta pública de um agente.",
        ),
        formula=Text(
            "Kaplan-Meier median of first response - creation, unanswered tickets censored",
            "mediana de Kaplan-Meier de primera respuesta - creación, tickets sin respuesta censurados",
            "mediana de Kaplan-Meier de primeira resposta - criação, tickets sem resposta censurados",
        ),
        section="13",
        sources=ANSWERS,
        null_rule=NO_TICKETS,
        unit="minutes",
        direction="lower_is_better",
    ),
    _engagement(
        "first_response_minutes_p90",
        SUPPORT,
        Text(
            "Time to first response, 90th percentile",
            "Tiempo de primera respuesta, percentil 90",
            "Tempo até a primeira resposta, percentil 90",
        ),
        Text(
            "Minutes within which nine of ten tickets get their first public reply of an agent.",
            "Minutos en los que nueve de cada diez tickets reciben la primera respuesta pública de un agente.",
            "Minutos em que nove de cada dez tickets recebem a primeira resposta pública de um agente.",
        ),
        formula=Text(
            "Kaplan-Meier 90th percentile of first response - creation, unanswered tickets censored",
            "percentil 90 de Kaplan-Meier de primera respuesta - creación, tickets sin respuesta censurados",
            "percentil 90 de Kaplan-Meier de primeira resposta - criação, tickets sem resposta censurados",
        ),
        section="13",
        sources=ANSWERS,
        null_rule=NO_TICKETS,
        unit="minutes",
        direction="lower_is_better",
    ),
    _engagement(
        "first_response_business_minutes",
        SUPPORT,
        Text(
            "Time to first response in support hours",
            "Tiempo de primera respuesta en horario de soporte",
            "Tempo até a primeira resposta em horário de suporte",
        ),
        Text(
            "Median minutes of support hours from a ticket's creation to the first public reply of an agent.",
            "Mediana de minutos de horario de soporte desde la creación hasta la primera respuesta de un agente.",
            "Mediana de minutos de horário de suporte da criação até a primeira resposta pública de um agente.",
        ),
        formula=Text(
            "Kaplan-Meier median of the support hours from creation to first response, unanswered tickets censored",
            "mediana de Kaplan-Meier del horario de soporte desde la creación hasta la primera "
            "respuesta, tickets sin respuesta censurados",
            "mediana de Kaplan-Meier do horário de suporte da criação até a primeira resposta, tickets "
            "sem resposta censurados",
        ),
        section="13",
        sources=ANSWERS,
        null_rule=NO_TICKETS,
        unit="minutes",
        direction="lower_is_better",
    ),
    _engagement(
        "first_response_business_minutes_p90",
        SUPPORT,
        Text(
            "Time to first response in support hours, 90th percentile",
            "Tiempo de primera respuesta en horario de soporte, percentil 90",
            "Tempo até a primeira resposta em horário de suporte, percentil 90",
        ),
        Text(
            "Minutes of support hours within which nine of ten tickets get their first public reply of an agent.",
            "Minutos de horario de soporte en los que nueve de cada diez tickets reciben la primera respuesta.",
            "Minutos de horário de suporte em que nove de cada dez tickets recebem a primeira resposta.",
        ),
        formula=Text(
            "Kaplan-Meier 90th percentile of the support hours from creation to first response",
            "percentil 90 de Kaplan-Meier del horario de soporte desde la creación hasta la primera respuesta",
            "percentil 90 de Kaplan-Meier do horário de suporte da criação até a primeira resposta",
        ),
        section="13",
        sources=ANSWERS,
        null_rule=NO_TICKETS,
        unit="minutes",
        direction="lower_is_better",
    ),
    _engagement(
        "resolution_hours",
        SUPPORT,
        Text("Time to resolution", "Tiempo de resolución", "Tempo de resolução"),
        Text(
            "Median hours from a ticket's creation until it is solved.",
            "Mediana de horas desde la creación del ticket hasta su resolución.",
            "Mediana de horas da criação do ticket até a sua resolução.",
        ),
        formula=Text(
            "Kaplan-Meier median of solved - creation, open tickets censored at as_of",
            "mediana de Kaplan-Meier de resolución - creación, tickets abiertos censurados en as_of",
            "mediana de Kaplan-Meier de resolução - criação, tickets em aberto censurados em as_of",
        ),
        section="13",
        sources=TICKETS,
        null_rule=NO_TICKETS,
        unit="hours",
        direction="lower_is_better",
    ),
    _engagement(
        "support_csat",
        SUPPORT,
        Text("Satisfaction with support", "Satisfacción con el soporte", "Satisfação com o suporte"),
        Text(
            "Share of the rated tickets of the period with 4 or 5 of 5 points.",
            "Porcentaje de los tickets calificados del período con 4 o 5 puntos de 5.",
            "Percentual dos tickets avaliados do período com 4 ou 5 pontos de 5.",
        ),
        ratio=Ratio(
            Text("tickets rated 4 or 5", "tickets calificados con 4 o 5", "tickets avaliados com 4 ou 5"),
            Text("tickets rated", "tickets calificados", "tickets avaliados"),
        ),
        section="13",
        sources=TICKETS,
        null_rule=Text(
            "NULL where no ticket was rated.",
            "NULL cuando no se calificó ningún ticket.",
            "NULL quando nenhum ticket foi avaliado.",
        ),
    ),
    _engagement(
        "tickets_by_type",
        SUPPORT_BY_TYPE,
        Text("Tickets by type", "Tickets por tipo", "Tickets por tipo"),
        Text(
            "Share of each issue type among the tickets of the period; the shares sum to 1.",
            "Porcentaje de cada tipo de problema entre los tickets del período; la suma es 1.",
            "Percentual de cada tipo de problema entre os tickets do período; a soma é 1.",
        ),
        column="ticket_share",
        ratio=Ratio(
            Text("tickets of the type", "tickets del tipo", "tickets do tipo"),
            Text("tickets of all types", "tickets de todos los tipos", "tickets de todos os tipos"),
            adds_up=False,
        ),
        section="13",
        sources=TICKETS,
        null_rule=Text(
            "NULL where no ticket was created.",
            "NULL cuando no se creó ningún ticket.",
            "NULL quando nenhum ticket foi criado.",
        ),
        direction="neutral",
        parts=("ticket_type",),
    ),
    _engagement(
        "resource_rating",
        RESOURCE_RATINGS,
        Text(
            "Rating of educational resources", "Calificación de recursos educativos", "Avaliação de recursos educativos"
        ),
        Text(
            "Mean rating of the educational resources viewed in the period, from 1 to 5.",
            "Calificación media de los recursos educativos vistos en el período, de 1 a 5.",
            "Avaliação média dos recursos educativos vistos no período, de 1 a 5.",
        ),
        ratio=Ratio(
            Text("sum of ratings", "suma de calificaciones", "soma das avaliações"),
            Text("views rated", "vistas calificadas", "visualizações avaliadas"),
        ),
        section="13",
        sources=RATINGS,
        null_rule=Text(
            "NULL where no view was rated.",
            "NULL cuando no se calificó ninguna vista.",
            "NULL quando nenhuma visualização foi avaliada.",
        ),
        unit="score",
        rows={"resource_id": "all"},
    ),
    _engagement(
        "resource_helpful_share",
        RESOURCE_RATINGS,
        Text("Helpful resources", "Recursos útiles", "Recursos úteis"),
        Text(
            "Share of the answers on educational resources that found them helpful.",
            "Porcentaje de las respuestas sobre recursos educativos que los consideraron útiles.",
            "Percentual das respostas sobre recursos educativos que os consideraram úteis.",
        ),
        column="helpful_share",
        ratio=Ratio(
            Text("views that were helpful", "vistas que fueron útiles", "visualizações que foram úteis"),
            Text("views with an answer", "vistas con respuesta", "visualizações com resposta"),
        ),
        section="13",
        sources=RATINGS,
        null_rule=Text(
            "NULL where nobody said whether it was helpful.",
            "NULL cuando nadie indicó si fue útil.",
            "NULL quando ninguém indicou se foi útil.",
        ),
        rows={"resource_id": "all"},
    ),
    _engagement(
        "resource_views",
        RESOURCE_RATINGS,
        Text("Views of educational resources", "Vistas de recursos educativos", "Visualizações de recursos educativos"),
        Text(
            "Views of educational resources in the period.",
            "Vistas de recursos educativos en el período.",
            "Visualizações de recursos educativos no período.",
        ),
        column="views",
        formula=Text("views", "vistas", "visualizações"),
        section="13",
        sources=RATINGS,
        null_rule=NO_EVENTS,
        unit="count",
        rows={"resource_id": "all"},
    ),
]

_ADOPTION = [
    _engagement(
        "licence_utilisation",
        ADOPTION,
        Text("Licence utilisation", "Utilización de licencias", "Utilização de licenças"),
        Text(
            "Share of the purchased seats whose users used the product in the 30 days to the period's end.",
            "Porcentaje de los asientos comprados cuyos usuarios usaron el producto en los últimos 30 días.",
            "Percentual dos assentos comprados cujos usuários usaram o produto nos últimos 30 dias.",
        ),
        ratio=Ratio(
            Text("active seats", "asientos activos", "assentos ativos"),
            Text("purchased seats", "asientos comprados", "assentos comprados"),
        ),
        section="14",
        sources=SEATS,
        null_rule=NO_SEATS,
    ),
    _engagement(
        "licence_utilisation_mean",
        ADOPTION,
        Text(
            "Licence utilisation, mean of accounts",
            "Utilización de licencias, promedio por cuenta",
            "Utilização de licenças, média por conta",
        ),
        Text(
            "Licence utilisation in which every account weighs the same, however many seats it has.",
            "Utilización de licencias en la que cada cuenta pesa lo mismo, sin importar sus asientos.",
            "Utilização de licenças em que cada conta tem o mesmo peso, não importa quantos assentos tem.",
        ),
        ratio=Ratio(
            Text(
                "sum over accounts of active / purchased seats, in billionths",
                "suma sobre las cuentas de asientos activos / comprados, en milmillonésimas",
                "soma sobre as contas de assentos ativos / comprados, em bilionésimos",
            ),
            Text(
                "accounts with seats, in billionths",
                "cuentas con asientos, en milmillonésimas",
                "contas com assentos, em bilionésimos",
            ),
        ),
        section="14",
        sources=SEATS,
        null_rule=NO_SEATS,
    ),
    _engagement(
        "over_licensed_accounts",
        ADOPTION,
        Text("Over-licensed accounts", "Cuentas con exceso de uso", "Contas com excesso de uso"),
        Text(
            "Accounts with more active seats than purchased ones.",
            "Cuentas con más asientos activos que comprados.",
            "Contas com mais assentos ativos do que comprados.",
        ),
        formula=Text(
            "accounts with active seats > purchased seats",
            "cuentas con asientos activos > asientos comprados",
            "contas com assentos ativos > assentos comprados",
        ),
        section="14",
        sources=SEATS,
        null_rule=NO_USE,
        unit="count",
        direction="neutral",
    ),
    _engagement(
        "active_users_day",
        ADOPTION,
        Text("Daily active users", "Usuarios activos diarios", "Usuários ativos diários"),
        Text(
            "Users with any use on the last day of the period.",
            "Usuarios con algún uso en el último día del período.",
            "Usuários com algum uso no último dia do período.",
        ),
        formula=Text(
            "users with a use event on the period's last day",
            "usuarios con un evento de uso en el último día del período",
            "usuários com um evento de uso no último dia do período",
        ),
        section="14",
        sources=USE,
        null_rule=NO_EVENTS,
        unit="count",
    ),
    _engagement(
        "active_users_week",
        ADOPTION,
        Text("Weekly active users", "Usuarios activos semanales", "Usuários ativos semanais"),
        Text(
            "Users with any use in the 7 days to the period's end.",
            "Usuarios con algún uso en los últimos 7 días del período.",
            "Usuários com algum uso nos últimos 7 dias do período.",
        ),
        formula=Text(
            "users with a use event in the 7 days to the period's end",
            "usuarios con un evento de uso en los últimos 7 días del período",
            "usuários com um evento de uso nos últimos 7 dias do período",
        ),
        section="14",
        sources=USE,
        null_rule=NO_USE,
        unit="count",
    ),
    _engagement(
        "active_users_month",
        ADOPTION,
        Text("Monthly active users", "Usuarios activos mensuales", "Usuários ativos mensais"),
        Text(
            "Users with any use in the 30 days to the period's end.",
            "Usuarios con algún uso en los últimos 30 días del período.",
            "Usuários com algum uso nos últimos 30 dias do período.",
        ),
        formula=Text(
            "users with a use event in the 30 days to the period's end",
            "usuarios con un evento de uso en los 30 días hasta el cierre del período",
            "usuários com um evento de uso nos 30 dias até o fim do período",
        ),
        section="14",
        sources=USE,
        null_rule=NO_USE,
        unit="count",
    ),
    _engagement(
        "stickiness",
        ADOPTION,
        Text("Stickiness (DAU/MAU)", "Recurrencia de uso (DAU/MAU)", "Recorrência de uso (DAU/MAU)"),
        Text(
            "Mean daily active users of the 30 days to the period's end as a share of the monthly active users.",
            "Promedio de usuarios activos diarios de los últimos 30 días sobre los usuarios activos mensuales.",
            "Média de usuários ativos diários dos últimos 30 dias sobre os usuários ativos mensais.",
        ),
        ratio=Ratio(
            Text(
                "active users of each of the 30 days, added up",
                "usuarios activos de cada uno de los 30 días, sumados",
                "usuários ativos de cada um dos 30 dias, somados",
            ),
            Text("30 x monthly active users", "30 x usuarios activos mensuales", "30 x usuários ativos mensais"),
        ),
        section="14",
        sources=USE,
        null_rule=Text(
            "NULL where nobody was active, or use was not recorded in all of the 30 days.",
            "NULL cuando nadie estuvo activo o no se registró el uso en cada uno de los 30 días.",
            "NULL quando ninguém esteve ativo ou o uso não foi registrado em cada um dos 30 dias.",
        ),
    ),
    _engagement(
        "access_rate",
        ADOPTION,
        Text("Access rate", "Tasa de acceso", "Taxa de acesso"),
        Text(
            "Share of the customers at the period's end of which anyone logged in during the period.",
            "Porcentaje de los clientes al cierre del período con algún acceso durante el período.",
            "Percentual dos clientes no fim do período com algum acesso durante o período.",
        ),
        ratio=Ratio(
            Text(
                "customers with any login or use", "clientes con algún acceso o uso", "clientes com algum acesso ou uso"
            ),
            Text("customers", "clientes", "clientes"),
        ),
        section="14",
        sources=(*USE, "subscription_changes"),
        null_rule=NO_CUSTOMERS,
    ),
    _engagement(
        "feature_adoption",
        FEATURE_ADOPTION,
        Text("Feature adoption", "Adopción de funciones", "Adoção de funcionalidades"),
        Text(
            "Share of the customers whose plan has the feature that used it in the period.",
            "Porcentaje de los clientes cuyo plan incluye la función que la usaron en el período.",
            "Percentual dos clientes cujo plano inclui a funcionalidade que a usaram no período.",
        ),
        ratio=Ratio(
            Text(
                "entitled accounts using the feature",
                "cuentas con derecho a la función que la usan",
                "contas com direito à funcionalidade que a usam",
            ),
            Text(
                "accounts entitled by their plans",
                "cuentas con derecho según su plan",
                "contas com direito segundo o seu plano",
            ),
        ),
        section="14",
        sources=(*USE, "feature_entitlements", "subscription_changes"),
        null_rule=Text(
            "NULL where no account is entitled.",
            "NULL cuando ninguna cuenta tiene derecho.",
            "NULL quando nenhuma conta tem direito.",
        ),
        parts=("feature",),
    ),
]

_COSTS = [
    _cost_rate(
        "cac",
        ACQUISITION_COST,
        Text(
            "Customer acquisition cost (CAC)",
            "Costo de adquisición de clientes (CAC)",
            "Custo de aquisição de clientes (CAC)",
        ),
        Text(
            "Acquisition cost of the period per new customer; customers who return are not new.",
            "Costo de adquisición del período por cliente nuevo; los clientes que regresan no son nuevos.",
            "Custo de aquisição do período por cliente novo; clientes que voltam não são novos.",
        ),
        Text("acquisition cost", "costo de adquisición", "custo de aquisição"),
        Text("new customers", "clientes nuevos", "novos clientes"),
        joined(
            "; ",
            Text(
                "NULL without new customers, the cost is shown",
                "NULL sin clientes nuevos, se muestra el costo",
                "NULL sem novos clientes, o custo é mostrado",
            ),
            NO_COST_BOOKED,
        ),
    ),
    _money_sum(
        "acquisition_cost",
        ACQUISITION_COST,
        "cost",
        Text("Acquisition cost", "Costo de adquisición", "Custo de aquisição"),
        Text(
            "What was spent on winning customers.",
            "Lo que se gastó en captar clientes.",
            "O que foi gasto para conquistar clientes.",
        ),
        direction="neutral",
        section="7",
        grains=LONG_GRAINS,
        sources=COSTS,
    ),
    _cost_rate(
        "customer_retention_cost",
        RETENTION_COST,
        Text("Customer retention cost", "Costo de retención por cliente", "Custo de retenção por cliente"),
        Text(
            "Cost of success, support, renewals, training and retention offers per average customer of the period.",
            "Costo de éxito, soporte, renovaciones, formación y ofertas de retención por cliente medio del período.",
            "Custo de sucesso, suporte, renovações, treinamento e ofertas de retenção por cliente médio do período.",
        ),
        Text("retention cost x days", "costo de retención x días", "custo de retenção x dias"),
        _DAILY_CUSTOMERS,
        joined("; ", Text("NULL without customers", "NULL sin clientes", "NULL sem clientes"), NO_COST_BOOKED),
    ),
    _cost_rate(
        "customer_retention_cost_per_retained",
        RETENTION_COST,
        Text(
            "Retention cost per retained customer",
            "Costo de retención por cliente retenido",
            "Custo de retenção por cliente retido",
        ),
        Text(
            "Retention cost per customer of the start of the period who is still one at its end.",
            "Costo de retención por cliente del inicio del período que lo sigue siendo al cierre.",
            "Custo de retenção por cliente do início do período que continua cliente no fim.",
        ),
        Text("retention cost", "costo de retención", "custo de retenção"),
        Text(
            "customers at the start - customers lost",
            "clientes al inicio - clientes perdidos",
            "clientes no início - clientes perdidos",
        ),
        joined(
            "; ",
            Text(
                "NULL where nobody was retained", "NULL cuando no se retuvo a nadie", "NULL quando ninguém foi retido"
            ),
            NO_COST_BOOKED,
        ),
    ),
    Kpi(
        id="customer_retention_cost_change",
        table=RETENTION_COST,
        column="customer_retention_cost_change",
        name=Text(
            "Change of the customer retention cost",
            "Variación del costo de retención por cliente",
            "Variação do custo de retenção por cliente",
        ),
        meaning=Text(
            "By how much the customer retention cost changed against the period before.",
            "Cuánto varió el costo de retención por cliente frente al período anterior.",
            "Quanto o custo de retenção por cliente variou em relação ao período anterior.",
        ),
        formula=Text(
            "customer retention cost / customer retention cost of the period before - 1",
            "costo de retención por cliente / costo de retención por cliente del período anterior - 1",
            "custo de retenção por cliente / custo de retenção por cliente do período anterior - 1",
        ),
        unit="rate",
        direction="lower_is_better",
        section="7",
        null_rule=Text(
            "NULL in the first period, in the one that is still open, and where either cost is NULL or 0 before.",
            "NULL en el primer período, en el que sigue abierto y cuando alguno de los dos costos es "
            "NULL o el anterior es 0.",
            "NULL no primeiro período, no que ainda está em aberto e quando um dos dois custos é NULL "
            "ou o anterior é 0.",
        ),
        grains=LONG_GRAINS,
        sources=(*COSTS, *BILLING[:3]),
    ),
    _money_sum(
        "retention_cost",
        RETENTION_COST,
        "cost",
        Text("Retention cost", "Costo de retención", "Custo de retenção"),
        Text(
            "What was spent on keeping customers.",
            "Lo que se gastó en conservar clientes.",
            "O que foi gasto para manter clientes.",
        ),
        direction="neutral",
        section="7",
        grains=LONG_GRAINS,
        sources=COSTS,
    ),
]

_INVOICED_REVENUE = [
    Kpi(
        id="arpu",
        table=INVOICED_REVENUE,
        column="arpu",
        name=Text(
            "Average revenue per customer (ARPU)",
            "Ingreso medio por cliente (ARPU)",
            "Receita média por cliente (ARPU)",
        ),
        meaning=Text(
            "Invoiced revenue of the period per average daily customer.",
            "Ingresos facturados del período por cliente medio diario.",
            "Receita faturada do período por cliente médio diário.",
        ),
        formula=joined(
            " / ", Text("(revenue x days)", "(ingresos x días)", "(receita x dias)"), _DAILY_CUSTOMERS, _MINOR_UNITS
        ),
        unit="money",
        direction="higher_is_better",
        section="6",
        null_rule=Text(
            "NULL without customers, and on rows of native currencies.",
            "NULL sin clientes y en las filas de monedas originales.",
            "NULL sem clientes e nas linhas de moedas originais.",
        ),
        grains=SPARSE_GRAINS,
        sources=(*INVOICES, *BILLING[:3]),
        ratio=Ratio(
            Text("revenue x days of the period", "ingresos x días del período", "receita x dias do período"),
            _DAILY_CUSTOMERS,
            _AMOUNT,
        ),
        rows=REPORTING,
    ),
    *(
        _money_sum(
            column,
            INVOICED_REVENUE,
            column,
            name,
            meaning,
            direction="higher_is_better",
            section=section,
            grains=SPARSE_GRAINS,
            sources=INVOICES,
            rows=REPORTING,
        )
        for column, section, name, meaning in (
            (
                "revenue",
                "6",
                Text("Invoiced revenue", "Ingresos facturados", "Receita faturada"),
                Text(
                    "All that was invoiced in the period without tax, less credit notes.",
                    "Todo lo facturado en el período sin impuestos, menos notas de crédito.",
                    "Tudo o que foi faturado no período sem impostos, menos notas de crédito.",
                ),
            ),
            (
                "one_time_revenue",
                "2",
                Text("One-time revenue", "Ingresos no recurrentes", "Receita não recorrente"),
                Text(
                    "One-time charges, set-up fees and services invoiced in the period; no part of MRR.",
                    "Cargos únicos, altas y servicios facturados en el período; no forman parte del MRR.",
                    "Cobranças únicas, implantação e serviços faturados no período; não fazem parte do MRR.",
                ),
            ),
            (
                "usage_revenue",
                "2",
                Text("Usage revenue", "Ingresos por uso", "Receita por uso"),
                Text(
                    "Metered use invoiced or charged in the period; no part of MRR.",
                    "Uso medido facturado o cargado en el período; no forma parte del MRR.",
                    "Uso medido faturado ou cobrado no período; não faz parte do MRR.",
                ),
            ),
        )
    ),
]

_LIFETIME_VALUES = [
    Kpi(
        id="customer_churn_rate_6m",
        table=CLV,
        column="customer_churn_rate_6m",
        name=Text(
            "Average monthly customer churn over 6 months",
            "Cancelación mensual media de clientes en 6 meses",
            "Cancelamento mensal médio de clientes em 6 meses",
        ),
        meaning=Text(
            "Customers lost in the last six complete months over the customers at the start of each of them.",
            "Clientes perdidos en los últimos seis meses completos sobre los clientes al inicio de cada uno.",
            "Clientes perdidos nos últimos seis meses completos sobre os clientes no início de cada um.",
        ),
        formula=Text(
            "sum of customers lost / sum of customers at the start, over 6 months",
            "suma de clientes perdidos / suma de clientes al inicio, en 6 meses",
            "soma dos clientes perdidos / soma dos clientes no início, em 6 meses",
        ),
        unit="rate",
        direction="lower_is_better",
        section="6",
        null_rule=Text(
            "NULL without six complete months, and where nobody was a customer in them.",
            "NULL sin seis meses completos y cuando nadie era cliente en ellos.",
            "NULL sem seis meses completos e quando ninguém era cliente neles.",
        ),
        grains=("month",),
        ratio=Ratio(
            Text("customers lost in 6 months", "clientes perdidos en 6 meses", "clientes perdidos em 6 meses"),
            Text(
                "customers at the start of each month, added",
                "clientes al inicio de cada mes, sumados",
                "clientes no início de cada mês, somados",
            ),
        ),
    ),
    Kpi(
        id="clv_historic",
        table=CLV,
        column="clv_historic",
        name=Text("Historic lifetime value", "Valor de vida histórico (CLV)", "Valor vitalício histórico (CLV)"),
        meaning=Text(
            "Revenue less refunds to date, per account that ever paid.",
            "Ingresos menos reembolsos a la fecha, por cuenta que alguna vez pagó.",
            "Receita menos reembolsos até a data, por conta que já pagou alguma vez.",
        ),
        formula=joined(
            " / ",
            Text(
                "(revenue - refunds to date)", "(ingresos - reembolsos a la fecha)", "(receita - reembolsos até a data)"
            ),
            _EVER_PAID,
            _MINOR_UNITS,
        ),
        unit="money",
        direction="higher_is_better",
        section="6",
        null_rule=Text(
            "NULL before the first invoice, and where nobody has paid yet.",
            "NULL antes de la primera factura y cuando nadie ha pagado todavía.",
            "NULL antes da primeira fatura e quando ninguém pagou ainda.",
        ),
        grains=("month",),
        sources=(*INVOICES, "refunds", *BILLING[:3]),
        ratio=Ratio(
            Text(
                "revenue less refunds to date",
                "ingresos menos reembolsos a la fecha",
                "receita menos reembolsos até a data",
            ),
            _EVER_PAID,
            _AMOUNT,
        ),
    ),
    _lifetime_value(
        "clv_formula",
        Text("Lifetime value by formula (CLV)", "Valor de vida por fórmula (CLV)", "Valor vitalício por fórmula (CLV)"),
        Text(
            "Average purchase times purchases per year times average years as a customer.",
            "Compra media por compras al año por años medios como cliente.",
            "Compra média vezes compras por ano vezes anos médios como cliente.",
        ),
        symbols("average_purchase x purchases_per_year x average_customer_years"),
        sources=(*INVOICES, *BILLING[:3]),
        needs=("invoices",),
    ),
    _lifetime_value(
        "clv_formula_net",
        Text(
            "Lifetime value net of retention cost",
            "Valor de vida neto del costo de retención",
            "Valor vitalício líquido do custo de retenção",
        ),
        Text(
            "Lifetime value by formula less the retention cost per year over the same years.",
            "Valor de vida por fórmula menos el costo de retención anual en los mismos años.",
            "Valor vitalício por fórmula menos o custo de retenção anual nos mesmos anos.",
        ),
        symbols("clv_formula - retention_cost_per_year x average_customer_years"),
        sources=(*INVOICES, "costs", *BILLING[:3]),
        needs=("invoices", "costs"),
    ),
    _lifetime_value(
        "clv_margin",
        Text("Lifetime value by margin", "Valor de vida por margen", "Valor vitalício por margem"),
        Text(
            "Gross margin of the average revenue per account over the average monthly churn.",
            "Margen bruto del ingreso medio por cuenta entre la cancelación mensual media.",
            "Margem bruta da receita média por conta dividida pelo cancelamento mensal médio.",
        ),
        Text(
            "ARPA x gross margin / customer_churn_rate_6m",
            "ARPA x margen bruto / customer_churn_rate_6m",
            "ARPA x margem bruta / customer_churn_rate_6m",
        ),
        sources=BILLING,
    ),
    _lifetime_value(
        "clv_predicted",
        Text("Predicted lifetime value", "Valor de vida previsto", "Valor vitalício previsto"),
        Text(
            "Gross margin that a new customer is expected to bring, discounted, by a shifted-beta-geometric model.",
            "Margen bruto descontado que se espera de un cliente nuevo, según un modelo beta-geométrico desplazado.",
            "Margem bruta descontada que se espera de um cliente novo, segundo um modelo beta-geométrico deslocado.",
        ),
        Text(
            "ARPA x gross margin x expected_lifetime_months",
            "ARPA x margen bruto x expected_lifetime_months",
            "ARPA x margem bruta x expected_lifetime_months",
        ),
        null_rule=NO_MODEL,
        sources=BILLING,
    ),
    _lifetime_value(
        "clv_holdout_error",
        Text(
            "Hold-out error of the lifetime model",
            "Error de validación del modelo de vida",
            "Erro de validação do modelo de vida",
        ),
        Text(
            "Share of customers that the model of three months before expected to stay, less the share that stayed.",
            "Porcentaje de clientes que el modelo de hace tres meses esperaba conservar, menos el que se quedó.",
            "Percentual de clientes que o modelo de três meses antes esperava manter, menos o que ficou.",
        ),
        symbols("(holdout_expected - holdout_stayed) / holdout_customers"),
        null_rule=Text(
            "NULL where there was no model three months before.",
            "NULL cuando no había modelo tres meses antes.",
            "NULL quando não havia modelo três meses antes.",
        ),
        unit="rate",
        direction="neutral",
        sources=BILLING,
    ),
    _lifetime_value(
        "clv_to_cac",
        Text("Lifetime value to acquisition cost", "Relación CLV a CAC", "Relação CLV/CAC"),
        Text(
            "Lifetime value by margin for each unit of acquisition cost.",
            "Valor de vida por margen por cada unidad de costo de adquisición.",
            "Valor vitalício por margem para cada unidade de custo de aquisição.",
        ),
        Text("clv_margin / CAC of the month", "clv_margin / CAC del mes", "clv_margin / CAC do mês"),
        unit="ratio",
        sources=(*BILLING, "costs"),
        needs=("costs",),
    ),
    _lifetime_value(
        "cac_payback_months",
        Text("Payback of the acquisition cost", "Recuperación del CAC", "Retorno do CAC"),
        Text(
            "Months of gross margin that pay back the acquisition cost of a customer.",
            "Meses de margen bruto que recuperan el costo de adquisición de un cliente.",
            "Meses de margem bruta que recuperam o custo de aquisição de um cliente.",
        ),
        Text(
            "CAC of the month / (ARPA x gross margin)",
            "CAC del mes / (ARPA x margen bruto)",
            "CAC do mês / (ARPA x margem bruta)",
        ),
        null_rule=Text(
            "NULL with the reason: no CAC in the month, or nobody pays.",
            "NULL con el motivo: sin CAC en el mes o nadie paga.",
            "NULL com o motivo: sem CAC no mês ou ninguém paga.",
        ),
        unit="months",
        direction="lower_is_better",
        sources=(*BILLING, "costs"),
        needs=("costs",),
    ),
]

_SURVIVAL = [
    _survival(
        "median_lifetime_days",
        SURVIVAL,
        Text("Median lifetime of a customer", "Vida mediana de un cliente", "Vida mediana de um cliente"),
        Text(
            "Days after which half of the customers are lost, by Kaplan-Meier.",
            "Días tras los cuales se ha perdido la mitad de los clientes, por Kaplan-Meier.",
            "Dias após os quais metade dos clientes foi perdida, por Kaplan-Meier.",
        ),
        Text(
            "first day with survival <= 0.5",
            "primer día con supervivencia <= 0,5",
            "primeiro dia com sobrevivência <= 0,5",
        ),
        Text(
            "NULL while fewer than half are lost.",
            "NULL mientras se haya perdido menos de la mitad.",
            "NULL enquanto menos da metade foi perdida.",
        ),
        unit="days",
    ),
    *(
        _survival(
            f"survival_{months}m",
            SURVIVAL,
            Text(
                f"Survival after {months} months",
                f"Supervivencia a los {months} meses",
                f"Sobrevivência após {months} meses",
            ),
            Text(
                f"Share of customers that stay for {months} months, by Kaplan-Meier.",
                f"Porcentaje de clientes que permanecen {months} meses, por Kaplan-Meier.",
                f"Percentual de clientes que ficam {months} meses, por Kaplan-Meier.",
            ),
            joined(
                " ",
                Text(
                    "Kaplan-Meier survival at day",
                    "supervivencia de Kaplan-Meier en el día",
                    "sobrevivência de Kaplan-Meier no dia",
                ),
                str(months * 365 // 12),
            ),
            Text(
                "NULL where no customer is that old.",
                "NULL cuando ningún cliente llega a esa edad.",
                "NULL quando nenhum cliente chega a essa idade.",
            ),
        )
        for months in (12, 24)
    ),
    _survival(
        "survival",
        SURVIVAL_CURVE,
        Text("Survival curve", "Curva de supervivencia", "Curva de sobrevivência"),
        Text(
            "Share of customers that stay up to an age, by Kaplan-Meier.",
            "Porcentaje de clientes que permanecen hasta una edad, por Kaplan-Meier.",
            "Percentual de clientes que ficam até uma idade, por Kaplan-Meier.",
        ),
        Text(
            "product over ages with a loss of (1 - lost / at risk)",
            "producto sobre las edades con pérdidas de (1 - perdidos / en riesgo)",
            "produto sobre as idades com perdas de (1 - perdidos / em risco)",
        ),
        Text(
            "NULL beyond the oldest customer.",
            "NULL más allá del cliente más antiguo.",
            "NULL além do cliente mais antigo.",
        ),
    ),
    _survival(
        "projected_survival",
        SURVIVAL_CURVE,
        Text("Projected survival", "Supervivencia proyectada", "Sobrevivência projetada"),
        Text(
            "Share of customers that stay up to an age, by the shifted-beta-geometric model.",
            "Porcentaje de clientes que permanecen hasta una edad, según el modelo beta-geométrico desplazado.",
            "Percentual de clientes que ficam até uma idade, segundo o modelo beta-geométrico deslocado.",
        ),
        Text("B(a, b + age) / B(a, b)", "B(a, b + edad) / B(a, b)", "B(a, b + idade) / B(a, b)"),
        Text(
            "NULL where the slice has no model: under 3 renewals or 100 customers, or nobody lost.",
            "NULL cuando el corte no tiene modelo: menos de 3 renovaciones o 100 clientes, o nadie perdido.",
            "NULL quando o recorte não tem modelo: menos de 3 renovações ou 100 clientes, ou ninguém perdido.",
        ),
    ),
]

_CHURN_REASONS = [
    _churn_sum(
        "lost_customers_by_reason",
        "customers",
        Text("Customers lost, by reason", "Clientes perdidos por motivo", "Clientes perdidos por motivo"),
        Text(
            "Customers at the start of the period that are none at its end, by churn type and reason.",
            "Clientes al inicio del período que ya no lo son al cierre, por tipo y motivo de baja.",
            "Clientes no início do período que deixaram de ser no fim, por tipo e motivo de saída.",
        ),
        Text("C, of the churn type and reason", "C, del tipo y motivo de baja", "C, do tipo e motivo de saída"),
    ),
    _churn_sum(
        "lost_arr_by_reason",
        "arr",
        Text("ARR lost, by reason", "ARR perdido por motivo", "ARR perdido por motivo"),
        Text(
            "ARR at the start of the period of the customers lost in it, by churn type and reason.",
            "ARR al inicio del período de los clientes perdidos en él, por tipo y motivo de baja.",
            "ARR no início do período dos clientes perdidos nele, por tipo e motivo de saída.",
        ),
        joined(" / ", "arr_minor", _MINOR_UNITS),
    ),
    _churn_sum(
        "lost_customers_unmapped",
        "unmapped_customers",
        Text(
            "Customers lost for an unmapped reason",
            "Clientes perdidos por un motivo sin clasificar",
            "Clientes perdidos por um motivo sem classificação",
        ),
        Text(
            "Customers lost whose stated reason the policy maps to no churn type.",
            "Clientes perdidos cuyo motivo declarado no está clasificado en la política.",
            "Clientes perdidos cujo motivo declarado não está classificado na política.",
        ),
        Text(
            "C, with a stated reason that is in neither list of the policy",
            "C, con un motivo declarado que no está en ninguna de las dos listas de la política",
            "C, com um motivo declarado que não está em nenhuma das duas listas da política",
        ),
    ),
    _churn_share(
        "churn_reason_share",
        Text("Share of a churn reason", "Peso de un motivo de baja", "Peso de um motivo de saída"),
        Text(
            "Customers lost for the reason as a share of all customers lost.",
            "Clientes perdidos por el motivo sobre el total de clientes perdidos.",
            "Clientes perdidos pelo motivo sobre o total de clientes perdidos.",
        ),
        Text("customers lost for the reason", "clientes perdidos por el motivo", "clientes perdidos pelo motivo"),
        _CUSTOMERS_LOST,
        null_rule=NO_LOSSES,
    ),
    _churn_share(
        "churn_reason_arr_share",
        Text(
            "Share of a churn reason in ARR lost",
            "Peso de un motivo de baja en el ARR perdido",
            "Peso de um motivo de saída no ARR perdido",
        ),
        Text(
            "ARR lost for the reason as a share of the ARR of all customers lost.",
            "ARR perdido por el motivo sobre el ARR de todos los clientes perdidos.",
            "ARR perdido pelo motivo sobre o ARR de todos os clientes perdidos.",
        ),
        Text("ARR lost for the reason", "ARR perdido por el motivo", "ARR perdido pelo motivo"),
        _ARR_LOST,
        null_rule=Text(
            "NULL where no ARR left with a customer.",
            "NULL cuando ningún cliente se fue con ARR.",
            "NULL quando nenhum cliente saiu com ARR.",
        ),
        unit=_ARR,
    ),
    _churn_share(
        "involuntary_churn_share",
        Text("Involuntary churn share", "Peso de la baja involuntaria", "Peso da saída involuntária"),
        Text(
            "Share of the customers lost that left because a payment failed, not because they chose to.",
            "Porcentaje de los clientes perdidos que se fueron por un pago fallido y no por decisión propia.",
            "Percentual dos clientes perdidos que saíram por falha de pagamento e não por decisão própria.",
        ),
        Text(
            "customers lost involuntarily",
            "clientes perdidos por baja involuntaria",
            "clientes perdidos por saída involuntária",
        ),
        _CUSTOMERS_LOST,
        null_rule=Text(
            "NULL where nobody left, and on rows of a churn type or reason.",
            "NULL cuando nadie se fue y en las filas de un tipo o motivo de baja.",
            "NULL quando ninguém saiu e nas linhas de um tipo ou motivo de saída.",
        ),
    ),
    _churn_share(
        "involuntary_arr_churn_share",
        Text(
            "Involuntary share of ARR lost",
            "Peso de la baja involuntaria en el ARR perdido",
            "Peso da saída involuntária no ARR perdido",
        ),
        Text(
            "Share of the ARR of customers lost that left because a payment failed.",
            "Porcentaje del ARR de los clientes perdidos que se fue por un pago fallido.",
            "Percentual do ARR dos clientes perdidos que saiu por falha de pagamento.",
        ),
        Text(
            "ARR of customers lost involuntarily",
            "ARR de los clientes perdidos por baja involuntaria",
            "ARR dos clientes perdidos por saída involuntária",
        ),
        _ARR_LOST,
        null_rule=Text(
            "NULL where no ARR left with a customer, and on rows of a churn type or reason.",
            "NULL cuando ningún cliente se fue con ARR y en las filas de un tipo o motivo de baja.",
            "NULL quando nenhum cliente saiu com ARR e nas linhas de um tipo ou motivo de saída.",
        ),
        unit=_ARR,
    ),
]

_DUNNING = [
    _recovery_rate(
        "recovery_rate",
        Text("Payment recovery rate", "Tasa de recuperación de pagos", "Taxa de recuperação de pagamentos"),
        Text(
            "Share of the payments that failed in the period that a retry collected.",
            "Porcentaje de los pagos fallidos en el período que se cobraron en un reintento.",
            "Percentual dos pagamentos que falharam no período e foram cobrados em nova tentativa.",
        ),
        _PAYMENTS_RECOVERED,
        Text("payments failed", "pagos fallidos", "pagamentos com falha"),
        null_rule=NO_FAILURES,
    ),
    _recovery_rate(
        "recovery_rate_amount",
        Text(
            "Payment recovery rate by amount",
            "Tasa de recuperación de pagos por importe",
            "Taxa de recuperação de pagamentos por valor",
        ),
        Text(
            "Share of the amount that failed in the period that a retry collected.",
            "Porcentaje del importe fallido en el período que se cobró en un reintento.",
            "Percentual do valor que falhou no período e foi cobrado em nova tentativa.",
        ),
        Text("amount recovered", "importe recuperado", "valor recuperado"),
        Text("amount failed", "importe fallido", "valor com falha"),
        null_rule=NO_FAILURES,
        unit=_PAYMENT_MONEY,
    ),
    _recovery_rate(
        "retry_success_rate",
        Text("Retry success rate", "Tasa de éxito de los reintentos", "Taxa de sucesso das novas tentativas"),
        Text(
            "Share of the retries of failed payments that succeeded.",
            "Porcentaje de los reintentos de pagos fallidos que tuvieron éxito.",
            "Percentual das novas tentativas de pagamentos que falharam e tiveram sucesso.",
        ),
        _PAYMENTS_RECOVERED,
        Text("retries", "reintentos", "novas tentativas"),
        null_rule=Text(
            "NULL where nothing was tried again.",
            "NULL cuando no se reintentó nada.",
            "NULL quando nada foi tentado de novo.",
        ),
    ),
    _dunning_sum(
        "failed_payments",
        "failed_payments",
        Text("Failed payments", "Pagos fallidos", "Pagamentos com falha"),
        Text(
            "Payments that failed for the first time in the period.",
            "Pagos que fallaron por primera vez en el período.",
            "Pagamentos que falharam pela primeira vez no período.",
        ),
        Text(
            "payments by the period of their first failed attempt",
            "pagos según el período de su primer intento fallido",
            "pagamentos segundo o período da sua primeira tentativa com falha",
        ),
    ),
    _dunning_sum(
        "failed_payment_amount",
        "failed_amount",
        Text("Amount of failed payments", "Importe de los pagos fallidos", "Valor dos pagamentos com falha"),
        Text(
            "Amount of the payments that failed for the first time in the period.",
            "Importe de los pagos que fallaron por primera vez en el período.",
            "Valor dos pagamentos que falharam pela primeira vez no período.",
        ),
        joined(" / ", "failed_amount_minor", _MINOR_UNITS),
        unit="money",
    ),
    _dunning_sum(
        "payment_retries",
        "retries",
        Text("Payment retries", "Reintentos de cobro", "Novas tentativas de cobrança"),
        Text(
            "Attempts to collect the failed payments of the period after their first failure.",
            "Intentos de cobrar los pagos fallidos del período después del primer fallo.",
            "Tentativas de cobrar os pagamentos que falharam no período depois da primeira falha.",
        ),
        Text(
            "attempts after the first failure, up to the one that succeeds",
            "intentos después del primer fallo, hasta el que tiene éxito",
            "tentativas depois da primeira falha, até a que tem sucesso",
        ),
    ),
    _dunning_sum(
        "revenue_at_risk",
        "revenue_at_risk",
        Text("Revenue at risk", "Ingresos en riesgo", "Receita em risco"),
        Text(
            "ARR of subscriptions that are past due within grace at the end of the period.",
            "ARR de las suscripciones con pagos vencidos dentro del plazo de gracia al cierre del período.",
            "ARR das assinaturas em atraso dentro da carência no fim do período.",
        ),
        joined(" / ", "revenue_at_risk_arr_minor", _MINOR_UNITS),
        unit="money_per_year",
    ),
]

_HEALTH = [
    _health(
        "health_score",
        "health_score",
        Text("Customer health score", "Puntuación de salud del cliente", "Pontuação de saúde do cliente"),
        Text(
            "Mean health score from 0 to 100 of the customers at the end of the period.",
            "Puntuación media de salud, de 0 a 100, de los clientes al cierre del período.",
            "Pontuação média de saúde, de 0 a 100, dos clientes no fim do período.",
        ),
        ratio=Ratio(
            Text(
                "sum of the scores in tenths of a point",
                "suma de las puntuaciones en décimas de punto",
                "soma das pontuações em décimos de ponto",
            ),
            Text("customers with a score x 10", "clientes con puntuación x 10", "clientes com pontuação x 10"),
        ),
        null_rule=NO_SCORES,
        unit="score",
        direction="higher_is_better",
    ),
    _health(
        "health_red_share",
        "red_share",
        Text("Customers in the red band", "Clientes en la banda roja", "Clientes na faixa vermelha"),
        Text(
            "Share of the customers with a health score whose score is in the red band.",
            "Porcentaje de los clientes con puntuación de salud que están en la banda roja.",
            "Percentual dos clientes com pontuação de saúde que estão na faixa vermelha.",
        ),
        ratio=Ratio(
            Text("customers in the red band", "clientes en la banda roja", "clientes na faixa vermelha"),
            Text("customers with a score", "clientes con puntuación", "clientes com pontuação"),
        ),
        null_rule=NO_SCORES,
        unit="rate",
        direction="lower_is_better",
    ),
    _health(
        "health_coverage",
        "health_coverage",
        Text("Coverage of the health score", "Cobertura de la puntuación de salud", "Cobertura da pontuação de saúde"),
        Text(
            "Share of the weight of all health measures that is known of the customers.",
            "Porcentaje del peso de todas las medidas de salud que se conoce de los clientes.",
            "Percentual do peso de todas as medidas de saúde que se conhece dos clientes.",
        ),
        ratio=Ratio(
            Text(
                "weight of the measures that are known", "peso de las medidas conocidas", "peso das medidas conhecidas"
            ),
            Text("weight of all measures", "peso de todas las medidas", "peso de todas as medidas"),
        ),
        null_rule=NO_CUSTOMERS,
        unit="rate",
        direction="higher_is_better",
    ),
    *(
        _health(f"{band}_accounts", f"{band}_accounts", name, meaning, unit="count", direction=direction)
        for band, name, meaning, direction in _HEALTH_COUNTS
    ),
    _health(
        "health_churn_after",
        "churn_after",
        Text("Churn after a health score", "Bajas tras una puntuación de salud", "Saídas após uma pontuação de saúde"),
        Text(
            "Share of the accounts with a score in the period that left within the months of the horizon.",
            "Porcentaje de las cuentas con puntuación en el período que se fueron en los meses del horizonte.",
            "Percentual das contas com pontuação no período que saíram nos meses do horizonte.",
        ),
        table=HEALTH_BACKTEST,
        ratio=Ratio(
            Text(
                "scored account-months followed by churn",
                "meses-cuenta con puntuación seguidos de baja",
                "meses-conta com pontuação seguidos de saída",
            ),
            Text(
                "scored account-months whose horizon has passed",
                "meses-cuenta con puntuación cuyo horizonte ya pasó",
                "meses-conta com pontuação cujo horizonte já passou",
            ),
            adds_up=False,
        ),
        null_rule=Text(
            "NULL where nobody had a score; a period whose horizon has not passed is absent.",
            "NULL cuando nadie tenía puntuación; un período cuyo horizonte no ha pasado no aparece.",
            "NULL quando ninguém tinha pontuação; um período cujo horizonte não passou não aparece.",
        ),
        unit="rate",
        direction="lower_is_better",
        parts=("horizon_months", "decile"),
    ),
    _health(
        "health_auc",
        "auc",
        Text("AUC of the health score", "AUC de la puntuación de salud", "AUC da pontuação de saúde"),
        Text(
            "Chance that an account that left had a lower score than one that stayed; 0.5 is no better than chance.",
            "Probabilidad de que una cuenta que se fue tuviera menor puntuación que una que se quedó; 0,5 es azar.",
            "Probabilidade de que uma conta que saiu tivesse pontuação menor que uma que ficou; 0,5 é acaso.",
        ),
        table=HEALTH_BACKTEST,
        ratio=Ratio(
            Text(
                "2 x pairs in which who left had the lower score + pairs of equal scores",
                "2 x pares en los que quien se fue tenía la menor puntuación + pares de igual puntuación",
                "2 x pares em que quem saiu tinha a menor pontuação + pares de igual pontuação",
            ),
            Text(
                "2 x pairs of one that left and one that stayed",
                "2 x pares de una que se fue y una que se quedó",
                "2 x pares de uma que saiu e uma que ficou",
            ),
            adds_up=False,
        ),
        null_rule=NO_CASES,
        unit="ratio",
        direction="higher_is_better",
        rows={"decile": "all"},
        parts=("horizon_months",),
    ),
    _health(
        "health_red_lift",
        "red_lift",
        Text("Lift of the red band", "Lift de la banda roja", "Lift da faixa vermelha"),
        Text(
            "How many times as often accounts in the red band left as all accounts with a score.",
            "Cuántas veces más se fueron las cuentas de la banda roja que todas las cuentas con puntuación.",
            "Quantas vezes mais saíram as contas da faixa vermelha do que todas as contas com pontuação.",
        ),
        table=HEALTH_BACKTEST,
        ratio=Ratio(
            Text(
                "churn of the red band x scored account-months",
                "bajas de la banda roja x meses-cuenta con puntuación",
                "saídas da faixa vermelha x meses-conta com pontuação",
            ),
            Text(
                "red account-months x churn of all",
                "meses-cuenta en rojo x bajas del total",
                "meses-conta em vermelho x saídas do total",
            ),
            adds_up=False,
        ),
        null_rule=Text(
            "NULL where nobody left or nobody was in the red band, and by decile.",
            "NULL cuando nadie se fue o nadie estaba en la banda roja, y por decil.",
            "NULL quando ninguém saiu ou ninguém estava na faixa vermelha, e por decil.",
        ),
        unit="ratio",
        direction="higher_is_better",
        rows={"decile": "all"},
        parts=("horizon_months",),
    ),
]

CATALOGUE: tuple[Kpi, ...] = (
    *_RECURRING_REVENUE,
    *_MOVEMENTS,
    *_CUSTOMER_COUNTS,
    *_RETENTION,
    *_COHORTS,
    *_RENEWALS,
    *_SURVEYS,
    *_ONBOARDING,
    *_SUPPORT,
    *_ADOPTION,
    *_COSTS,
    *_INVOICED_REVENUE,
    *_LIFETIME_VALUES,
    *_SURVIVAL,
    *_CHURN_REASONS,
    *_DUNNING,
    *_HEALTH,
)

_BY_COLUMN = {(kpi.table, kpi.column): kpi for kpi in CATALOGUE}
