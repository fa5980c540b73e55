"""Source contracts of finance: the cost ledger and exchange rates."""

import polars as pl

from schemas.contract import Contract, optional, required


class Costs(Contract, table="costs", key=("cost_id",)):
    """One row per cost booked for customer acquisition or retention."""

    cost_id: pl.String = required("Identifier of the booking.")
    category: pl.String = required("Cost category; the policy maps it to acquisition or retention.")
    booked_on: pl.Date = required("Day of the booking.")
    amount_minor: pl.Int64 = required("Amount, minor units.", in_range={"min_value": -(10**15), "max_value": 10**15})
    currency: pl.String = required("ISO 4217 currency.", str_matches=r"^[A-Z]{3}$")
    segment: pl.String = optional("Segment that the cost is attributed to.")
    account_ref: pl.String = optional("Account that the cost is attributed to.")


class FxRates(Contract, table="fx_rates", key=("currency", "reporting_currency", "rate_date")):
    """One row per currency and day of an exchange rate."""

    currency: pl.String = required("ISO 4217 currency that is converted.", str_matches=r"^[A-Z]{3}$")
    reporting_currency: pl.String = required("ISO 4217 currency that it is converted to.", str_matches=r"^[A-Z]{3}$")
    rate_date: pl.Date = required("Day of the rate.")
    rate: pl.String = required(
        "Reporting currency per unit of currency, as a decimal number.",
        str_matches=r"^[0-9]{1,8}(\.[0-9]{1,10})?$",
        str_contains="[1-9]",
    )


CONTRACTS: tuple[type[Contract], ...] = (Costs, FxRates)
