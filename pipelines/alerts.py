"""Alerts: what a run that failed, sources that are stale and checks that do not hold tell people. docs/operations.md.

Every run sends its own alert when it ends, whoever started it. Two Dagster sensors see what no run can tell: that it
broke off, and that there was none. An alert holds ids, places and numbers, and the words of our own errors.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from pipelines import sending
from pipelines.config import Alerts, Settings, Webhook
from pipelines.journal import RunRecord, read
from pipelines.run import JOB, published_dir
from pipelines.sending import Message
from warehouse.publish import Freshness, freshness

WEBHOOK_VARIABLE = "KPIS_ALERT_WEBHOOK"
"""Names the webhook where `alerts` in `sources.yaml` names none."""

MESSAGE_LIMIT = 2_000


def about(record: RunRecord, former: Sequence[RunRecord]) -> str | None:
    """What there is to tell of a run that has ended; None where all is well.

    `former`: the reports of the runs before. A check that warns is told once: not if it warned in the last run too.
    """
    known = set(former[-1].warnings) if former else set()
    warned = [place for place in record.warnings if place not in known]
    run = f"run {record.run_id} of {JOB}"
    parts = []
    if record.outcome in ("published", "built"):
        if not warned:
            return None
        parts.append(f"{run} {record.outcome}, as of {record.as_of}")
    else:
        failed = [f"{step.step}: {step.failure}" for step in record.failures]
        failed += [f"check {place}" for place in record.failed_checks]
        parts.append(f"{run} failed: {'; '.join(failed) or record.outcome}")
    if warned:
        parts.append(f"Checks that do not hold: {', '.join(warned)}")
    if record.stale_sources:
        parts.append(f"Stale sources: {', '.join(record.stale_sources)}")
    return ". ".join(parts)[:MESSAGE_LIMIT]


def send(alerts: Alerts, text: str) -> list[str]:
    """Sends an alert through every channel that is set up; why it could not, by channel."""
    if alerts.webhook is None and os.environ.get(WEBHOOK_VARIABLE):
        alerts = alerts.model_copy(update={"webhook": Webhook(url_env=WEBHOOK_VARIABLE)})
    return sending.send(alerts, Message("alert", f"kpis: {text.split(':', maxsplit=1)[0]}", text))


def stale(fresh: Freshness, now: datetime, hours: int) -> str | None:
    """What there is to tell of numbers that nobody has brought up to date; None where somebody has."""
    if fresh.published_at is None or now - fresh.published_at <= timedelta(hours=hours):
        return None
    sources = f". Stale sources: {', '.join(sorted(fresh.stale_sources))}" if fresh.stale_sources else ""
    return f"nothing was published for {hours} hours, {fresh.release} is the newest release{sources}"


def failure_sensor(settings: Settings) -> dg.SensorDefinition:
    """Tells of runs that broke off without a word; the others have sent their alert."""

    @dg.run_failure_sensor(name="run_failed", description="Alerts of runs that broke off. Switch it on in the UI.")
    def run_failed(context: dg.RunFailureSensorContext) -> None:
        record = read(settings.data_dir, context.dagster_run.run_id)
        if record is not None and record.ended_at is not None:
            return
        text = broken_off(context)
        context.log.error(text)
        for problem in send(settings.sources.alerts, text):
            context.log.error(problem)

    return run_failed


def broken_off(context: dg.RunFailureSensorContext) -> str:
    """What is known of a run that did not come to its end, or of another job: the steps that failed."""
    steps = [event.step_key or "" for event in context.get_step_failure_events()]
    what = f"failed: {', '.join(steps)}" if steps else "broke off"
    return f"run {context.dagster_run.run_id} of {context.dagster_run.job_name} {what}"[:MESSAGE_LIMIT]


def stale_sensor(settings: Settings) -> dg.SensorDefinition:
    """Tells once of each release that nothing has replaced in time."""

    @dg.sensor(
        name="release_stale",
        minimum_interval_seconds=900,
        description="Alerts when no release was published for `stale_after_hours`. Switch it on in the UI.",
    )
    def release_stale(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        fresh = freshness(published_dir(settings))
        text = stale(fresh, datetime.now(UTC), settings.sources.alerts.stale_after_hours)
        if text is None or context.cursor == fresh.release:
            return dg.SkipReason("nothing new to tell")
        problems = send(settings.sources.alerts, text)
        for problem in problems:
            context.log.error(problem)
        if not problems:
            context.update_cursor(fresh.release)
        return dg.SkipReason(text)

    return release_stale
