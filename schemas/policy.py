"""The policy: every value that a company may choose, with the defaults of the definitions, and its version."""

import hashlib
import re
from datetime import date
from typing import Annotated, Literal, get_args
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_CLOCK = re.compile(r"([01]\d|2[0-4]):[0-5]\d")


HealthMeasureName = Literal[
    "licence_utilisation",
    "active_user_trend",
    "feature_breadth",
    "last_activity",
    "surveys",
    "tickets",
    "payments",
    "onboarding",
    "renewal",
    "mrr_trend",
]
HEALTH_MEASURES: tuple[HealthMeasureName, ...] = get_args(HealthMeasureName)
"""Measures of the health score, definitions section 10, in the order in which people read them."""


class HealthScale(BaseModel):
    """How a measure of the health score becomes 0 to 100 points, and how much it weighs."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    zero_at: float = Field(description="Value with 0 points; above `hundred_at` where lower is better.")
    hundred_at: float = Field(description="Value with 100 points.")
    weight: int = Field(ge=0, le=10_000, description="Weight among the measures; 0 leaves it out.")

    @model_validator(mode="after")
    def _has_a_direction(self) -> "HealthScale":
        if self.zero_at == self.hundred_at:
            raise ValueError("zero_at and hundred_at are the same: the measure tells nothing")
        return self


class HealthWeights(BaseModel):
    """Weights of the health score for a segment, a life-cycle stage, or both; measures not named keep theirs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    segment: str | None = Field(None, description="Segment that they are for; any where absent.")
    life_cycle_stage: str | None = Field(None, description="Life-cycle stage that they are for; any where absent.")
    weights: dict[HealthMeasureName, Annotated[int, Field(ge=0, le=10_000)]] = Field(min_length=1)


HEALTH_VALUES: dict[HealthMeasureName, str] = {
    "licence_utilisation": "Active seats of the usage window / purchased seats.",
    "active_user_trend": "Active users of the usage window / those of the window before.",
    "feature_breadth": "Features used in the usage window / features that the plans in force entitle to.",
    "last_activity": "Days since the last use.",
    "surveys": "Mean answer: 100 promoter, positive or low effort, 0 detractor or low, 50 between.",
    "tickets": "New tickets, and open ones by their severity.",
    "payments": "Days for which the oldest failed payment has been unpaid; 0 without one.",
    "onboarding": "Days for which onboarding has been open; 0 once completed.",
    "renewal": "Days to the end of the open contract term that is due next.",
    "mrr_trend": "Net ARR / net ARR before.",
}
"""What the value of each measure is."""

_SCALES: dict[HealthMeasureName, HealthScale] = {
    "licence_utilisation": HealthScale(zero_at=0.2, hundred_at=0.9, weight=15),
    "active_user_trend": HealthScale(zero_at=0.5, hundred_at=1, weight=15),
    "feature_breadth": HealthScale(zero_at=0.3, hundred_at=1, weight=15),
    "last_activity": HealthScale(zero_at=21, hundred_at=3, weight=10),
    "surveys": HealthScale(zero_at=0, hundred_at=100, weight=10),
    "tickets": HealthScale(zero_at=5, hundred_at=0, weight=10),
    "payments": HealthScale(zero_at=30, hundred_at=0, weight=5),
    "onboarding": HealthScale(zero_at=120, hundred_at=30, weight=5),
    "renewal": HealthScale(zero_at=0, hundred_at=90, weight=10),
    "mrr_trend": HealthScale(zero_at=0.7, hundred_at=1.1, weight=5),
}


class Policy(BaseModel):
    """Values marked *policy* in the definitions. Changing any of them changes `policy_version`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("default", pattern=r"^[a-z0-9_.-]{1,40}$", description="Name that precedes the version.")
    reporting_timezone: str = Field("UTC", description="IANA zone in which an instant becomes a day.")
    reporting_currency: str = Field("USD", pattern=r"^[A-Z]{3}$", description="Currency that all others convert to.")
    account_level: Literal["account", "parent"] = Field(
        "account", description="Whether KPIs are classified per account or per parent account."
    )
    match_email_domains: bool = Field(
        False,
        description="Whether an id that is an e-mail address, or a customer's address, means the only account of its "
        "domain where nothing else matches.",
    )
    public_email_domains: tuple[str, ...] = Field(
        (
            "aol.com",
            "gmail.com",
            "gmx.com",
            "gmx.de",
            "googlemail.com",
            "hotmail.com",
            "icloud.com",
            "live.com",
            "mail.com",
            "me.com",
            "msn.com",
            "outlook.com",
            "proton.me",
            "protonmail.com",
            "qq.com",
            "web.de",
            "yahoo.com",
            "yandex.com",
        ),
        description="Domains of e-mail providers, which mean no account.",
    )
    pause_max_days: int = Field(90, ge=0, description="Days that a pause keeps the logo.")
    dunning_grace_days: int = Field(30, ge=0, description="Days past due before unpaid MRR is churn.")
    renewal_grace_days: int = Field(30, ge=0, description="Days after a term's end before no decision is churn.")
    swap_gap_days: int = Field(3, ge=0, description="Longest gap between cancel and new start that is bridged.")
    reactivation_window_days: int | None = Field(
        None, ge=1, description="Days after which a returning account counts as new; never where absent."
    )
    late_record_days: int = Field(
        45, ge=0, description="Days for which a difference to invoices may be a record that is still to come."
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

    health_measures: dict[HealthMeasureName, HealthScale] = Field(
        _SCALES, description="Scale and weight of each measure of the health score; those not named are not scored."
    )
    health_weights: tuple[HealthWeights, ...] = Field(
        (
            HealthWeights(
                life_cycle_stage="onboarding",
                weights={"licence_utilisation": 20, "active_user_trend": 5, "onboarding": 25},
            ),
            HealthWeights(segment="vip", weights={"surveys": 15, "renewal": 15}),
        ),
        description="Other weights by segment and life-cycle stage; the first that fits an account holds.",
    )
    health_min_coverage_percent: int = Field(
        60, ge=1, le=100, description="Share of the weight that must be known for a score."
    )
    health_red_to: int = Field(30, ge=0, le=98, description="Highest whole score of the red band.")
    health_yellow_to: int = Field(70, ge=1, le=99, description="Highest whole score of the yellow band.")
    health_survey_days: int = Field(180, ge=1, description="Days for which an answer counts in the health score.")
    health_ticket_days: int = Field(90, ge=1, description="Days for which a ticket counts as new in the health score.")
    health_severity_points: dict[Literal["low", "normal", "high", "urgent"], int] = Field(
        {"low": 1, "normal": 1, "high": 2, "urgent": 4},
        description="What an open ticket adds to those of the health score, by severity; one without is normal.",
    )
    health_payment_days: int = Field(
        90, ge=1, description="Days after which an unpaid failed payment no longer counts in the health score."
    )
    health_trend_days: int = Field(90, ge=1, description="Days back with which the health score compares net ARR.")

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

    @model_validator(mode="after")
    def _health_can_be_scored(self) -> "Policy":
        if self.health_red_to >= self.health_yellow_to:
            raise ValueError("health_yellow_to must be above health_red_to")
        if not any(scale.weight for scale in self.health_measures.values()):
            raise ValueError("no measure of health_measures has a weight above 0")
        strange = sorted({name for one in self.health_weights for name in one.weights} - set(self.health_measures))
        if strange:
            raise ValueError(f"health_weights name measures that are not in health_measures: {', '.join(strange)}")
        if not all(any(self.health_weights_of(one).values()) for one in self.health_weights):
            raise ValueError("health_weights that are all 0: nothing would be scored")
        return self

    def health_weights_of(self, chosen: HealthWeights | None) -> dict[HealthMeasureName, int]:
        """The weight of every measure under these weights, or the plain ones; measures in reading order."""
        plain = {name: self.health_measures[name].weight for name in HEALTH_MEASURES if name in self.health_measures}
        return plain | (chosen.weights if chosen else {})

    @property
    def zone(self) -> ZoneInfo:
        """The reporting time zone."""
        return ZoneInfo(self.reporting_timezone)

    @property
    def version(self) -> str:
        """Name and content hash: two policies with one value apart never share a version."""
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()
        return f"{self.name}-{digest[:10]}"
