"""Numbers, money and dates as the reader writes them, by Babel."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from babel import Locale, numbers
from babel.dates import format_date, format_skeleton

from pipelines.report import LANGUAGES
from pipelines.report.texts import NO_VALUE, word

ChartLocale = Literal["en-US", "es-ES", "pt-BR"]
CHART_LOCALES: dict[str, ChartLocale] = {"en": "en-US", "es": "es-ES", "pt": "pt-BR"}
"""Names of the d3 locales for the axes of charts."""
_WHOLE_FROM = 1_000
"""Money from which on its minor units are left out."""
_FINE_BELOW = 0.1
"""Shares below which a second decimal tells something."""


@dataclass(frozen=True)
class Formats:
    """How values look in one language and reporting currency."""

    language: str
    currency: str

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise ValueError(f"no language {self.language!r}; there are {', '.join(LANGUAGES)}")

    @property
    def locale(self) -> Locale:
        """Babel's locale."""
        return Locale.parse(self.language)

    def value(self, value: float | None, unit: str, currency: str | None = None) -> str:
        """A value of a KPI by the unit that the catalogue gives it."""
        if value is None:
            return NO_VALUE
        if unit == "rate":
            return self.percent(value)
        if unit.startswith("money"):
            return self.money(value, currency)
        if unit == "count":
            return self.number(value, 0)
        if unit in ("minutes", "hours", "days", "months"):
            return f"{self.number(value, 1)} {word(unit, self.language)}"
        return self.number(value, 1 if unit == "points" else 2)

    def number(self, value: float | None, decimals: int = 0) -> str:
        """A number with grouping and so many decimals."""
        if value is None:
            return NO_VALUE
        pattern = "#,##0" + ("." + "0" * decimals if decimals else "")
        return numbers.format_decimal(round(value, decimals) + 0.0, format=pattern, locale=self.locale)

    def percent(self, value: float | None) -> str:
        """A share in percent."""
        if value is None:
            return NO_VALUE
        pattern = self.locale.percent_formats[None].pattern
        decimals = "0.00" if abs(value) < _FINE_BELOW else "0.0"
        return numbers.format_percent(value, format=pattern.replace("0", decimals), locale=self.locale)

    def money(self, value: float | None, currency: str | None = None) -> str:
        """An amount; from 1,000 on without minor units."""
        if value is None:
            return NO_VALUE
        pattern = self.locale.currency_formats["standard"].pattern
        if abs(value) < _WHOLE_FROM:
            return numbers.format_currency(value, currency or self.currency, format=pattern, locale=self.locale)
        return numbers.format_currency(
            round(value),
            currency or self.currency,
            format=pattern.replace("0.00", "0"),
            locale=self.locale,
            currency_digits=False,
        )

    def change(self, now: float, before: float, unit: str) -> str:
        """How a value changed: in percentage points or points, else in percent of the value before.

        Below zero there is no percent of it: money then changes by an amount.
        """
        if unit == "rate":
            points = numbers.format_decimal((now - before) * 100, format="+0.00;-0.00", locale=self.locale)
            return f"{points} {word('percentage_points', self.language)}"
        if unit == "points":
            points = numbers.format_decimal(now - before, format="+0.0;-0.0", locale=self.locale)
            return f"{points} {word('points', self.language)}"
        if min(before, now) < 0 and unit.startswith("money"):
            return f"{'+' if now >= before else '-'}{self.money(abs(now - before))}"
        if before <= 0:
            return NO_VALUE
        pattern = self.locale.percent_formats[None].pattern.replace("#,##0", "0.0")
        return numbers.format_percent((now - before) / before, format=f"+{pattern};-{pattern}", locale=self.locale)

    def day(self, value: date | None) -> str:
        """A day."""
        return NO_VALUE if value is None else format_date(value, "medium", locale=self.locale)

    def period(self, start: date, grain: str) -> str:
        """A period in full."""
        if grain == "month":
            return format_skeleton("yMMMM", start, locale=self.locale)
        return format_date(start, "QQQ y" if grain == "quarter" else "y", locale=self.locale)

    def tick(self, start: date, grain: str) -> str:
        """A period in few letters, for an axis."""
        if grain == "month":
            return format_date(start, "MMM yy", locale=self.locale).replace(".", "")
        return format_date(start, "QQQ yy" if grain == "quarter" else "y", locale=self.locale)

    def last_day(self, end: date) -> str:
        """The last day of a period, whose end is the first day after it."""
        return self.day(end - timedelta(days=1))

    def span(self, first: str, last: str) -> str:
        """From one period or day to another."""
        return first if first == last else f"{first} {NO_VALUE} {last}"
