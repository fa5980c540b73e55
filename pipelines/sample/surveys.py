"""Survey tables of the sample company: NPS in quarterly waves, CSAT and CES in several tools and scales."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from pipelines.sample.days import as_instant, day_number
from pipelines.sample.dice import Array
from pipelines.sample.extract import Company, code, instant_by, word

_CHANNELS = ("email", "in_app", "sms", "link")
_COMPLAINT, _PRAISE = "It takes us too long to get things done.", "Saves us hours every week."
UNMAPPED_BELOW, MAPPED_BELOW = 0.02, 0.07
"""Of the respondents, the share that cannot be linked to an account; up to the second, the identity map links them."""


@dataclass(frozen=True)
class Survey:
    """One survey: its scale, when it is sent and how answers follow from mood (0 to 1)."""

    survey_id: str
    instrument: str
    tool: str
    scale: tuple[int, int]
    stage: str | None
    since: date
    every: int
    share: float
    answer_rate: float
    channels: tuple[float, float, float, float]
    higher_is_better: bool = True
    positive_from: int | None = None


SURVEYS = (
    Survey("nps", "nps", "pulse", (0, 10), "relationship", date(2023, 2, 1), 3, 0.55, 0.30, (6, 3, 1, 0)),
    Survey("nps-events", "nps", "paperform", (1, 10), "event", date(2024, 5, 1), 6, 0.04, 0.55, (0, 0, 0, 1)),
    Survey("csat-onboarding", "csat", "pulse", (1, 5), "onboarding", date(2023, 1, 1), 0, 0.6, 0.35, (5, 5, 0, 0)),
    Survey("csat-smileys", "csat", "kiosk", (1, 3), "product", date(2024, 1, 1), 1, 0.03, 0.5, (0, 1, 0, 0)),
    Survey("csat-stars", "csat", "reviews", (1, 5), "renewal", date(2023, 6, 1), 12, 0.3, 0.25, (1, 0, 1, 0)),
    Survey("csat-thumbs", "csat", "helpdesk", (0, 1), "support", date(2023, 3, 1), 1, 0.05, 0.6, (0, 1, 0, 1),
           positive_from=1),
    Survey("ces", "ces", "pulse", (1, 7), "support", date(2023, 3, 1), 1, 0.04, 0.4, (1, 1, 0, 0)),
    Survey("ces-effort", "ces", "old-tool", (1, 5), "product", date(2023, 1, 1), 2, 0.04, 0.3, (1, 0, 0, 0),
           higher_is_better=False),
)  # fmt: skip


def surveys() -> pl.DataFrame:
    """The surveys with their scales."""
    rows = [
        {
            "survey_id": survey.survey_id,
            "instrument": survey.instrument,
            "tool": survey.tool,
            "scale_min": survey.scale[0],
            "scale_max": survey.scale[1],
            "higher_is_better": survey.higher_is_better,
            "positive_from": survey.positive_from,
            "journey_stage": survey.stage,
            "known": day_number(survey.since),
        }
        for survey in SURVEYS
    ]
    return pl.DataFrame(rows, schema_overrides={"positive_from": pl.Int64})


def _asked(company: Company, number: int) -> pl.DataFrame:
    """Who was asked in one survey: account, person, wave, channel, mood, day and second of sending."""
    survey, dice = SURVEYS[number], company.dice
    months = company.months
    if survey.every:
        in_wave = (months["month"] - 1) % survey.every == 0
    else:  # once, in the second month of a customer
        age = months["start"] - pl.Series(company.people.paid_from, dtype=pl.Int32).gather(months["account"])
        in_wave = age.is_between(25, 55)
    who, month = months["account"].to_numpy().astype(np.int64), months["month"].to_numpy().astype(np.int64)
    lot = pl.Series(dice.uniform(f"asked {survey.survey_id}", who * 1024 + month))
    chosen = months.filter(in_wave & (lot < survey.share) & (months["start"] >= day_number(survey.since)))
    people = np.clip(chosen["seats"].to_numpy() // 6, 1, 3)
    person = np.arange(people.sum()) - np.repeat(np.cumsum(people) - people, people)
    frame = chosen.select("account", "month", "start", "mood")[np.repeat(np.arange(len(chosen)), people)]
    key = (frame["account"].to_numpy().astype(np.int64) * 1024 + frame["month"].to_numpy()) * 4 + person
    sent = frame["start"].to_numpy() + 1 + dice.whole(f"sent {survey.survey_id}", 0, 4, key)
    return frame.with_columns(
        survey=pl.lit(number, pl.Int64),
        person=pl.Series(person),
        key=pl.Series(key),
        sent=pl.Series(sent, dtype=pl.Int32),
        second=pl.Series(dice.whole(f"at {survey.survey_id}", 6 * 3600, 21 * 3600, key)),
        channel_number=pl.Series(dice.pick(f"channel {survey.survey_id}", survey.channels, key)),
    ).filter(pl.col("sent") <= company.as_of)


def respondent_lot(company: Company, account: Array, person: Array) -> pl.Series:
    """Number in [0, 1) that decides how a respondent is linked to an account."""
    return pl.Series(company.dice.uniform("respondent's account", account.astype(np.int64) * 4 + person))


def _common(company: Company, asked: pl.DataFrame, number: int) -> pl.DataFrame:
    """Columns that invitations and responses share."""
    lot = respondent_lot(company, asked["account"].to_numpy(), asked["person"].to_numpy())
    year, month = pl.col("month").cast(pl.Int64) // 12 + 2020, pl.col("month").cast(pl.Int64) % 12 + 1
    return asked.with_columns(
        survey_id=pl.lit(SURVEYS[number].survey_id),
        respondent_id=code("r") + "-" + pl.col("person").cast(pl.String),
        account_ref=pl.when(lot >= MAPPED_BELOW).then(code("A")),
        wave=year.cast(pl.String) + "-" + month.cast(pl.String).str.zfill(2) if SURVEYS[number].every != 1 else None,
        channel=word(_CHANNELS, asked["channel_number"].to_numpy()),
    )


def survey_invitations(company: Company) -> pl.DataFrame:
    """One row per person asked. The review site tells nothing of whom it asked."""
    parts = []
    for number, survey in enumerate(SURVEYS):
        if survey.tool == "reviews":
            continue
        asked = _asked(company, number)
        bounces = np.array([0.03, 0.0, 0.06, 0.0])[asked["channel_number"].to_numpy()]
        lot = company.dice.uniform(f"bounces {survey.survey_id}", asked["key"].to_numpy())
        parts.append(
            _common(company, asked, number).with_columns(
                invitation_id=code(f"v{number}", "key"),
                sent_at=as_instant("sent", "second"),
                is_delivered=pl.Series(lot >= bounces),
                known=pl.col("sent"),
            )
        )
    return pl.concat(parts)


def _scores(survey: Survey, mood: Array, noise: Array) -> Array:
    """Answers on the survey's scale: contentment goes from 0 to 1 with the mood and chance."""
    low, high = survey.scale
    content = np.clip(0.32 + 0.85 * mood + 0.13 * noise, 0.0, 1.0)
    steps = np.rint((content if survey.higher_is_better else 1.0 - content) * (high - low))
    return low + steps.astype(np.int64)


def survey_responses(company: Company) -> pl.DataFrame:
    """One row per answer. Some people answer twice in a wave; some do not finish."""
    return pl.concat(_responses(company, number) for number in range(len(SURVEYS)))


def _responses(company: Company, number: int) -> pl.DataFrame:
    survey, dice = SURVEYS[number], company.dice
    asked = _asked(company, number)
    answers = dice.uniform(f"answers {survey.survey_id}", asked["key"].to_numpy()) < survey.answer_rate
    asked = asked.filter(pl.Series(answers))
    key = asked["key"].to_numpy()
    waits = np.floor(12 * dice.uniform(f"waits {survey.survey_id}", key) ** 2).astype(np.int64)
    first = asked.with_columns(turn=pl.lit(0), day=pl.col("sent") + pl.Series(waits, dtype=pl.Int32) + 1)
    again = pl.Series(dice.uniform(f"answers again {survey.survey_id}", key) < 0.04)
    second = first.filter(again).with_columns(turn=pl.lit(1), day=pl.col("day") + 3)
    frame = pl.concat([first, second])
    key = frame["key"].to_numpy() * 2 + frame["turn"].to_numpy()
    score = pl.Series(_scores(survey, frame["mood"].to_numpy(), dice.normal(f"score {survey.survey_id}", key)))
    complete = pl.Series(dice.uniform(f"finishes {survey.survey_id}", key) >= 0.04)
    low, high = survey.scale
    unhappy = score <= low + (high - low) * 0.6 if survey.higher_is_better else score >= low + (high - low) * 0.6
    contacted = np.where(
        dice.uniform(f"followed up {survey.survey_id}", key) < 0.45, dice.whole("after", 1, 15, key), -1
    )
    says = pl.Series(dice.uniform(f"writes {survey.survey_id}", key) < 0.2)
    words = pl.when(unhappy).then(pl.lit(_COMPLAINT)).otherwise(pl.lit(_PRAISE))
    return (
        _common(company, frame, number)
        .with_columns(
            response_id=code(f"a{number}", "key") + word(("", "x"), frame["turn"].to_numpy()),
            responded_at=as_instant("day", "second"),
            is_complete=complete,
            score=pl.when(complete | pl.Series(key % 3 == 0)).then(score),
            verbatim=pl.when(says).then(words),
            called=pl.when(unhappy & pl.Series(contacted > 0)).then(pl.col("day") + pl.Series(contacted)).otherwise(-1),
            known=pl.col("day"),
        )
        .with_columns(contacted_at=instant_by(company.as_of, "called"))
    )
