"""The report's own words in English, Spanish and Portuguese.

Names, meanings and formulas of KPIs come from the catalogue, units from `schemas.texts`.
"""

from schemas.texts import UNITS, Text

NO_VALUE = "\u2013"


def word(key: str, language: str) -> str:
    """A text of the report. KeyError where there is none: a page never shows a key."""
    return WORDS[key].of(language)


def named(value: str | None, language: str) -> str:
    """A value of a list that the project itself gives, such as a segment; anything else as it is."""
    if value is None:
        return NO_VALUE
    return VALUES[value].of(language) if value in VALUES else value


WORDS: dict[str, Text] = {
    # Page
    "title": Text("Customer success report", "Informe de éxito del cliente", "Relatório de sucesso do cliente"),
    "portrait": Text("Account portrait", "Retrato de la cuenta", "Retrato da conta"),
    "contents": Text("Contents", "Contenido", "Conteúdo"),
    "skip": Text("Skip to the content", "Ir al contenido", "Ir para o conteúdo"),
    "period": Text("Period", "Período", "Período"),
    "as_of": Text("Data up to", "Datos hasta", "Dados até"),
    "segment": Text("Segment", "Segmento", "Segmento"),
    "all_customers": Text("all customers", "todos los clientes", "todos os clientes"),
    "currency": Text("Currency", "Moneda", "Moeda"),
    "release": Text("Release", "Publicación", "Publicação"),
    "policy": Text("Policy", "Política", "Política"),
    "incomplete": Text("incomplete", "incompleto", "incompleto"),
    "incomplete_until": Text(
        "Incomplete: the period runs on; the figures go up to {day}.",
        "Incompleto: el período sigue en curso; las cifras llegan hasta el {day}.",
        "Incompleto: o período ainda está em curso; os números vão até {day}.",
    ),
    "incomplete_mark": Text(
        "* {period} is incomplete: figures up to {day}.",
        "* {period} está incompleto: cifras hasta el {day}.",
        "* {period} está incompleto: números até {day}.",
    ),
    "stale": Text(
        "Newest data missing from: {sources}.",
        "Faltan los datos más recientes de: {sources}.",
        "Faltam os dados mais recentes de: {sources}.",
    ),
    "intro": Text(
        "Every figure is a value of the published release. Rates stand with their number of cases (n); intervals are "
        "of 95 %. Under each chart are its figures and the definition.",
        "Cada cifra es un valor de la publicación. Las tasas llevan su número de casos (n); los intervalos son del "
        "95 %. Bajo cada gráfico están sus cifras y la definición.",
        "Cada número é um valor da publicação. As taxas trazem o número de casos (n); os intervalos são de 95 %. Sob "
        "cada gráfico estão seus números e a definição.",
    ),
    # Sections
    "headlines": Text("At a glance", "De un vistazo", "Visão geral"),
    "revenue": Text("Recurring revenue", "Ingresos recurrentes", "Receita recorrente"),
    "churn": Text("Churn and retention", "Cancelación y retención", "Cancelamento e retenção"),
    "cohorts": Text("Cohorts", "Cohortes", "Coortes"),
    "renewals": Text("Renewals", "Renovaciones", "Renovações"),
    "surveys": Text("Customer voice", "Voz del cliente", "Voz do cliente"),
    "value": Text("Value and cost", "Valor y costo", "Valor e custo"),
    "health": Text("Health", "Salud", "Saúde"),
    "dunning": Text("Failed payments", "Pagos fallidos", "Pagamentos falhos"),
    "support": Text("Support", "Soporte", "Suporte"),
    "adoption": Text("Adoption and onboarding", "Adopción e incorporación", "Adoção e implantação"),
    "segments": Text("Segments", "Segmentos", "Segmentos"),
    "actions": Text("What to do", "Qué hacer", "O que fazer"),
    "quality": Text("Data quality", "Calidad de los datos", "Qualidade dos dados"),
    "definitions": Text("Definitions", "Definiciones", "Definições"),
    # Figures
    "bridge": Text("From opening to closing MRR", "Del MRR inicial al final", "Do MRR inicial ao final"),
    "cut_axis": Text("The axis does not begin at 0.", "El eje no comienza en 0.", "O eixo não começa em 0."),
    "movements": Text("MRR movements", "Movimientos del MRR", "Movimentos do MRR"),
    "opening": Text("Opening MRR", "MRR inicial", "MRR inicial"),
    "closing": Text("Closing MRR", "MRR final", "MRR final"),
    "revenue_churn": Text("Revenue churn", "Pérdida de ingresos", "Perda de receita"),
    "retention_of_revenue": Text("Revenue retention", "Retención de ingresos", "Retenção de receita"),
    "retention_12m": Text(
        "Revenue retention over 12 months", "Retención de ingresos a 12 meses", "Retenção de receita em 12 meses"
    ),
    "churn_reasons": Text("Why customers left", "Por qué se fueron los clientes", "Por que os clientes saíram"),
    "renewal_outcomes": Text("ARR due by outcome", "ARR por renovar según resultado", "ARR a renovar por resultado"),
    "renewal_rates": Text("ARR renewed", "ARR renovado", "ARR renovado"),
    "renewed": Text("renewed", "renovado", "renovado"),
    "lost": Text("lost", "perdido", "perdido"),
    "open": Text("open", "pendiente", "em aberto"),
    "upcoming": Text("Upcoming renewals", "Próximas renovaciones", "Próximas renovações"),
    "response_rates": Text(
        "Survey response rates", "Tasas de respuesta a las encuestas", "Taxas de resposta às pesquisas"
    ),
    "values_now": Text("Lifetime value and cost", "Valor de vida y costo", "Valor vitalício e custo"),
    "survival": Text("How long customers stay", "Cuánto permanecen los clientes", "Por quanto tempo ficam os clientes"),
    "recovery_by_code": Text(
        "Payments recovered by decline code",
        "Pagos recuperados por código de rechazo",
        "Pagamentos recuperados por código de recusa",
    ),
    "recovery_by_attempt": Text(
        "Retry success by attempt", "Éxito de los reintentos por intento", "Sucesso das novas tentativas por tentativa"
    ),
    "first_response": Text("First response", "Primera respuesta", "Primeira resposta"),
    "tickets_by_type": Text("Tickets by type", "Tickets por tipo", "Chamados por tipo"),
    "times_to": Text("Days until onboarded", "Días hasta la incorporación", "Dias até a implantação"),
    "features": Text("Feature adoption", "Adopción de funciones", "Adoção de funcionalidades"),
    "by_segment": Text("KPIs by segment", "KPI por segmento", "KPIs por segmento"),
    "by_stage": Text(
        "Customers by life-cycle stage and churn risk",
        "Clientes por etapa del ciclo de vida y riesgo de cancelación",
        "Clientes por etapa do ciclo de vida e risco de cancelamento",
    ),
    "bands": Text("Customers by health band", "Clientes por banda de salud", "Clientes por faixa de saúde"),
    "backtest": Text(
        "Churn after the score, by decile",
        "Cancelación tras la puntuación, por decil",
        "Cancelamento após a pontuação, por decil",
    ),
    "backtest_note": Text(
        "Decile 1 has the lowest scores. {months} months after the score; AUC {auc}; the red band left {lift} times as "
        "often as all.",
        "El decil 1 tiene las puntuaciones más bajas. {months} meses tras la puntuación; AUC {auc}; la banda roja se "
        "fue {lift} veces tanto como el total.",
        "O decil 1 tem as pontuações mais baixas. {months} meses após a pontuação; AUC {auc}; a faixa vermelha saiu "
        "{lift} vezes tanto quanto o total.",
    ),
    "decile": Text("decile", "decil", "decil"),
    # Captions
    "n": Text("n", "n", "n"),
    "n_between": Text("n from {low} to {high}", "n de {low} a {high}", "n de {low} a {high}"),
    "n_is": Text("n = {n}", "n = {n}", "n = {n}"),
    "interval": Text("95 % interval", "intervalo del 95 %", "intervalo de 95 %"),
    "interval_shown": Text(
        "Bars through the points: 95 % interval.",
        "Barras en los puntos: intervalo del 95 %.",
        "Barras nos pontos: intervalo de 95 %.",
    ),
    "no_interval": Text(
        "Without interval: amounts are not independent cases.",
        "Sin intervalo: los importes no son casos independientes.",
        "Sem intervalo: valores não são casos independentes.",
    ),
    "definition": Text("Definition", "Definición", "Definição"),
    "figures": Text("Figures", "Cifras", "Números"),
    "numerator": Text("numerator", "numerador", "numerador"),
    "denominator": Text("denominator", "denominador", "denominador"),
    "value_word": Text("value", "valor", "valor"),
    "formula": Text("Formula", "Fórmula", "Fórmula"),
    "column": Text("Column", "Columna", "Coluna"),
    "section": Text("Definitions section", "Sección de las definiciones", "Seção das definições"),
    "not_observed": Text("not observed", "no observado", "não observado"),
    "nothing_to_show": Text(
        "Not observed: it needs the tables {tables}.",
        "No observado: necesita las tablas {tables}.",
        "Não observado: precisa das tabelas {tables}.",
    ),
    "few_cases": Text("few cases", "pocos casos", "poucos casos"),
    "for_all": Text(
        "For all customers, whatever the segment.",
        "De todos los clientes, sea cual sea el segmento.",
        "De todos os clientes, seja qual for o segmento.",
    ),
    "chart_of": Text(
        "Chart. {title}, {period}. Newest value: {value}{interval}.",
        "Gráfico. {title}, {period}. Valor más reciente: {value}{interval}.",
        "Gráfico. {title}, {period}. Valor mais recente: {value}{interval}.",
    ),
    "chart_parts": Text(
        "Chart. {title}, {period}: {parts}.",
        "Gráfico. {title}, {period}: {parts}.",
        "Gráfico. {title}, {period}: {parts}.",
    ),
    "from_to": Text("{low} to {high}", "{low} a {high}", "{low} a {high}"),
    # Tiles
    "better": Text("better", "mejor", "melhor"),
    "worse": Text("worse", "peor", "pior"),
    "higher": Text("higher", "más alto", "mais alto"),
    "lower": Text("lower", "más bajo", "mais baixo"),
    "same": Text("unchanged", "sin cambio", "sem mudança"),
    "within": Text("within the interval", "dentro del intervalo", "dentro do intervalo"),
    "no_before": Text("nothing to compare", "sin comparación", "sem comparação"),
    "compared": Text(
        "Changes are against {period}. A change of a rate within its 95 % interval is called neither better nor worse.",
        "Los cambios son frente a {period}. Un cambio de una tasa dentro de su intervalo del 95 % no se llama mejor ni "
        "peor.",
        "As mudanças são em relação a {period}. Uma mudança de uma taxa dentro do seu intervalo de 95 % não se chama "
        "melhor nem pior.",
    ),
    # Digest
    "digest": Text("Customer success digest", "Resumen de éxito del cliente", "Resumo de sucesso do cliente"),
    "no_value": Text("Without a value", "Sin valor", "Sem valor"),
    "reasons_of_change": Text("Why it changed", "Por qué cambió", "Por que mudou"),
    "changed_most": Text("Accounts that changed most", "Cuentas que más cambiaron", "Contas que mais mudaram"),
    "largest_of": Text(
        "The {shown} largest of {all}; all of them: {table}.",
        "Los {shown} mayores de {all}; todos: {table}.",
        "Os {shown} maiores de {all}; todos: {table}.",
    ),
    "restated": Text(
        "Closed months reckoned otherwise now",
        "Meses cerrados que ahora se calculan de otro modo",
        "Meses fechados que agora se calculam de outro modo",
    ),
    "loads_incomplete": Text(
        "Not all rows have arrived: {tables}.",
        "No han llegado todas las filas: {tables}.",
        "Nem todas as linhas chegaram: {tables}.",
    ),
    # Units
    **UNITS,
    "percentage_points": Text("pp", "p. p.", "p.p."),
    "age_months": Text(
        "months since the first payment", "meses desde el primer pago", "meses desde o primeiro pagamento"
    ),
    # Tables
    "cohort": Text("Cohort", "Cohorte", "Coorte"),
    "joined": Text("customers", "clientes", "clientes"),
    "age_in": Text("Age in periods", "Edad en períodos", "Idade em períodos"),
    "average": Text("All cohorts", "Todas las cohortes", "Todas as coortes"),
    "customers": Text("customers", "clientes", "clientes"),
    "cohort_note": Text(
        "Cells are measured at the end of each period; * marks one that is not over.",
        "Las celdas se miden al cierre de cada período; * marca el que no ha terminado.",
        "As células são medidas no fim de cada período; * marca o que não terminou.",
    ),
    "account": Text("Account", "Cuenta", "Conta"),
    "owner": Text("Owner", "Responsable", "Responsável"),
    "due_on": Text("Due", "Vence", "Vence"),
    "days_to_go": Text("Days left", "Días que faltan", "Dias restantes"),
    "terms": Text("Terms", "Plazos", "Prazos"),
    "arr": Text("ARR", "ARR", "ARR"),
    "auto_renews": Text("Renews unless cancelled", "Se renueva salvo cancelación", "Renova salvo cancelamento"),
    "health_band": Text("Health", "Salud", "Saúde"),
    "next_days": Text("in the next {days} days", "en los próximos {days} días", "nos próximos {days} dias"),
    "first_of": Text(
        "The first {shown} of {all}; all of them: {table}.",
        "Los primeros {shown} de {all}; todos: {table}.",
        "Os primeiros {shown} de {all}; todos: {table}.",
    ),
    "most_of": Text(
        "The {shown} with most ARR of {all}; all of them: {table}.",
        "Los {shown} de mayor ARR de {all}; todos: {table}.",
        "Os {shown} de maior ARR de {all}; todos: {table}.",
    ),
    "none_open": Text("None.", "Ninguno.", "Nenhum."),
    "by_when": Text("Act by", "Actuar antes del", "Agir até"),
    "since": Text("Since", "Desde", "Desde"),
    "why": Text("Why", "Por qué", "Por quê"),
    "reason": Text("Reason", "Motivo", "Motivo"),
    "kpi": Text("KPI", "KPI", "KPI"),
    "stage": Text("Stage", "Etapa", "Etapa"),
    "state_of": Text("Accounts as of {day}.", "Cuentas al {day}.", "Contas em {day}."),
    "yes": Text("yes", "sí", "sim"),
    "no": Text("no", "no", "não"),
    # Data quality
    "loads": Text("Rows by source table", "Filas por tabla de origen", "Linhas por tabela de origem"),
    "source": Text("Source", "Origen", "Origem"),
    "table": Text("Table", "Tabla", "Tabela"),
    "recorded_on": Text("Day", "Día", "Dia"),
    "rows_extracted": Text("Rows", "Filas", "Linhas"),
    "rows_accepted": Text("Accepted", "Aceptadas", "Aceitas"),
    "rows_quarantined": Text("Refused", "Rechazadas", "Recusadas"),
    "rows_superseded": Text("Superseded", "Reemplazadas", "Substituídas"),
    "identity": Text("Rows matched to an account", "Filas asociadas a una cuenta", "Linhas associadas a uma conta"),
    "matched": Text("Matched", "Asociadas", "Associadas"),
    "unmatched": Text("Not matched", "Sin asociar", "Sem associação"),
    "conflicting": Text("Conflicting", "En conflicto", "Em conflito"),
    "excluded": Text("Accounts left out", "Cuentas excluidas", "Contas excluídas"),
    "accounts": Text("Accounts", "Cuentas", "Contas"),
    # Portrait
    "facts_of_account": Text("The account", "La cuenta", "A conta"),
    "mrr_history": Text("ARR over time", "ARR en el tiempo", "ARR ao longo do tempo"),
    "changes": Text("Changes of ARR", "Cambios del ARR", "Mudanças do ARR"),
    "day": Text("Day", "Día", "Dia"),
    "movement": Text("Movement", "Movimiento", "Movimento"),
    "amount": Text("Amount", "Importe", "Valor"),
    "history": Text(
        "Contracts, answers and tickets", "Contratos, respuestas y tickets", "Contratos, respostas e chamados"
    ),
    "contracts": Text("Contract terms", "Plazos de contrato", "Prazos de contrato"),
    "outcome": Text("Outcome", "Resultado", "Resultado"),
    "answers": Text("Survey answers", "Respuestas a encuestas", "Respostas a pesquisas"),
    "survey": Text("Survey", "Encuesta", "Pesquisa"),
    "answer": Text("Answer", "Respuesta", "Resposta"),
    "tickets": Text("Support tickets", "Tickets de soporte", "Chamados de suporte"),
    "type": Text("Type", "Tipo", "Tipo"),
    "severity": Text("Severity", "Gravedad", "Gravidade"),
    "solved": Text("Solved", "Resuelto", "Resolvido"),
    "newest_of": Text(
        "The newest {shown} of {all}.", "Los {shown} más recientes de {all}.", "Os {shown} mais recentes de {all}."
    ),
    "state": Text("State", "Estado", "Estado"),
    "customer_since": Text("Customer since", "Cliente desde", "Cliente desde"),
    "lost_on": Text("Lost on", "Perdido el", "Perdido em"),
    "mrr": Text("MRR", "MRR", "MRR"),
    "plan": Text("Plan", "Plan", "Plano"),
    "country": Text("Country", "País", "País"),
    "industry": Text("Industry", "Sector", "Setor"),
    "channel": Text("Channel", "Canal", "Canal"),
    "tenure": Text("Tenure", "Antigüedad", "Tempo de casa"),
    "life_cycle_stage": Text("Life-cycle stage", "Etapa del ciclo de vida", "Etapa do ciclo de vida"),
    "churn_risk": Text("Churn risk", "Riesgo de cancelación", "Risco de cancelamento"),
    "next_renewal": Text("Next renewal", "Próxima renovación", "Próxima renovação"),
    "past_due": Text("ARR past due", "ARR con pagos vencidos", "ARR com pagamentos vencidos"),
    "failed_payments": Text("Open failed payments", "Pagos fallidos abiertos", "Pagamentos falhos em aberto"),
    "last_nps": Text("Last NPS answer", "Última respuesta NPS", "Última resposta NPS"),
    "follow_ups": Text("Answers to follow up", "Respuestas por atender", "Respostas a acompanhar"),
    "open_tickets": Text("Open tickets", "Tickets abiertos", "Chamados em aberto"),
    "urgent_tickets": Text("of these urgent", "de ellos urgentes", "destes, urgentes"),
    "seats_used": Text("Seats in use", "Licencias en uso", "Licenças em uso"),
    "clv_historic": Text("Revenue to date", "Ingresos hasta la fecha", "Receita até a data"),
    "clv_residual": Text("Expected still to bring", "Valor esperado restante", "Valor esperado restante"),
    "of": Text("{part} of {whole}", "{part} de {whole}", "{part} de {whole}"),
    "health_score": Text("Health score", "Puntuación de salud", "Pontuação de saúde"),
    "measure": Text("Measure", "Medida", "Medida"),
    "points_lost": Text("Points lost", "Puntos perdidos", "Pontos perdidos"),
    "standing": Text("Now", "Ahora", "Agora"),
    "what": Text("What", "Dato", "Dado"),
    "closing_balance": Text("After it", "Después", "Depois"),
}

VALUES: dict[str, Text] = {
    "all": Text("all", "todos", "todos"),
    "unassigned": Text("unassigned", "sin asignar", "sem atribuição"),
    "vip": Text("vip", "vip", "vip"),
    "potential": Text("potential", "potencial", "potencial"),
    "core": Text("core", "central", "central"),
    "non_core": Text("non-core", "no central", "não central"),
    "at_risk": Text("At risk", "En riesgo", "Em risco"),
    "failed_payment": Text("Failed payment", "Pago fallido", "Pagamento falho"),
    "upcoming_renewal": Text("Upcoming renewal", "Próxima renovación", "Próxima renovação"),
    "expansion_candidate": Text("May expand", "Puede crecer", "Pode expandir"),
    "survey_follow_up": Text("Low answer to follow up", "Respuesta baja por atender", "Resposta baixa a acompanhar"),
    "win_back_candidate": Text("May be won back", "Puede recuperarse", "Pode ser recuperado"),
    "voluntary": Text("voluntary", "voluntaria", "voluntário"),
    "involuntary": Text("involuntary", "involuntaria", "involuntário"),
    "unknown": Text("unknown", "desconocida", "desconhecido"),
    "untyped": Text("untyped", "sin tipo", "sem tipo"),
    "red": Text("red", "roja", "vermelha"),
    "yellow": Text("yellow", "amarilla", "amarela"),
    "green": Text("green", "verde", "verde"),
    "insufficient_data": Text("too little data", "datos insuficientes", "dados insuficientes"),
    "lead": Text("lead", "potencial cliente", "potencial cliente"),
    "paying": Text("paying", "de pago", "pagante"),
    "paused": Text("paused", "en pausa", "em pausa"),
    "temporarily_free": Text("temporarily free", "gratis por un tiempo", "grátis por um tempo"),
    "churned": Text("churned", "perdido", "perdido"),
    "new": Text("new", "nuevo", "novo"),
    "expansion": Text("expansion", "expansión", "expansão"),
    "contraction": Text("contraction", "contracción", "contração"),
    "churn": Text("churn", "cancelación", "cancelamento"),
    "reactivation": Text("reactivation", "reactivación", "reativação"),
    "fx_impact": Text("exchange rates", "tipos de cambio", "câmbio"),
    "seat_part": Text("units", "unidades", "unidades"),
    "price_part": Text("price or plan", "precio o plan", "preço ou plano"),
    "discount_part": Text("discounts", "descuentos", "descontos"),
    "product_added_part": Text("products added", "productos añadidos", "produtos adicionados"),
    "product_removed_part": Text("products removed", "productos retirados", "produtos removidos"),
    "late_record": Text("late record", "registro tardío", "registro tardio"),
    "correction": Text("correction", "corrección", "correção"),
    "deletion": Text("deletion", "eliminación", "exclusão"),
    "merge": Text("merge", "fusión de cuentas", "fusão de contas"),
    "fx": Text("exchange rates", "tipos de cambio", "câmbio"),
    "later_outcome": Text("later outcome", "resultado posterior", "resultado posterior"),
    "definition_change": Text("definition change", "cambio de definición", "mudança de definição"),
    "renewed": Text("renewed", "renovado", "renovado"),
    "lost": Text("lost", "perdido", "perdido"),
    "open": Text("open", "pendiente", "em aberto"),
    "low": Text("low", "bajo", "baixo"),
    "medium": Text("medium", "medio", "médio"),
    "high": Text("high", "alto", "alto"),
    "normal": Text("normal", "normal", "normal"),
    "urgent": Text("urgent", "urgente", "urgente"),
    "history_too_short": Text("history too short", "historia demasiado corta", "histórico curto demais"),
    "no_customers": Text("no customers", "sin clientes", "sem clientes"),
    "no_paying_customers": Text("no paying customers", "sin clientes de pago", "sem clientes pagantes"),
    "no_revenue": Text("no revenue", "sin ingresos", "sem receita"),
    "no_churn": Text("nobody was lost", "nadie se fue", "ninguém saiu"),
    "no_retention_cost": Text("no retention cost", "sin costo de retención", "sem custo de retenção"),
    "no_cac": Text("no acquisition cost", "sin costo de adquisición", "sem custo de aquisição"),
    "too_few_renewals": Text("too few renewals", "muy pocas renovaciones", "renovações de menos"),
    "too_few_customers": Text("too few customers", "muy pocos clientes", "clientes de menos"),
    "not_modelled": Text("not modelled", "sin modelo", "sem modelo"),
}
