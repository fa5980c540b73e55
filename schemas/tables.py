"""Every published table by its full name: facts, then marts."""

from schemas import facts, marts, marts_actions, marts_churn, marts_renewals, marts_surveys
from schemas.contract import Contract, table_name

_CONTRACTS: tuple[type[Contract], ...] = (
    *facts.CONTRACTS,
    marts_renewals.ContractTerm,
    marts_surveys.SurveyAnswer,
    marts_churn.ChurnEvent,
    marts_churn.PaymentAttempt,
    *marts.CONTRACTS,
    marts_renewals.Renewals,
    marts_renewals.UpcomingRenewals,
    marts_surveys.SurveyScores,
    marts_surveys.SurveyResponseRates,
    marts_surveys.SurveyFollowUps,
    marts_churn.ChurnReasons,
    marts_churn.Dunning,
    marts_actions.Segments,
    marts_actions.ActionList,
    marts_actions.Account360,
)

PUBLISHED: dict[str, type[Contract]] = {table_name(contract): contract for contract in _CONTRACTS}
