"""The words behind an account of a list (`marts.action_list.facts`, in English) as the reader writes them."""

import re
from collections.abc import Callable
from datetime import date

from pipelines.report.formats import Formats
from schemas.texts import Text

_SLOTS = {
    "money": r"\d+(?:\.\d+)? [A-Z]{3}",
    "day": r"\d{4}-\d\d-\d\d",
    "n": r"\d+",
    "score": r"\d+(?:\.\d+)?",
    "text": r".+",
}

_PHRASES = (
    Text("{money} a year past due", "{money} al año vencidos", "{money} por ano vencidos"),
    Text(
        "{money} of {money} a year due to end",
        "{money} de {money} al año por terminar",
        "{money} de {money} por ano a terminar",
    ),
    Text(
        "active users {n} after {n} in {n} days",
        "usuarios activos: {n}, antes {n}, en {n} días",
        "usuários ativos: {n}, antes {n}, em {n} dias",
    ),
    Text("last NPS answer {n} on {day}", "última respuesta NPS: {n}, el {day}", "última resposta NPS: {n}, em {day}"),
    Text("health score {score} (red)", "puntuación de salud {score} (roja)", "pontuação de saúde {score} (vermelha)"),
    Text(
        "{n} payment unpaid after {n} failed attempt ({text})",
        "{n} pago pendiente tras {n} intento fallido ({text})",
        "{n} pagamento pendente após {n} tentativa falha ({text})",
    ),
    Text(
        "{n} payment unpaid after {n} failed attempts ({text})",
        "{n} pago pendiente tras {n} intentos fallidos ({text})",
        "{n} pagamento pendente após {n} tentativas falhas ({text})",
    ),
    Text(
        "{n} payments unpaid after {n} failed attempts ({text})",
        "{n} pagos pendientes tras {n} intentos fallidos ({text})",
        "{n} pagamentos pendentes após {n} tentativas falhas ({text})",
    ),
    Text(
        "{n} term due, the first on {day}: {money} a year",
        "{n} plazo por vencer, el {day}: {money} al año",
        "{n} prazo a vencer, em {day}: {money} por ano",
    ),
    Text(
        "{n} terms due, the first on {day}: {money} a year",
        "{n} plazos por vencer, el primero el {day}: {money} al año",
        "{n} prazos a vencer, o primeiro em {day}: {money} por ano",
    ),
    Text("renews unless cancelled", "se renueva salvo cancelación", "renova salvo cancelamento"),
    Text(
        "{n} of {n} seats active in {n} days",
        "{n} de {n} licencias activas en {n} días",
        "{n} de {n} licenças ativas em {n} dias",
    ),
    Text(
        "over its seats in the days before too",
        "también antes por encima de sus licencias",
        "também antes acima das suas licenças",
    ),
    Text(
        "{n} low answer to follow up since {day}, the last one {text}",
        "{n} respuesta baja por atender desde el {day}: {text}",
        "{n} resposta baixa a acompanhar desde {day}: {text}",
    ),
    Text(
        "{n} low answers to follow up since {day}, the last one {text}",
        "{n} respuestas bajas por atender desde el {day}, la última {text}",
        "{n} respostas baixas a acompanhar desde {day}, a última {text}",
    ),
    Text("paused on {day}", "en pausa desde el {day}", "em pausa desde {day}"),
    Text("left ({text}) on {day}", "se fue ({text}) el {day}", "saiu ({text}) em {day}"),
    Text(
        "paid {money} a year, customer since {day}",
        "pagaba {money} al año, cliente desde el {day}",
        "pagava {money} por ano, cliente desde {day}",
    ),
)
"""What `transforms.action_lists` writes, piece by piece. A slot stands in the same place in every language."""
_SLOT = re.compile(r"\{(\w+)\}")


def _pattern(text: str) -> re.Pattern[str]:
    parts = _SLOT.split(text)
    return re.compile("".join(f"({_SLOTS[part]})" if at % 2 else re.escape(part) for at, part in enumerate(parts)))


_PATTERNS = [(_pattern(phrase.en), phrase) for phrase in _PHRASES]


def in_words_of(formats: Formats, facts: str) -> str:
    """The facts in the page's language, with its numbers, money and dates; a piece that is not known stays."""
    return "; ".join(_piece(formats, piece) for piece in facts.split("; "))


def _piece(formats: Formats, piece: str) -> str:
    for pattern, phrase in _PATTERNS:
        if found := pattern.fullmatch(piece):
            words = _SLOT.split(phrase.of(formats.language))
            words[1::2] = [
                _WRITE[kind](formats, value) for kind, value in zip(words[1::2], found.groups(), strict=True)
            ]
            return "".join(words)
    return piece


def _money(formats: Formats, value: str) -> str:
    amount, currency = value.split(" ")
    return formats.money(float(amount), currency)


_WRITE: dict[str, Callable[[Formats, str], str]] = {
    "money": _money,
    "day": lambda formats, value: formats.day(date.fromisoformat(value)),
    "score": lambda formats, value: formats.number(float(value), 1),
    "n": lambda formats, value: formats.number(int(value)),
    "text": lambda _, value: value,
}
