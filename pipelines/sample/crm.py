"""CRM tables of the sample company: accounts and their attributes, contracts, opportunities, onboarding, losses."""

import numpy as np
import polars as pl

from pipelines.sample.billing import TWICE_IN_CRM_SHARE, company_names, reference_lot
from pipelines.sample.catalogue import BUSINESS, CURRENCIES, ENTERPRISE, MONTHS, TEAM, UNIT
from pipelines.sample.days import add_months, as_date, as_instant
from pipelines.sample.extract import Company, code, date_by, known_by, short, with_corrections, word
from pipelines.sample.population import CHANNELS, COUNTRIES, INDUSTRIES, LARGE, PAID, PROSPECT, SMALL
from pipelines.sample.subscriptions import INVOLUNTARY, LOST, REASONS, RENEWED, VOLUNTARY

OWNERS = tuple(f"csm-{number:02}" for number in range(1, 11))
_STAGES = ("onboarding", "adoption", "growth")
_RISKS = ("low", "medium", "high")
_LOSS_WORDS = {
    "requested": "No reason given",
    "price": "price",
    "competitor": "competitor",
    "missing_feature": "missing_feature",
    "low_usage": "low_usage",
    "closed_business": "closed_business",
    "poor_support": "poor_support",
    "moved_in_house": "Champion left",
    "payment_failed": "payment_failed",
    "no_card": "payment_failed",
    "payment_disputed": "payment_disputed",
    "fraud": "fraud",
    "gateway_failure": "payment_failed",
    "non_renewal": "non_renewal",
    "refund": "poor_support",
}


_EXIT_WORDS = ("price", "low_usage", "missing_feature", "competitor", "closed_business")


def accounts(company: Company) -> pl.DataFrame:
    """One row per account and day on which an attribute changed: stage, owner, risk, a corrected industry."""
    people, dice, as_of = company.people, company.dice, company.as_of
    number = company.those(people.sign_up <= as_of)
    paid_from = people.paid_from[number]
    stays = number[paid_from >= 0]
    new_owner_on = np.where(
        dice.uniform("owner changes", number) < 0.25,
        people.sign_up[number] + dice.whole("owner changes after", 250, 800, number),
        -1,
    )
    ends = company.history.ends.filter(pl.col("kind") == VOLUNTARY)
    leaver, leaves_on = ends["account"].to_numpy().astype(np.int64), ends["day"].to_numpy().astype(np.int64)
    noticed = (dice.uniform("risk is noticed", leaver, leaves_on) < 0.55) & (leaves_on - 45 > people.sign_up[leaver])
    who = np.concatenate([number, stays, stays, number[new_owner_on >= 0], leaver[noticed]])
    since = np.concatenate(
        [
            people.sign_up[number],
            people.paid_from[stays] + 90,
            people.paid_from[stays] + 365,
            new_owner_on[new_owner_on >= 0],
            leaves_on[noticed] - 45,
        ]
    )
    at_risk = np.concatenate([np.zeros(len(who) - int(noticed.sum()), np.bool_), np.ones(int(noticed.sum()), np.bool_)])
    frame = (
        pl.DataFrame({"account": who, "since": since, "at_risk": at_risk})
        .filter(pl.col("since") <= as_of)
        .group_by("account", "since")
        .agg(pl.col("at_risk").any())
        .sort("account", "since")
    )
    who, since = frame["account"].to_numpy(), frame["since"].to_numpy()
    first = since == people.sign_up[who]
    stage = np.where(
        people.paid_from[who] < 0,
        0,
        (since >= people.paid_from[who] + 90).astype(np.int64) + (since >= people.paid_from[who] + 365),
    )
    pool = np.where(people.size[who] == LARGE, 0, np.where(people.size[who] == SMALL, 7, 3))
    spread = np.where(people.size[who] == LARGE, 3, np.where(people.size[who] == SMALL, 3, 4))
    turn = (new_owner_on[who - company.first] >= 0) & (since >= new_owner_on[who - company.first])
    owner = pool + ((dice.uniform("owner", who) * spread).astype(np.int64) + turn) % spread
    risk = np.searchsorted([0.35, 0.6], 1.0 - people.satisfaction[who] + 0.15 * dice.normal("risk", who, since))
    parent = np.where((people.size[who] != SMALL) & (dice.uniform("has a parent", who) < 0.08), who // 40 * 40, who)
    frame = frame.with_columns(
        account_id=code("A"),
        effective_from=pl.when(pl.Series(~first | (who % 2 == 0))).then(as_date("since")),
        name=company_names(company, frame["account"]),
        domain=pl.format("{}.example", code("A").str.to_lowercase()),
        parent_account_id=pl.when(pl.Series(parent != who)).then(
            pl.lit("A") + pl.Series(parent).cast(pl.String).str.zfill(7)
        ),
        owner=pl.when(pl.Series(dice.uniform("without owner", who) >= 0.03)).then(word(OWNERS, owner)),
        country=word(COUNTRIES, people.country[who]),
        industry=word(INDUSTRIES, people.industry[who]),
        channel=word(CHANNELS, people.channel[who]),
        life_cycle_stage=word(_STAGES, stage),
        expansion_potential=pl.Series(np.clip(people.potential[who] + 6 * stage - 6, 0, 100)),
        churn_risk=pl.when("at_risk").then(pl.lit("high")).otherwise(word(_RISKS, np.minimum(risk, 2))),
        known=(
            pl.col("since")
            + pl.Series(
                np.where(
                    ~first & (dice.uniform("noted late", who, since) < 0.03), dice.whole("noted late by", 5, 20, who), 0
                )
            )
        ).cast(pl.Int32),
    )
    twice = frame.filter(pl.Series(first) & (reference_lot(company, frame["account"]) >= 1.0 - TWICE_IN_CRM_SHARE))
    frame = pl.concat([frame, twice.with_columns(account_id=code("D"), life_cycle_stage=pl.lit(None, pl.String))])
    who = frame["account"].to_numpy()
    wrong = pl.Series(dice.uniform("industry written wrong", who) < 0.004)
    return with_corrections(frame, wrong, dice.whole("industry corrected after", 10, 90, who), industry=pl.lit("other"))


def contracts(company: Company) -> pl.DataFrame:
    """One row per contract term: those of a year and longer, and a few month-to-month ones that are never due.

    The value of a term is that at its start; with the decision on its renewal it becomes that at its end.
    """
    people, as_of = company.people, company.as_of
    decisions = company.history.decisions.unique(["account", "number"], keep="first", maintain_order=True)
    frame = company.history.terms.join(
        decisions.rename({"arr": "last_arr"}), on=["account", "number"], how="left", maintain_order="left"
    ).with_columns(pl.col("decided", "cancelled").fill_null(-1))
    who = frame["account"].to_numpy()
    fixed = pl.Series(people.is_fixed_term[who])
    frame = frame.with_columns(
        term_id=code("t") + "." + short("number", 2),
        account_id=code("A"),
        contract_id=code("k") + "-" + pl.col("subscription").cast(pl.String),
        term_start=as_date("start"),
        term_end=as_date("end"),
        arr_minor=pl.coalesce(known_by(as_of, "decided", pl.col("last_arr")), "arr"),
        currency=company.currency_of(frame["price"]),
        is_evergreen=pl.lit(False),
        auto_renews=~fixed,
        outcome=known_by(
            as_of, "decided", pl.when(pl.col("outcome") == RENEWED).then(pl.lit("renewed")).otherwise(pl.lit("lost"))
        ),
        decided_at=date_by(as_of, "decided"),
        renewed_arr_minor=known_by(as_of, "decided", pl.when(pl.col("outcome") == RENEWED).then("renewed_arr")),
        cancelled_at=date_by(as_of, "cancelled"),
        loss_reason=known_by(
            as_of,
            "decided",
            pl.when(pl.col("outcome") == LOST).then(word(REASONS, frame["reason"].fill_null(0).to_numpy())),
        ),
        known=pl.min_horizontal("known", "start"),
    )
    return pl.concat([frame, _evergreen(company)], how="diagonal")


def _evergreen(company: Company) -> pl.DataFrame:
    """Month-to-month contracts that the CRM keeps for some larger customers."""
    people, dice = company.people, company.dice
    chosen = company.those(
        (people.paid_from >= 0)
        & (people.plan >= TEAM)
        & (people.term_months == 0)
        & (people.paid_from <= company.as_of)
    )
    chosen = chosen[dice.uniform("has a month-to-month contract", chosen) < 0.2]
    start = people.paid_from[chosen]
    version = (people.sign_up[chosen] >= 20089).astype(np.int64)
    price = ((people.plan[chosen] * 3 + people.currency[chosen]) * 3 + people.interval[chosen]) * 2 + version
    return pl.DataFrame({"account": chosen, "start": start, "end": add_months(start, 1)}).select(
        term_id=code("e"),
        account_id=code("A"),
        term_start=as_date("start"),
        term_end=as_date("end"),
        arr_minor=pl.Series(UNIT[price] * people.seats[chosen] * 12 // MONTHS[price]),
        currency=company.currency_of(pl.Series(price)),
        is_evergreen=pl.lit(True),
        auto_renews=pl.lit(True),
        known=pl.col("start").cast(pl.Int32),
    )


def _opportunities(company: Company, kind: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Columns of the contract from: account, created, closes (expected or done), won (0, 1 or -1), amount, currency."""
    as_of = company.as_of
    closed = pl.col("closes") <= as_of
    won = pl.when(closed & (pl.col("won") >= 0)).then(pl.col("won") == 1)
    frame = frame.with_columns(pl.col("account", "created", "closes").cast(pl.Int32))
    return frame.join(
        company.accounts.select("account", "second"), on="account", how="left", maintain_order="left"
    ).select(
        opportunity_id=pl.lit(kind[0]) + code("o") + "-" + pl.col("created").cast(pl.String),
        account_id=code("A"),
        kind=pl.lit(kind),
        stage=pl.when(won.is_null())
        .then(pl.lit("Negotiation"))
        .when(won)
        .then(pl.lit("Closed won"))
        .otherwise(pl.lit("Closed lost")),
        amount_minor=pl.col("amount").cast(pl.Int64),
        currency="currency",
        created_at=as_instant("created", "second"),
        closed_on=as_date("closes"),
        is_won=won,
        loss_reason=pl.when(~won).then(
            pl.when(pl.col("created") % 3 == 0).then(pl.lit("price")).otherwise(pl.lit("competitor"))
        ),
        known=pl.col("created"),
    )


def opportunities(company: Company) -> pl.DataFrame:
    """New business of larger accounts and of prospects, renewals of contract terms, and expansions won and lost."""
    people, dice, as_of = company.people, company.dice, company.as_of
    number = company.those(((people.size != SMALL) & (people.role == PAID)) | (people.role == PROSPECT))
    number = number[people.sign_up[number] <= as_of + 60]
    price = ((people.plan[number] * 3 + people.currency[number]) * 3 + people.interval[number]) * 2
    new = pl.DataFrame(
        {
            "account": number,
            "created": people.sign_up[number]
            - dice.whole("sales takes", 0, 60, number) * (people.sign_up[number] > 19420),
            "closes": people.sign_up[number] + np.where(people.role[number] == PROSPECT, 70, 0),
            "won": np.where(people.role[number] == PAID, 1, np.where(number % 3 == 0, -1, 0)),
            "amount": UNIT[price] * people.seats[number] * 12 // MONTHS[price],
        }
    ).with_columns(currency=word(CURRENCIES, people.currency[number]))
    terms = company.history.terms.join(
        company.history.decisions.unique(["account", "number"], keep="first", maintain_order=True).select(
            "account", "number", "outcome", "decided"
        ),
        on=["account", "number"],
        how="left",
        maintain_order="left",
    ).filter((pl.col("end") - 90 <= as_of) & (pl.col("decided").is_null() | (pl.col("decided") >= pl.col("end") - 90)))
    decided = pl.col("decided").fill_null(-1).is_between(0, as_of)
    renewal = terms.select(
        "account",
        created=pl.col("end") - 90,
        closes=pl.when(decided).then(pl.max_horizontal("decided", pl.col("end") - 89)).otherwise(pl.col("end")),
        won=pl.when(decided).then((pl.col("outcome") == RENEWED).cast(pl.Int64)).otherwise(-1),
        amount="arr",
        currency=company.currency_of(terms["price"]),
    )
    months = company.months.filter(pl.col("plan") >= TEAM)
    key = months["account"].to_numpy() * np.int64(1024) + months["month"].to_numpy()
    months = months.filter(pl.Series(dice.uniform("expansion is discussed", key) < 0.03))
    who = months["account"].to_numpy()
    expansion = pl.DataFrame(
        {
            "account": who,
            "created": months["start"],
            "closes": months["start"] + 45,
            "won": (
                dice.uniform("expansion is won", who, months["start"].to_numpy())
                < 0.2 + 0.5 * months["mood"].to_numpy()
            ).astype(np.int64),
            "amount": UNIT[months["price"].to_numpy()]
            * np.maximum(1, months["seats"].to_numpy() // 5)
            * 12
            // MONTHS[months["price"].to_numpy()],
            "currency": company.currency_of(months["price"]),
        }
    )
    return pl.concat(
        _opportunities(company, kind, frame)
        for kind, frame in (("new", new), ("renewal", renewal), ("expansion", expansion))
    )


def milestones(company: Company) -> pl.DataFrame:
    """Onboarding of customers from the Team plan up: contract start, kick-off, onboarding completed, first value."""
    people, dice, as_of = company.people, company.dice, company.as_of
    who = company.those((people.paid_from >= 0) & (people.paid_from <= as_of) & (people.plan >= TEAM))
    start = people.paid_from[who]
    slow = np.exp(0.8 * dice.normal("onboarding pace", who) + 0.9 - 1.3 * people.satisfaction[who])
    scale = np.where(people.plan[who] == ENTERPRISE, 2.0, 1.0)
    never = dice.uniform("onboarding is never completed", who) < 0.12 * (1.4 - people.satisfaction[who])
    days = {
        "contract_start": (0, np.zeros(len(who), np.int64)),
        "kick_off": (10, 2 + (6 * slow).astype(np.int64)),
        "first_value": (40, 4 + (22 * slow * scale).astype(np.int64)),
        "onboarding_completed": (45, 8 + (28 * slow * scale).astype(np.int64)),
    }
    parts = []
    for kind, (due, taken) in days.items():
        reached = np.where(never & (due >= 40), -1, start + taken)
        parts.append(
            pl.DataFrame({"account": who, "start": start, "due": start + due, "reached": reached}).select(
                milestone_id=code("m") + "-" + pl.lit(kind[:1]),
                account_id=code("A"),
                kind=pl.lit(kind),
                due_on=as_date("due"),
                completed_on=date_by(as_of, "reached"),
                known=pl.col("start").cast(pl.Int32),
            )
        )
    return pl.concat(parts)


def outcomes(company: Company) -> pl.DataFrame:
    """Outcomes agreed with larger customers, two each."""
    people, dice, as_of = company.people, company.dice, company.as_of
    who = company.those((people.paid_from >= 0) & (people.plan >= BUSINESS))
    who = who[dice.uniform("agrees on outcomes", who) < 0.7]
    parts = []
    for number, offset in ((1, 20), (2, 200)):
        agreed = people.paid_from[who] + offset
        due = agreed + 180
        chance = 0.25 + 0.65 * people.satisfaction[who]
        achieved = dice.uniform("achieves the outcome", who * 8 + number) < chance
        achieved_on = np.where(achieved, due + dice.whole("achieved on", -90, 40, who * 8 + number), -1)
        parts.append(
            pl.DataFrame({"account": who, "agreed": agreed, "due": due, "achieved": achieved_on}).select(
                outcome_id=code("g") + f"-{number}",
                account_id=code("A"),
                agreed_on=as_date("agreed"),
                due_on=as_date("due"),
                achieved_on=date_by(as_of, "achieved"),
                known=pl.col("agreed").cast(pl.Int32),
            )
        )
    return pl.concat(parts)


def loss_reasons(company: Company) -> pl.DataFrame:
    """What the CRM notes of lost customers, some days later, for three in five of them; and what one in five of those
    who leave by choice answer to the exit survey.
    """
    ends, dice = company.history.ends, company.dice
    who, day = ends["account"].to_numpy(), ends["day"].to_numpy()
    is_involuntary = ends["kind"].to_numpy() == INVOLUNTARY
    chosen = dice.uniform("loss is noted", who, day) < np.where(is_involuntary, 0.3, 0.6)
    words = ends["reason"].replace_strict(
        {number: _LOSS_WORDS.get(reason or "requested", "No reason given") for number, reason in enumerate(REASONS)},
        return_dtype=pl.String,
    )
    known = pl.max_horizontal("day", "known")
    noted = ends.with_columns(
        loss_id=code("l") + "-" + pl.col("day").cast(pl.String),
        reason=words,
        origin=pl.lit("crm"),
        known=known + pl.Series(dice.whole("noted after", 0, 20, who, day)),
    ).filter(pl.Series(chosen))
    survey_words = word(_EXIT_WORDS, dice.pick("says on leaving", (5, 4, 4, 3, 2), who, day))
    answered = ends.with_columns(
        loss_id=code("x") + "-" + pl.col("day").cast(pl.String),
        reason=pl.when(words.is_in(_EXIT_WORDS)).then(words).otherwise(survey_words),
        origin=pl.lit("exit_survey"),
        known=known + 1,
    ).filter(pl.Series((dice.uniform("answers on leaving", who, day) < 0.2) & ~is_involuntary))
    return pl.concat([noted, answered.with_columns(pl.col("known").cast(noted.schema["known"]))]).with_columns(
        account_id=code("A"), lost_on=as_date("day")
    )
