"""Alerts by e-mail, over SMTP."""

from __future__ import annotations

import hashlib
import logging
import smtplib
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from alerts.sinks.base import AlertSink, Row, needed
from alerts.sinks.wording import details, headline, link, reasons, severity, worth_telling
from features.errors import ConfigurationError, EnvironmentProblem
from settings import Settings

log = logging.getLogger(__name__)

MOST_SHOWN = 50
MAX_SUBJECT = 150
SECONDS = 30


class MailSink(AlertSink):
    """One message for what came in ``sinks.pause_seconds``.

    Its Message-ID is made of the alerts in it: many servers drop what they have by it, so that a message that is sent
    again after a crash is often seen once.
    """

    max_rows = 500

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        chosen = settings.sinks
        self._host = needed("mail", "mail_host", chosen.mail_host)
        self._sender = _address("mail_from", needed("mail", "mail_from", chosen.mail_from))
        needed("mail", "mail_to", ", ".join(chosen.mail_to) or None)
        self._receivers = [_address("mail_to", one) for one in chosen.mail_to]
        self.pause_seconds = chosen.pause_seconds

    def send(self, rows: Sequence[Row]) -> int:
        told = worth_telling(rows)
        if not told:
            return 0
        message = mail_of(told, self._sender, self._receivers, self.settings.sinks.page_url)
        try:
            with self._connected() as server:
                server.send_message(message)
        except smtplib.SMTPResponseException as error:
            if 500 <= error.smtp_code < 600 and not isinstance(error, smtplib.SMTPAuthenticationError):
                return self._given_up(rows, f"answered {error.smtp_code}")
            raise EnvironmentProblem(f"The mail server {self._host} answered {error.smtp_code}.") from None
        except smtplib.SMTPRecipientsRefused:
            return self._given_up(rows, "takes none of sinks.mail_to")
        except (OSError, smtplib.SMTPException) as error:
            raise EnvironmentProblem(
                f"The mail server {self._host} does not take messages ({type(error).__name__}): see that it runs there "
                "and that sinks.mail_security is what it speaks."
            ) from None
        return 0

    def _given_up(self, rows: Sequence[Row], why: str) -> int:
        log.warning("a message of %d alerts was given up: the mail server %s %s", len(rows), self._host, why)
        return len(rows)

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        chosen = self.settings.sinks
        place = (self._host, chosen.mail_port)
        if chosen.mail_security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(*place, timeout=SECONDS, context=ssl.create_default_context())
        else:
            server = smtplib.SMTP(*place, timeout=SECONDS)
        with server:
            if chosen.mail_security == "starttls":
                server.starttls(context=ssl.create_default_context())
            if chosen.mail_username is not None:
                secret = chosen.mail_password
                server.login(chosen.mail_username, "" if secret is None else secret.get_secret_value())
            yield server


def mail_of(rows: Sequence[Row], sender: Address, receivers: Sequence[Address], page: str | None) -> EmailMessage:
    """Plain text: nothing of an event is markup in it."""
    message = EmailMessage()
    grave = max(severity(row) for row in rows).name
    first = headline(rows[0])
    subject = f"[{grave}] {first}" if len(rows) == 1 else f"[{grave}] {len(rows)} alerts, the first: {first}"
    message["Subject"] = subject[:MAX_SUBJECT]
    message["From"], message["To"] = sender, list(receivers)
    message["Date"] = format_datetime(rows[-1]["batch_time"])
    message["Auto-Submitted"] = "auto-generated"
    told = "".join(f"{row['alert_id']}-{row['revision']};" for row in rows)
    message["Message-ID"] = f"<{hashlib.sha256(told.encode()).hexdigest()[:40]}@{sender.domain}>"
    parts = ["\n".join(_lines(row, page)) for row in rows[:MOST_SHOWN]]
    if len(rows) > MOST_SHOWN:
        parts.append(f"and {len(rows) - MOST_SHOWN} more")
    message.set_content("\n\n".join(parts) + "\n")
    return message


def _lines(row: Row, page: str | None) -> Iterator[str]:
    yield f"[{severity(row).name}] {headline(row)}"
    yield from (f"  {reason}" for reason in reasons(row)[1:])
    yield f"  {details(row)}"
    address = link(row, page)
    if address is not None:
        yield f"  {address}"


def _address(name: str, text: str) -> Address:
    try:
        address = Address(addr_spec=text)
    except (ValueError, IndexError) as error:
        raise ConfigurationError(f"Setting sinks.{name}: found {text!r}, which is no address of e-mail.") from error
    if not address.domain:
        raise ConfigurationError(f"Setting sinks.{name}: found {text!r}; needed: name@host.")
    return address
