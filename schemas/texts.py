"""Texts in English, Spanish and Portuguese, and the words for units, directions and grains."""

from typing import Literal, NamedTuple

Unit = Literal[
    "rate",
    "ratio",
    "money",
    "money_per_month",
    "money_per_year",
    "count",
    "score",
    "points",
    "minutes",
    "hours",
    "days",
    "months",
]
Direction = Literal["higher_is_better", "lower_is_better", "neutral"]


class Text(NamedTuple):
    """One text in the three languages."""

    en: str
    es: str
    pt: str

    def of(self, language: str) -> str:
        """The text in a language: en, es or pt."""
        return str(getattr(self, language))


def symbols(text: str) -> Text:
    """A text that is the same in every language: symbols, numbers and names of columns."""
    return Text(text, text, text)


def joined(separator: str, *parts: Text | str) -> Text:
    """Texts one after the other in each language; a part that is a string is `symbols`."""
    texts = [symbols(part) if isinstance(part, str) else part for part in parts]
    return Text(*(separator.join(words) for words in zip(*texts, strict=True)))


UNITS: dict[str, Text] = {
    "rate": Text("share", "porcentaje", "percentual"),
    "ratio": Text("ratio", "razón", "razão"),
    "money": Text("{currency}", "{currency}", "{currency}"),
    "money_per_month": Text("{currency} per month", "{currency} al mes", "{currency} por mês"),
    "money_per_year": Text("{currency} per year", "{currency} al año", "{currency} por ano"),
    "count": Text("number", "número", "número"),
    "score": Text("points", "puntos", "pontos"),
    "points": Text("points", "puntos", "pontos"),
    "minutes": Text("min", "min", "min"),
    "hours": Text("h", "h", "h"),
    "days": Text("days", "días", "dias"),
    "months": Text("months", "meses", "meses"),
}
"""Every `Unit` in words; of money with a place for the currency."""

DIRECTIONS: dict[str, Text] = {
    "higher_is_better": Text("higher is better", "más alto es mejor", "quanto maior, melhor"),
    "lower_is_better": Text("lower is better", "más bajo es mejor", "quanto menor, melhor"),
    "neutral": Text("neutral", "neutro", "neutro"),
}
"""Every `Direction` in words."""

GRAINS: dict[str, Text] = {
    "day": Text("day", "día", "dia"),
    "week": Text("week", "semana", "semana"),
    "month": Text("month", "mes", "mês"),
    "quarter": Text("quarter", "trimestre", "trimestre"),
    "year": Text("year", "año", "ano"),
}
"""Every grain in words."""
