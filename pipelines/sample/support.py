"""Support tables of the sample company: tickets, replies, ratings of help articles."""

import numpy as np
import polars as pl

from pipelines.sample.days import MICROSECONDS
from pipelines.sample.extract import Company, code, word
from pipelines.sample.identity import has_organisation

_TYPES = ("how_to", "bug", "billing", "feature_request", "access", None)
_SEVERITIES = ("low", "normal", "high", "urgent")
_RESOURCES = 40
_MINUTE = 60_000_000


def _moment(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Datetime("us", "UTC"))


def _by(as_of: int, moment: str) -> pl.Expr:
    """The moment, if it lies before the end of the day."""
    return pl.when(pl.col(moment).is_between(0, (as_of + 1) * MICROSECONDS - 1)).then(_moment(moment))


def _opened(company: Company) -> pl.DataFrame:
    """All tickets created by the day, with the moments (microseconds) of what follows; -1 for never."""
    dice, as_of = company.dice, company.as_of
    months = company.months
    who, month = months["account"].to_numpy().astype(np.int64), months["month"].to_numpy().astype(np.int64)
    young = months["start"].to_numpy() - company.people.paid_from[who] < 60
    mean = (0.06 + 0.05 * np.sqrt(months["seats"].to_numpy())) * (1.9 - 1.6 * months["mood"].to_numpy()) * (1 + young)
    tickets = dice.count("tickets", mean, 6, who * 1024 + month)
    place = np.repeat(np.arange(len(months)), tickets)
    turn = np.arange(len(place)) - np.repeat(np.cumsum(tickets) - tickets, tickets)
    who, mood = who[place], months["mood"].to_numpy()[place]
    key = (who * 1024 + month[place]) * 8 + turn
    start, end = months["start"].to_numpy()[place].astype(np.int64), months["end"].to_numpy()[place]
    day = start + (dice.uniform("ticket on day", key) * (end - start)).astype(np.int64)
    on_week_end = ((day + 3) % 7 >= 5) & (dice.uniform("can wait", key) < 0.7)
    day = day + np.where(on_week_end, 7 - (day + 3) % 7, 0)
    second = dice.whole("ticket at", 6 * 3600, 21 * 3600, key)
    created = day * MICROSECONDS + second * 1_000_000
    severity = dice.pick("severity", (30, 50, 15, 5), key)
    wait = np.exp(4.6 - 0.6 * severity + 1.0 * dice.normal("first reply", key) - 0.8 * (mood - 0.5))
    answered = created + (wait * _MINUTE).astype(np.int64) + 2 * _MINUTE
    takes = np.exp(6.6 - 0.3 * severity + 1.1 * dice.normal("solving", key) - 0.8 * (mood - 0.5))
    solved = answered + (takes * _MINUTE).astype(np.int64)
    lot = dice.uniform("ticket ends", key)
    rating = 1 + np.rint(4 * np.clip(0.45 + 0.7 * mood + 0.2 * dice.normal("rating", key) - wait / 6000, 0, 1)).astype(
        np.int64
    )
    rated = (dice.uniform("rates", key) < 0.3) & (lot >= 0.04)
    frame = pl.DataFrame(
        {
            "account": who,
            "key": key,
            "created": created,
            "answered": np.where(lot < 0.02, -1, answered),
            "solved": np.where(lot < 0.04, -1, solved),
            "type": dice.pick("type", (35, 22, 15, 12, 9, 7), key),
            "severity": severity,
            "rating": np.where(rated, rating, 0),
        }
    )
    return frame.with_columns(known=pl.col("created") // MICROSECONDS).filter(pl.col("known") <= as_of)


def tickets(company: Company) -> pl.DataFrame:
    """One row per ticket."""
    dice, as_of = company.dice, company.as_of
    frame = _opened(company)
    key = frame["key"].to_numpy()
    lot = pl.Series(dice.uniform("requester", key))
    is_solved = pl.col("solved").is_between(0, (as_of + 1) * MICROSECONDS - 1)
    closed = pl.col("solved") + 14 * MICROSECONDS < (as_of + 1) * MICROSECONDS
    return frame.with_columns(
        ticket_id=code("h", "key"),
        account_ref=pl.when(lot < 0.015)
        .then(pl.lit(None))
        .when(has_organisation(company, frame["account"]))
        .then(code("org_"))
        .when(lot < 0.02)
        .then(pl.lit("walk-in"))
        .otherwise(code("A")),
        type=word(_TYPES, frame["type"].to_numpy()),
        severity=pl.when(lot < 0.97).then(word(_SEVERITIES, frame["severity"].to_numpy())),
        status=pl.when(is_solved & closed)
        .then(pl.lit("closed"))
        .when(is_solved)
        .then(pl.lit("solved"))
        .when(pl.col("answered").is_between(0, (as_of + 1) * MICROSECONDS - 1))
        .then(pl.lit("pending"))
        .otherwise(pl.lit("open")),
        created_at=_moment("created"),
        solved_at=_by(as_of, "solved"),
        csat_score=pl.when(is_solved & (pl.col("rating") > 0)).then("rating"),
        is_excluded=lot > 0.99,
    )


def ticket_replies(company: Company) -> pl.DataFrame:
    """One row per reply: automatic ones at once, private notes, the first answer, the requester's, the last answer."""
    dice, as_of = company.dice, company.as_of
    frame = _opened(company)
    key = frame["key"].to_numpy()
    answered, solved, created = pl.col("answered"), pl.col("solved"), pl.col("created")
    half_way = answered + (solved - answered) // 2
    parts = [
        _replies(
            frame.filter(pl.Series(dice.uniform("automatic reply", key) < 0.3)),
            "0",
            created + _MINUTE,
            "system",
            True,
            True,
        ),
        _replies(
            frame.filter(pl.Series(dice.uniform("note", key) < 0.25) & (answered > 0)),
            "1",
            created + (answered - created) // 2,
            "agent",
            False,
            False,
        ),
        _replies(frame.filter(answered > 0), "2", answered, "agent", True, False),
        _replies(
            frame.filter(pl.Series(dice.uniform("asks back", key) < 0.5) & (solved > 0)),
            "3",
            half_way,
            "requester",
            True,
            False,
        ),
        _replies(frame.filter(solved > 0), "4", solved - _MINUTE, "agent", True, False),
    ]
    replies = pl.concat(parts).with_columns(known=pl.col("moment") // MICROSECONDS).filter(pl.col("known") <= as_of)
    return replies.with_columns(replied_at=_moment("moment"))


def _replies(
    frame: pl.DataFrame, letter: str, moment: pl.Expr, author: str, is_public: bool, is_auto: bool
) -> pl.DataFrame:
    return frame.select(
        reply_id=code("h", "key") + f"-{letter}",
        ticket_id=code("h", "key"),
        moment=moment,
        author=pl.lit(author),
        is_public=pl.lit(is_public),
        is_auto=pl.lit(is_auto),
    )


def resource_ratings(company: Company) -> pl.DataFrame:
    """Views of help articles; one in five is rated."""
    dice, months = company.dice, company.months
    who, month = months["account"].to_numpy().astype(np.int64), months["month"].to_numpy().astype(np.int64)
    views = dice.count("reads help", np.full(len(who), 0.3), 3, who * 1024 + month)
    place = np.repeat(np.arange(len(months)), views)
    turn = np.arange(len(place)) - np.repeat(np.cumsum(views) - views, views)
    key = (who[place] * 1024 + month[place]) * 4 + turn
    day = months["start"].to_numpy()[place] + dice.whole("reads on day", 0, 27, key)
    resource = np.floor(_RESOURCES * dice.uniform("reads article", key) ** 2).astype(np.int64)
    quality = 0.4 + 0.5 * dice.uniform("article is good", resource) + 0.15 * dice.normal("opinion", key)
    stars = 1 + np.rint(4 * np.clip(quality, 0, 1)).astype(np.int64)
    lot = dice.uniform("rates the article", key)
    moment = day * MICROSECONDS + dice.whole("reads at", 6 * 3600, 21 * 3600, key) * 1_000_000
    return pl.DataFrame(
        {"account": who[place], "key": key, "known": day, "moment": moment, "resource": resource, "stars": stars}
    ).select(
        "known",
        view_id=code("w", "key"),
        resource_id=pl.lit("article-") + pl.col("resource").cast(pl.String).str.zfill(2),
        account_ref=pl.when(pl.Series(lot < 0.97)).then(code("A")),
        viewed_at=_moment("moment"),
        rating=pl.when(pl.Series(lot < 0.2)).then("stars"),
        is_helpful=pl.when(pl.Series((lot > 0.1) & (lot < 0.35))).then(pl.col("stars") >= 4),
    )
