"""Alerts to a web address, by POST."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence

import httpx

from alerts.sinks.base import Row, alert_json
from alerts.sinks.http import HttpSink
from features.errors import ConfigurationError
from settings import Settings

SIGNATURE = "X-Behavior-Signature"


class WebhookSink(HttpSink):
    """A POST per revision to ``alerts.webhook``; one that is refused or not answered so often is given up."""

    max_rows = 1
    receiver = "the webhook"

    def __init__(self, settings: Settings) -> None:
        chosen = settings.alerts
        if chosen.webhook is None:
            raise ConfigurationError(
                "Setting alerts.sinks: found webhook, and no alerts.webhook; needed: the address to post to. "
                "Set BEHAVIOR_ALERTS__WEBHOOK, or leave webhook out of alerts.sinks."
            )
        token = chosen.webhook_token
        login = {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
        super().__init__(settings, {"Content-Type": "application/json", **login})
        self._address = chosen.webhook.get_secret_value()
        self._secret = None if chosen.webhook_secret is None else chosen.webhook_secret.get_secret_value().encode()

    def send(self, rows: Sequence[Row]) -> int:
        return sum(not self._sent(row) for row in rows)

    def _sent(self, row: Row) -> bool:
        body, mark = alert_json(row), f"{row['alert_id']}-{row['revision']}"

        def post() -> httpx.Response:
            headers = {"Idempotency-Key": mark}
            if self._secret is not None:
                headers[SIGNATURE] = signature(body, self._secret, int(time.time()))
            return self.client.post(self._address, content=body, headers=headers)

        return self.ask(f"alert {row['alert_id']} revision {row['revision']}", post) is not None


def signature(body: bytes, secret: bytes, at: int) -> str:
    """``t=SECONDS,v1=HEX``: HMAC-SHA256 (RFC 2104) of the seconds since 1970, a dot and the body.

    The receiver makes it anew, and refuses one that is another or whose time is long past: who copies a request can
    then not send it again later.
    """
    return f"t={at},v1={hmac.new(secret, b'%d.%s' % (at, body), hashlib.sha256).hexdigest()}"
