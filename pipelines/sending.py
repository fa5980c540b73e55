"""Sending a message to people: by webhook and by e-mail, to addresses that stand in environment variables."""

import json
import os
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from http.client import HTTPException
from urllib.parse import unquote, urlsplit

from pipelines.config import Channels, Email

TIMEOUT_SECONDS = 10


class SendError(ValueError):
    """A channel that cannot be used as it is set up."""


@dataclass(frozen=True)
class Message:
    """What is sent: a text, for mail with a subject and perhaps as HTML too. `kind` says what it is in problems."""

    kind: str
    subject: str
    text: str
    html: str | None = None


def send(channels: Channels, message: Message) -> list[str]:
    """Sends a message through every channel that is set up; why it could not, by channel. A failure raises nothing.

    Problems name the variable that holds an address, never the address, which is a secret.
    """
    ways: list[tuple[str, Callable[[], None]]] = []
    if channels.webhook is not None:
        variable = channels.webhook.url_env
        ways.append((f"webhook of {variable}", lambda: _post(variable, message.text)))
    if channels.email is not None:
        email = channels.email
        ways.append((f"e-mail by {email.smtp_env}", lambda: _mail(email, message)))
    problems = []
    for name, deliver in ways:
        try:
            deliver()
        except (OSError, HTTPException, ValueError) as error:
            problems.append(f"the {message.kind} was not sent, {name}: {_why(error)}")
    return problems


def _why(error: Exception) -> str:
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        error = error.reason
    match error:
        case SendError():
            return str(error)
        case urllib.error.HTTPError(code=code) | smtplib.SMTPResponseException(smtp_code=code):
            return f"the server answers {code}"
        case TimeoutError():
            return "no answer in time"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _address(variable: str, schemes: Sequence[str]) -> str:
    address = os.environ.get(variable, "")
    if not address.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        raise SendError(f"{variable} must hold an address that begins with {' or '.join(f'{s}://' for s in schemes)}")
    return address


def _post(variable: str, text: str) -> None:
    """POSTs {"text": ...}, which Slack, Mattermost, Google Chat and Teams' workflows take."""
    request = urllib.request.Request(
        _address(variable, ("https", "http")),
        data=json.dumps({"text": text}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
        pass


def _mail(email: Email, message: Message) -> None:
    server = urlsplit(_address(email.smtp_env, ("smtps", "smtp")))
    host, user = server.hostname or "", unquote(server.username or "")
    mail = EmailMessage()
    mail["From"], mail["To"] = email.from_, ", ".join(email.to)
    mail["Subject"] = message.subject
    mail["Date"], mail["Message-ID"] = format_datetime(datetime.now(UTC)), make_msgid(domain="kpis")
    mail.set_content(message.text, cte="quoted-printable")
    if message.html is not None:
        mail.add_alternative(message.html, subtype="html", cte="quoted-printable")
    tls = ssl.create_default_context()
    smtp = (
        smtplib.SMTP_SSL(host, server.port or 465, "localhost", timeout=TIMEOUT_SECONDS, context=tls)
        if server.scheme == "smtps"
        else smtplib.SMTP(host, server.port or 587, "localhost", timeout=TIMEOUT_SECONDS)
    )
    with smtp:
        smtp.ehlo()
        is_secret = server.scheme == "smtps"
        if not is_secret and smtp.has_extn("starttls"):
            smtp.starttls(context=tls)
            smtp.ehlo()
            is_secret = True
        if user:
            if not is_secret:
                raise SendError("the server offers no encryption, so the password stays here")
            smtp.login(user, unquote(server.password or ""))
        refused = smtp.send_message(mail)
    if refused:
        raise SendError(f"{len(refused)} of {len(email.to)} recipients are refused")
