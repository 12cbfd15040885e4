"""What sinks that post over HTTP have in common: tries, waits as receivers ask for, and no secret in a log."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from alerts.sinks.base import AlertSink, Row
from alerts.sinks.wording import worth_telling
from settings import Settings

log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells each address at INFO, and many are secrets

LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
"""Answers of the 400s that say to ask again."""
LONGEST_WAIT = 60.0
"""Seconds that a receiver may ask us to wait."""
_spread = wait_random_exponential(multiplier=0.5, max=10)


class HttpSink(AlertSink):
    """Asks again where the receiver is away or says later, and gives up where it says never."""

    receiver: ClassVar[str]
    """How it is called in the log."""

    def __init__(self, settings: Settings, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(settings)
        chosen = settings.alerts
        self.client = httpx.Client(
            timeout=chosen.webhook_seconds, headers=dict(headers or {}), follow_redirects=False, trust_env=False
        )
        self._attempts = Retrying(
            retry=retry_if_exception(_may_pass), stop=stop_after_attempt(chosen.webhook_attempts), wait=_wait,
            sleep=time.sleep, reraise=True,
        )  # fmt: skip

    def ask(self, what: str, request: Callable[[], httpx.Response]) -> httpx.Response | None:
        """The receiver's answer; None where ``what`` was given up."""

        def attempt() -> httpx.Response:
            return request().raise_for_status()

        attempts = self._attempts.copy()
        try:
            return attempts(attempt)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            count = attempts.statistics["attempt_number"]
            log.warning("%s was given up after %d attempts: %s %s", what, count, self.receiver, why(error))
            return None

    def post(self, what: str, address: str, body: Any, headers: Mapping[str, str] | None = None) -> bool:
        """Whether the receiver took a body of JSON."""
        return self.ask(what, lambda: self.client.post(address, json=body, headers=dict(headers or {}))) is not None


class ChatSink(HttpSink):
    """One message for what came in ``sinks.pause_seconds``. Chats know no key: after a crash one may come twice."""

    max_rows = 200

    def __init__(self, settings: Settings, address: str) -> None:
        super().__init__(settings)
        self._address = address
        self.pause_seconds = settings.sinks.pause_seconds

    @abstractmethod
    def message(self, rows: Sequence[Row], page: str | None) -> dict[str, Any]:
        """What is posted of these alerts; ``page`` is where their links lead."""

    def send(self, rows: Sequence[Row]) -> int:
        told = worth_telling(rows)
        if not told:
            return 0
        message = self.message(told, self.settings.sinks.page_url)
        return 0 if self.post(f"a message of {len(told)} alerts", self._address, message) else len(rows)


def why(error: httpx.HTTPError | httpx.InvalidURL) -> str:
    """Without the address, which may hold a secret."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"answered {error.response.status_code}"
    return f"did not answer ({type(error).__name__})"


def _may_pass(error: BaseException) -> bool:
    """Whether the next attempt may do better; an address that is none is not tried again."""
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return status in LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return isinstance(error, httpx.HTTPError)


def _wait(state: RetryCallState) -> float:
    """As long as the receiver says, else longer and longer."""
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, httpx.HTTPStatusError):
        said = error.response.headers.get("retry-after", "")
        if said.isdecimal():
            return min(float(said), LONGEST_WAIT)
    return _spread(state)
