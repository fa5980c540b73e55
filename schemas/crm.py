"""Source contracts of the CRM and customer-success tools: accounts, contracts, opportunities, onboarding."""

import pandera.polars as pa
import polars as pl

from schemas.contract import Contract, Instant, optional, required


class Accounts(Contract, table="accounts", key=("account_id", "effective_from")):
    """One row per account and date from which its attributes hold."""

    account_id: pl.String = required("Identifier of the account: the customer as the company sees it.")
    effective_from: pl.Date = optional("First day on which these attributes hold; since ever where absent.")
    name: pl.String = optional("Name of the account.", personal=True)
    domain: pl.String = optional(
        "E-mail domain of the account's people, such as acme.example; used where policy `match_email_domains` is on."
    )
    parent_account_id: pl.String = optional("Parent account, for views that sum a group of accounts.")
    owner: pl.String = optional("Customer-success owner (a team or user id, not a name).")
    country: pl.String = optional("ISO 3166 alpha-2 country.")
    industry: pl.String = optional("Industry.")
    channel: pl.String = optional("Acquisition channel.")
    life_cycle_stage: pl.String = optional("Life-cycle stage, for example onboarding, adoption, growth.")
    expansion_potential: pl.Int64 = optional(
        "Expansion potential from 0 to 100.", in_range={"min_value": 0, "max_value": 100}
    )
    churn_risk: pl.String = optional("Churn-risk band as the CRM holds it.")


class Contracts(Contract, table="contracts", key=("term_id",)):
    """One row per contract term."""

    term_id: pl.String = required("Identifier of the term.")
    account_id: pl.String = required("Account.")
    contract_id: pl.String = optional("Contract that the term belongs to; terms of one contract follow each other.")
    term_start: pl.Date = required("First day of the term.")
    term_end: pl.Date = required("Day on which the term is over (half-open: the first day after it).")
    arr_minor: pl.Int64 = required(
        "Annual recurring value of the term, minor units.", in_range={"min_value": 0, "max_value": 10**15}
    )
    currency: pl.String = required("ISO 4217 currency.", str_matches=r"^[A-Z]{3}$")
    is_evergreen: pl.Boolean = optional("True for a month-to-month term, which is never due for renewal.")
    auto_renews: pl.Boolean = optional("True where the term renews unless it is cancelled.")
    outcome: pl.String = optional("renewed or lost, once decided; open where absent.", isin=("renewed", "lost"))
    decided_at: pl.Date = optional("Day on which the outcome was decided or the renewal signed.")
    renewed_arr_minor: pl.Int64 = optional(
        "Annual recurring value of the term that follows, minor units.",
        in_range={"min_value": 0, "max_value": 10**15},
    )
    cancelled_at: pl.Date = optional("Day on which the term was cancelled before its end.")
    loss_reason: pl.String = optional("Reason why it was lost.")

    @pa.dataframe_check(name="end_before_start", description="term_end is after term_start")
    def end_before_start(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """A term has a length."""
        return data.lazyframe.select(pl.col("term_end") > pl.col("term_start"))


class Opportunities(Contract, table="opportunities", key=("opportunity_id",)):
    """One row per sales opportunity."""

    opportunity_id: pl.String = required("Identifier of the opportunity.")
    account_id: pl.String = required("Account.")
    kind: pl.String = required("new, expansion or renewal.", isin=("new", "expansion", "renewal"))
    stage: pl.String = optional("Stage as the CRM names it.")
    amount_minor: pl.Int64 = optional("Amount, minor units.", in_range={"min_value": 0, "max_value": 10**15})
    currency: pl.String = optional("ISO 4217 currency.", str_matches=r"^[A-Z]{3}$")
    created_at: Instant = required("When it was created.")
    closed_on: pl.Date = optional("Day on which it was or is to be closed.")
    is_won: pl.Boolean = optional("True if won, false if lost, null while open.")
    loss_reason: pl.String = optional("Reason why it was lost.")


class Milestones(Contract, table="milestones", key=("milestone_id",)):
    """One row per onboarding milestone of an account."""

    milestone_id: pl.String = required("Identifier of the milestone.")
    account_id: pl.String = required("Account.")
    kind: pl.String = required("contract_start, onboarding_completed, first_value, or another name of a milestone.")
    due_on: pl.Date = optional("Day by which it is due.")
    completed_on: pl.Date = optional("Day on which it was reached.")


class Outcomes(Contract, table="outcomes", key=("outcome_id",)):
    """One row per outcome agreed with an account."""

    outcome_id: pl.String = required("Identifier of the outcome.")
    account_id: pl.String = required("Account.")
    agreed_on: pl.Date = required("Day on which it was agreed.")
    due_on: pl.Date = required("Day by which it is to be achieved.")
    achieved_on: pl.Date = optional("Day on which it was achieved.")


class LossReasons(Contract, table="loss_reasons", key=("loss_id",)):
    """One row per reason that the CRM records for a lost account, or that the account gives in an exit survey."""

    loss_id: pl.String = required("Identifier of the record.")
    account_id: pl.String = required("Account.")
    lost_on: pl.Date = required("Day on which the account was lost.")
    reason: pl.String = required("Reason as it is coded there; the policy maps it to a churn type.")
    origin: pl.String = optional("crm (the default) or exit_survey.", isin=("crm", "exit_survey"))


CONTRACTS: tuple[type[Contract], ...] = (
    Accounts,
    Contracts,
    Opportunities,
    Milestones,
    Outcomes,
    LossReasons,
)
