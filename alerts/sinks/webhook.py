"""Alerts to a web address, by POST."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from alerts.sinks.base import AlertSink, Row, alert_json
from features.errors import ConfigurationError
from settings import Settings

log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells each address at INFO, and the webhook's is a secret


class WebhookSink(AlertSink):
    """A POST per revision to ``alerts.webhook``; one that is refused or not answered so often is given up."""

    max_rows = 1

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        chosen = settings.alerts
        if chosen.webhook is None:
            raise ConfigurationError(
                "Setting alerts.sinks: found webhook, and no alerts.webhook; needed: the address to post to. "
                "Set BEHAVIOR_ALERTS__WEBHOOK, or leave webhook out of alerts.sinks."
            )
        self._address = chosen.webhook.get_secret_value()
        headers = {"Content-Type": "application/json"}
        if chosen.webhook_token is not None:
            headers["Authorization"] = f"Bearer {chosen.webhook_token.get_secret_value()}"
        self._client = httpx.Client(
            timeout=chosen.webhook_seconds, headers=headers, follow_redirects=False, trust_env=False
        )
        self._attempts = Retrying(
            retry=retry_if_exception_type(httpx.HTTPError),  # an address that is none is not tried again
            stop=stop_after_attempt(chosen.webhook_attempts),
            wait=wait_random_exponential(multiplier=0.5, max=10),
            reraise=True,
        )

    def send(self, rows: Sequence[Row]) -> int:
        lost = 0
        for row in rows:
            try:
                self._attempts.copy()(self._post, row)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                lost += 1
                log.warning(
                    "alert %s revision %s was given up after %d attempts: the webhook %s",
                    row["alert_id"], row["revision"], self.settings.alerts.webhook_attempts, _why(error),
                )  # fmt: skip
        return lost

    def _post(self, row: Row) -> None:
        mark = {"Idempotency-Key": f"{row['alert_id']}-{row['revision']}"}
        self._client.post(self._address, content=alert_json(row), headers=mark).raise_for_status()


def _why(error: httpx.HTTPError | httpx.InvalidURL) -> str:
    """Without the address, which may hold a secret."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"answered {error.response.status_code}"
    return f"did not answer ({type(error).__name__})"
