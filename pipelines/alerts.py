"""Alerts: a documented hook that a failed run calls. See docs/operations.md."""

import json
import os
import urllib.request

import dagster as dg

from pipelines.config import Settings

WEBHOOK_VARIABLE = "KPIS_ALERT_WEBHOOK"
MESSAGE_LIMIT = 2_000


def failure_sensor(settings: Settings) -> dg.SensorDefinition:
    """Once per failed run: a line in the log, and a POST of JSON to the webhook if one is set."""

    @dg.run_failure_sensor(name="run_failed", description="Tells the webhook in KPIS_ALERT_WEBHOOK of a failed run.")
    def run_failed(context: dg.RunFailureSensorContext) -> None:
        text = message(context)
        context.log.error(text)
        notify(text)

    return run_failed


def message(context: dg.RunFailureSensorContext) -> str:
    """What failed, in the words of the error itself and not of its wrapper, cut to a sane length."""
    errors = []
    for event in context.get_step_failure_events():
        failure = event.step_failure_data
        error = failure.error.cause or failure.error if failure.error else None
        errors.append(f"{event.step_key}: {error.message.strip() if error else 'failed'}")
    what = "; ".join(errors) or context.failure_event.message or "failed"
    return f"run {context.dagster_run.run_id} of {context.dagster_run.job_name} failed: {what}"[:MESSAGE_LIMIT]


def notify(text: str) -> None:
    """POSTs {"text": ...} to the webhook; nothing where none is set."""
    url = os.environ.get(WEBHOOK_VARIABLE)
    if not url:
        return
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{WEBHOOK_VARIABLE} must be an http(s) address")
    request = urllib.request.Request(
        url, data=json.dumps({"text": text}).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20):
        pass
