"""The policy: every value that a company may choose, with the defaults of the definitions, and its version."""

import hashlib
import re
from datetime import date
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_CLOCK = re.compile(r"([01]\d|2[0-4]):[0-5]\d")


class Policy(BaseModel):
    """Values marked *policy* in the definitions. Changing any of them changes `policy_version`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("default", pattern=r"^[a-z0-9_.-]{1,40}$", description="Name that precedes the version.")
    reporting_timezone: str = Field("UTC", description="IANA zone in which an instant becomes a day.")
    reporting_currency: str = Field("USD", pattern=r"^[A-Z]{3}$", description="Currency that all others convert to.")
    account_level: Literal["account", "parent"] = Field(
        "account", description="Whether KPIs are classified per account or per parent account."
    )
    pause_max_days: int = Field(90, ge=0, description="Days that a pause keeps the logo.")
    dunning_grace_days: int = Field(30, ge=0, description="Days past due before unpaid MRR is churn.")
    renewal_grace_days: int = Field(30, ge=0, description="Days after a term's end before no decision is churn.")
    swap_gap_days: int = Field(3, ge=0, description="Longest gap between cancel and new start that is bridged.")
    reactivation_window_days: int | None = Field(
        None, ge=1, description="Days after which a returning account counts as new; never where absent."
    )
    small_n: int = Field(30, ge=1, description="Below this denominator a rate is marked `small_n`.")
    close_day: int = Field(8, ge=1, le=28, description="Day of the next month on which a month closes.")
    vip_arr_share_percent: int = Field(50, ge=0, le=100, description="Share of ARR that the vip accounts make.")
    vip_arr_minor: int | None = Field(None, ge=0, description="ARR in minor units from which an account is vip.")
    expansion_potential_from: int = Field(70, ge=0, le=100, description="Expansion potential that makes `potential`.")
    tenure_bands_months: tuple[int, ...] = Field(
        (3, 12, 24, 36), description="Months of tenure at which the next tenure band begins."
    )
    involuntary_reasons: tuple[str, ...] = Field(
        ("payment_failed", "payment_disputed", "no_card", "fraud", "tax_failure", "gateway_failure"),
        description="Churn reasons that mean involuntary churn.",
    )
    voluntary_reasons: tuple[str, ...] = Field(
        (
            "requested",
            "non_renewal",
            "downgrade_to_free",
            "refund",
            "price",
            "competitor",
            "missing_feature",
            "low_usage",
            "closed_business",
            "poor_support",
            "pause",
            "temporarily_free",
        ),
        description="Churn reasons that mean voluntary churn; every other reason is `unknown`.",
    )
    support_hours: dict[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], str] = Field(
        dict.fromkeys(("mon", "tue", "wed", "thu", "fri"), "09:00-17:00"),
        min_length=1,
        validate_default=True,
        description="Hours of support by weekday, in the reporting time zone; other weekdays are closed.",
    )
    support_holidays: tuple[date, ...] = Field((), description="Days on which support is closed.")
    acquisition_cost_categories: tuple[str, ...] = Field(
        ("sales", "marketing"), description="Cost categories that are spent on new customers."
    )
    retention_cost_categories: tuple[str, ...] = Field(
        ("success", "support", "renewals", "training", "retention_offers"),
        description="Cost categories that are spent on the customers there are.",
    )
    cac_lag_months: int = Field(0, ge=0, description="Months by which acquisition cost precedes its new customers.")
    gross_margin_percent: int = Field(80, ge=0, le=100, description="Share of revenue that is left after its cost.")
    clv_discount_percent: int = Field(10, ge=1, description="Discount of a year in predicted values, in percent.")
    loss_reason_window_days: int = Field(
        30, ge=0, description="Days before and after a loss in which a loss reason of the CRM or an exit survey is its."
    )
    renewal_notice_days: int = Field(90, ge=1, description="Days before a term's end from which to act on its renewal.")
    win_back_days: int = Field(180, ge=1, description="Days after which a lost or paused account is no candidate.")
    survey_follow_up_days: int = Field(90, ge=1, description="Days after which a low answer is no longer to follow up.")
    detractor_days: int = Field(180, ge=1, description="Days in which a detractor's answer puts an account at risk.")
    usage_window_days: int = Field(30, ge=1, description="Days of use that make a seat active.")
    usage_drop_percent: int = Field(
        50, ge=1, le=100, description="Fall of active users from one usage window to the next that is a risk."
    )
    usage_drop_from_users: int = Field(3, ge=1, description="Active users below which a fall is no risk.")
    expansion_utilisation_percent: int = Field(
        90, ge=0, description="Active seats per 100 purchased seats that make an expansion candidate."
    )

    @field_validator("reporting_timezone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value!r} is no IANA time zone, for example Europe/Madrid or America/Costa_Rica")
        return value

    @field_validator("support_hours")
    @classmethod
    def _hours_are_open(cls, value: dict[str, str]) -> dict[str, str]:
        for day, hours in value.items():
            opens, _, closes = hours.partition("-")
            if not (_CLOCK.fullmatch(opens) and _CLOCK.fullmatch(closes) and opens < closes <= "24:00"):
                raise ValueError(f"{hours!r} are no hours for {day}: write opening and closing as in '09:00-17:30'")
        return value

    @model_validator(mode="after")
    def _one_kind_per_cost_category(self) -> "Policy":
        twice = sorted(set(self.acquisition_cost_categories) & set(self.retention_cost_categories))
        if twice:
            raise ValueError(f"cost categories that are both acquisition and retention: {', '.join(twice)}")
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The reporting time zone."""
        return ZoneInfo(self.reporting_timezone)

    @property
    def version(self) -> str:
        """Name and content hash: two policies with one value apart never share a version."""
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()
        return f"{self.name}-{digest[:10]}"
