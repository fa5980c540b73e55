"""Source contracts of product usage: seats bought and use by day and feature."""

import polars as pl

from schemas.contract import Contract, optional, required


class Seats(Contract, table="seats", key=("account_ref", "effective_from")):
    """One row per account and day from which a number of purchased seats holds."""

    account_ref: pl.String = required("Account or customer.")
    effective_from: pl.Date = required("First day with this number of seats.")
    purchased_seats: pl.Int64 = optional(
        "Seats purchased; null for unlimited.", in_range={"min_value": 0, "max_value": 10**9}
    )


class DailyUse(Contract, table="daily_use", key=("account_ref", "day", "user_id", "feature")):
    """One row per account, day, user and feature with at least one use."""

    account_ref: pl.String = required("Account or customer.")
    day: pl.Date = required("Day of use in the reporting time zone.")
    user_id: pl.String = required("User (a pseudonymous id).", personal=True)
    feature: pl.String = required("Feature used; `login` for a login alone.")
    events: pl.Int64 = required("Number of use events.", in_range={"min_value": 1, "max_value": 10**12})


class FeatureEntitlements(Contract, table="feature_entitlements", key=("plan", "feature")):
    """One row per plan and feature that the plan entitles to."""

    plan: pl.String = required("Plan.")
    feature: pl.String = required("Feature.")
    is_core: pl.Boolean = optional("True for a feature that most customers are expected to use.")


CONTRACTS: tuple[type[Contract], ...] = (Seats, DailyUse, FeatureEntitlements)
