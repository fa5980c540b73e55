"""Every published table by its full name: facts, then marts."""

from schemas import (
    facts,
    marts,
    marts_adoption,
    marts_onboarding,
    marts_renewals,
    marts_support,
    marts_surveys,
    marts_value,
)
from schemas.contract import Contract, table_name

_CONTRACTS: tuple[type[Contract], ...] = (
    *facts.CONTRACTS,
    marts_renewals.ContractTerm,
    marts_surveys.SurveyAnswer,
    marts_support.Ticket,
    marts_adoption.UsageDay,
    marts_onboarding.Onboarding,
    marts_onboarding.Milestone,
    marts_onboarding.Outcome,
    marts_value.Cost,
    marts_value.RevenueLine,
    *marts.CONTRACTS,
    marts_renewals.Renewals,
    marts_renewals.UpcomingRenewals,
    marts_surveys.SurveyScores,
    marts_surveys.SurveyResponseRates,
    marts_surveys.SurveyFollowUps,
    marts_support.Support,
    marts_support.SupportByType,
    marts_support.ResourceRatings,
    marts_adoption.Adoption,
    marts_adoption.FeatureAdoption,
    marts_onboarding.OnboardingMart,
    marts_value.AcquisitionCost,
    marts_value.RetentionCost,
    marts_value.InvoicedRevenue,
    marts_value.Clv,
    marts_value.Survival,
    marts_value.SurvivalCurve,
    marts_value.AccountValue,
)

PUBLISHED: dict[str, type[Contract]] = {table_name(contract): contract for contract in _CONTRACTS}
