"""Alerts: who is told of what, over HTTP and SMTP on this machine; servers that refuse or are silent change no run."""

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from email import message_from_string
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest

from pipelines import alerts, sending
from pipelines.config import Alerts, ConfigError, Settings, load_settings
from pipelines.definitions import JOB, build_defs, run_config
from pipelines.execute import run_job
from pipelines.journal import RunRecord, StepRecord, log_file
from pipelines.run import published_dir
from tests.pipelines.conftest import BILLING
from warehouse.publish import current_release

FEBRUARY = date(2026, 2, 28)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

quick = pytest.mark.usefixtures("quick_dagster")


class Posted(BaseHTTPRequestHandler):
    """Notes what is posted to it, and gives its answer."""

    texts: list[str]
    answer = 204

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/json"
        self.texts.append(json.loads(body)["text"])
        self.send_response(self.answer)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def served(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def web_hook(answer: int = 204) -> Iterator[tuple[str, list[str]]]:
    """A web hook on this machine: its address, and the texts that are posted to it."""
    texts: list[str] = []
    server = HTTPServer(("127.0.0.1", 0), type("Hook", (Posted,), {"texts": texts, "answer": answer}))
    with served(server):
        yield f"http://127.0.0.1:{server.server_port}/hook/secret-path", texts


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    with web_hook() as (address, texts):
        monkeypatch.setenv("KPIS_ALERT_WEBHOOK", address)
        yield texts


class Smtp(socketserver.StreamRequestHandler):
    """The least of a mail server: no encryption; keeps what it is given."""

    mails: list[tuple[str, list[str], str]]
    refuses: str = ""

    def handle(self) -> None:
        sender, recipients = "", []
        self.say("220 here")
        for raw in self.rfile:
            word, _, rest = raw.decode().strip().partition(" ")
            match word.upper():
                case "MAIL":
                    sender = rest
                case "RCPT":
                    if self.refuses and self.refuses in rest:
                        self.say("550 nobody of that name")
                        continue
                    recipients.append(rest.removeprefix("TO:<").partition(">")[0])
                case "DATA":
                    self.say("354 go on")
                    lines = iter(lambda: self.rfile.readline().decode(), ".\r\n")
                    # A line that begins with a dot is sent with one more.
                    self.mails.append((sender, recipients, "".join(line.removeprefix(".") for line in lines)))
                case "QUIT":
                    self.say("221 bye")
                    return
            self.say("250 fine")

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@contextmanager
def mail_server(refuses: str = "") -> Iterator[tuple[int, list[tuple[str, list[str], str]]]]:
    """A mail server on this machine: its port, and the mails (sender, recipients, text) that it takes."""
    mails: list[tuple[str, list[str], str]] = []
    handler = type("Server", (Smtp,), {"mails": mails, "refuses": refuses})
    server = socketserver.TCPServer(("127.0.0.1", 0), handler)
    with served(server):
        yield server.server_address[1], mails


def body(mail: str) -> Message:
    return message_from_string(mail, policy=default)


MAIL = Alerts.model_validate(
    {"email": {"smtp_env": "ALERT_SMTP", "from": "kpis@example.com", "to": ["ops@example.com", "cs@example.com"]}}
)
HOOK = Alerts.model_validate({"webhook": {"url_env": "ALERT_HOOK"}})


def record(**facts: object) -> RunRecord:
    return RunRecord("r1", FEBRUARY, NOON, "p", **facts)


# What there is to tell


def test_of_a_run_without_a_fault_nothing_is_told():
    assert alerts.about(record(outcome="published", checks_passed=90), []) is None


def test_of_a_failed_run_the_steps_the_checks_and_the_stale_sources_are_told():
    failed = record(
        outcome="audit_failed",
        steps=[StepRecord("raw__crm", 1.0, "accounts.csv is gone"), StepRecord("value", 2.0)],
        failed_checks=["marts/clv: 3_adds_up"],
        warnings=["marts/data_quality: 20_batches_are_complete"],
        stale_sources=["crm"],
    )
    assert alerts.about(failed, []) == (
        "run r1 of daily_kpis failed: raw__crm: accounts.csv is gone; check marts/clv: 3_adds_up. "
        "Checks that do not hold: marts/data_quality: 20_batches_are_complete. Stale sources: crm"
    )


def test_a_check_that_warns_is_told_once_and_again_after_it_held():
    def run(*warnings: str) -> RunRecord:
        return record(outcome="published", warnings=list(warnings))

    assert alerts.about(run("a", "b"), [run("a")]) == (
        "run r1 of daily_kpis published, as of 2026-02-28. Checks that do not hold: b"
    )
    assert alerts.about(run("a"), [run("a")]) is None
    assert alerts.about(run("a"), [run("a"), run()]) is not None


def test_a_failure_is_told_as_often_as_it_happens():
    failed = record(outcome="failed", steps=[StepRecord("publish", 1.0, "No space left on device")])
    assert alerts.about(failed, [failed]) == "run r1 of daily_kpis failed: publish: No space left on device"


def test_many_failures_are_cut_to_length():
    steps = [StepRecord(f"raw__s{number:02}", 0.1, "x" * 200) for number in range(20)]
    text = alerts.about(record(outcome="source_failed", steps=steps), [])
    assert len(text) == 2_000


@pytest.mark.parametrize(("hours", "is_told"), [(30, False), (31, True)])
def test_numbers_are_stale_when_nothing_was_published_for_longer_than_allowed(six_customers, hours, is_told):
    release = current_release(published_dir(six_customers))
    fresh = alerts.freshness(published_dir(six_customers))
    told = alerts.stale(fresh, release.published_at + timedelta(hours=hours), 30)
    assert told == (f"nothing was published for 30 hours, {release.name} is the newest release" if is_told else None)


# How it is sent


def test_a_web_hook_gets_the_text_as_json(monkeypatch):
    with web_hook() as (address, texts):
        monkeypatch.setenv("ALERT_HOOK", address)
        assert alerts.send(HOOK, "a run failed") == []
    assert texts == ["a run failed"]


def test_a_mail_goes_to_everybody_named(monkeypatch):
    with mail_server() as (port, mails):
        monkeypatch.setenv("ALERT_SMTP", f"smtp://127.0.0.1:{port}")
        assert alerts.send(MAIL, "run r1 of daily_kpis failed: crm: señal perdida") == []
    ((sender, recipients, mail),) = mails
    assert sender.startswith("FROM:<kpis@example.com>")
    assert recipients == ["ops@example.com", "cs@example.com"]
    assert body(mail)["Subject"] == "kpis: run r1 of daily_kpis failed"
    assert body(mail).get_content().strip() == "run r1 of daily_kpis failed: crm: señal perdida"


def test_without_any_channel_nothing_is_sent():
    assert alerts.send(Alerts(), "a run failed") == []


def test_a_server_that_refuses_or_is_not_there_is_told_without_its_address(monkeypatch):
    with web_hook(500) as (address, _), mail_server("cs@") as (port, mails):
        monkeypatch.setenv("KPIS_ALERT_WEBHOOK", address)
        monkeypatch.setenv("ALERT_SMTP", f"smtp://127.0.0.1:{port}")
        problems = alerts.send(MAIL, "a run failed")
        # The other recipient has the mail all the same.
        assert [recipients for _, recipients, _ in mails] == [["ops@example.com"]]
    assert problems == [
        "the alert was not sent, webhook of KPIS_ALERT_WEBHOOK: the server answers 500",
        "the alert was not sent, e-mail by ALERT_SMTP: 1 of 2 recipients are refused",
    ]
    assert alerts.send(MAIL, "a run failed") == [
        "the alert was not sent, webhook of KPIS_ALERT_WEBHOOK: Connection refused",
        "the alert was not sent, e-mail by ALERT_SMTP: Connection refused",
    ]


def test_a_server_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(sending, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("ALERT_HOOK", f"http://127.0.0.1:{silent.getsockname()[1]}/hook")
        monkeypatch.setenv("ALERT_SMTP", f"smtp://127.0.0.1:{silent.getsockname()[1]}")
        both = Alerts(webhook=HOOK.webhook, email=MAIL.email)
        assert alerts.send(both, "a run failed") == [
            "the alert was not sent, webhook of ALERT_HOOK: no answer in time",
            "the alert was not sent, e-mail by ALERT_SMTP: SMTPServerDisconnected",
        ]


def test_a_password_is_not_sent_without_encryption(monkeypatch):
    with mail_server() as (port, mails):
        monkeypatch.setenv("ALERT_SMTP", f"smtp://kpis:s3cret@127.0.0.1:{port}")
        (problem,) = alerts.send(MAIL, "a run failed")
    assert problem.endswith("the server offers no encryption, so the password stays here")
    assert mails == []


@pytest.mark.parametrize("address", ["", "file:///etc/passwd", "ftp://example.com"])
def test_an_address_of_another_kind_is_refused(monkeypatch, address):
    monkeypatch.setenv("ALERT_HOOK", address)
    monkeypatch.setenv("ALERT_SMTP", address)
    both = Alerts(webhook=HOOK.webhook, email=MAIL.email)
    assert [problem.partition(": ")[2] for problem in alerts.send(both, "a run failed")] == [
        "ALERT_HOOK must hold an address that begins with https:// or http://",
        "ALERT_SMTP must hold an address that begins with smtps:// or smtp://",
    ]


@pytest.mark.parametrize(
    ("block", "named"),
    [
        ("{webhook: {url_env: 'https://hooks.example.com/T0/B0'}}", "alerts.webhook.url_env: must be the name"),
        ("{email: {smtp_env: S, from: kpis, to: [ops@example.com]}}", "alerts.email.from"),
        ("{email: {smtp_env: S, from: kpis@example.com, to: []}}", "alerts.email.to"),
        ("{stale_after_hours: 0}", "alerts.stale_after_hours"),
        ("{slack: S}", "alerts.slack: is no key here"),
    ],
)
def test_alerts_that_cannot_be_sent_as_written_are_told_with_their_key(tmp_path, block, named):
    (tmp_path / "sources.yaml").write_text(f"sources: {{demo: {{kind: sample}}}}\nalerts: {block}\n")
    with pytest.raises(ConfigError, match=named):
        load_settings(tmp_path)


# Runs


BROKEN = {"subscriptions.csv": "Id,From\n1,2026-01-01\n"}


@quick
def test_a_failed_run_posts_the_error_in_its_own_words_whoever_started_it(company, webhook):
    report = run_job(company(BROKEN), FEBRUARY)
    (text,) = webhook
    assert text.startswith(f"run {report.run_id} of daily_kpis failed: raw__billing: ")
    assert "subscriptions.csv" in text
    assert "'Subscription'" in text
    assert text.endswith(". Stale sources: billing")


@quick
def test_a_run_that_publishes_posts_nothing(company, webhook):
    assert run_job(company(), FEBRUARY).outcome == "published"
    assert webhook == []


@quick
@pytest.mark.parametrize("files", [{}, BROKEN], ids=["published", "failed"])
def test_an_alert_that_cannot_be_sent_is_noted_and_changes_no_outcome(company, monkeypatch, files):
    undisturbed = run_job(company(files), FEBRUARY).outcome
    refused_row = "10,S-huy,huy,never,,basic,1.00,month\n"
    settings = company({"sources.yaml": BILLING + "alerts: {webhook: {url_env: ALERT_HOOK}}\n", **files})
    with (settings.base_dir / "subscriptions.csv").open("a") as file:
        file.write("" if files else refused_row)
    with web_hook(500) as (address, texts):
        monkeypatch.setenv("ALERT_HOOK", address)
        report = run_job(settings, FEBRUARY)
    assert report.outcome == undisturbed
    assert len(texts) == 1
    log = [json.loads(line) for line in log_file(settings.data_dir, report.run_id).read_text().splitlines()]
    (noted,) = [line for line in log if line["step"] == "alert"]
    assert noted["level"] == "error"
    assert noted["message"] == "the alert was not sent, webhook of ALERT_HOOK: the server answers 500"
    assert "secret-path" not in json.dumps(log)


@contextmanager
def failed_run(settings: Settings) -> Iterator[dg.RunFailureSensorContext]:
    """What the sensor is given after a run of the job has failed."""
    job = build_defs(settings).resolve_job_def(JOB)
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            run_config=run_config("2026-02-28", False, quiet=True), instance=instance, raise_on_error=False
        )
        yield dg.build_run_status_sensor_context(
            sensor_name="run_failed",
            dagster_instance=instance,
            dagster_run=result.dagster_run,
            dagster_event=result.get_run_failure_event(),
        ).for_run_failure()


def test_the_sensor_tells_only_of_a_run_that_broke_off_before_it_could(company: Callable[..., Settings], webhook):
    settings = company(BROKEN)
    with failed_run(settings) as context:
        run_id = context.dagster_run.run_id
        assert len(webhook) == 1
        alerts.failure_sensor(settings)(context)
        assert len(webhook) == 1
        (settings.data_dir / "runs" / f"{run_id}.json").unlink()
        alerts.failure_sensor(settings)(context)
    assert webhook[1:] == [f"run {run_id} of daily_kpis failed: raw__billing"]


def test_the_sensor_of_staleness_tells_once_of_each_release(six_customers, webhook, monkeypatch):
    release = current_release(published_dir(six_customers))

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return release.published_at + timedelta(days=3)

    sensor = alerts.stale_sensor(six_customers)
    with dg.build_sensor_context() as context:
        sensor(context)
        assert webhook == []
        monkeypatch.setattr(alerts, "datetime", Later)
        sensor(context)
        sensor(context)
    assert webhook == [f"nothing was published for 30 hours, {release.name} is the newest release"]
