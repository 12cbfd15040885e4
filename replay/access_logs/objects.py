"""Access logs of one JSON object a line: Caddy, Traefik, nginx, Envoy and others, told by the names of their fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from typing import Any

from features.errors import UsageError
from replay.access_logs.addresses import addresses_in, are_inner, client_of
from replay.access_logs.fields import FORWARDED
from replay.access_logs.requests import Request, request_of
from replay.access_logs.times import log_time

_CLIENT = (
    "request.client_ip", "request.remote_ip", "request.remote_addr", "ClientHost", "ClientAddr", "remote_addr",
    "remote_ip", "remoteAddr", "remoteIp", "client_ip", "clientip", "clientIp", "client.ip", "client.address",
    "source.ip", "source.address", "httpRequest.remoteIp", "downstream_remote_address", "remote_host", "remote",
    "client", "ip", "host_ip",
)  # fmt: skip
_FORWARDED = (
    "http_x_forwarded_for", "x_forwarded_for", "xff", "forwarded_for", "request_X-Forwarded-For",
    "request.headers.X-Forwarded-For", "x-forwarded-for", "headers.x-forwarded-for",
)  # fmt: skip
_TIME = (
    "time_iso8601", "@timestamp", "StartUTC", "ts", "timestamp", "time", "start_time", "time_local", "msec", "date",
    "StartLocal", "datetime",
)  # fmt: skip
_METHOD = (
    "request.method", "RequestMethod", "request_method", "method", "http.request.method", "httpRequest.requestMethod",
    "verb", "http_method", "requestMethod",
)  # fmt: skip
_TARGET = (
    "request.uri", "RequestPath", "request_uri", "uri", "path", "url.path", "url.original", "url",
    "httpRequest.requestUrl", "request_path", "requestUri", "http_path", "target", "x-envoy-origin-path",
)  # fmt: skip
_REQUEST = ("request", "request_line", "requestLine", "http.request.line")
_STATUS = (
    "status", "DownstreamStatus", "OriginStatus", "response_code", "http.response.status_code", "status_code",
    "statusCode", "httpRequest.status", "response.status", "response", "code",
)  # fmt: skip
_SIZE = (
    "size", "DownstreamContentSize", "body_bytes_sent", "bytes_sent", "http.response.body.bytes",
    "httpRequest.responseSize", "bytes", "response_size",
)  # fmt: skip
_AGENT = (
    "request.headers.User-Agent", "request_User-Agent", "http_user_agent", "user_agent.original", "user_agent",
    "userAgent", "httpRequest.userAgent", "agent", "headers.user-agent", "http_user-agent", "user-agent",
)  # fmt: skip
_EVENT = ("user_id", "action", "page")


@dataclass(frozen=True)
class Objects:
    """Reads the objects of one log.

    Attributes:
        client_field: the path of the field that says who asked; None: it is found.
        hops: proxies of our own.
        times, methods, targets, statuses, sizes, agents: paths in the order in which they are looked for.
    """

    client_field: str | None = None
    hops: int | None = None
    times: Sequence[str] = _TIME
    methods: Sequence[str] = _METHOD
    targets: Sequence[str] = _TARGET
    statuses: Sequence[str] = _STATUS
    sizes: Sequence[str] = _SIZE
    agents: Sequence[str] = _AGENT
    clients: Sequence[str] = _CLIENT

    def read(self, record: dict[str, Any]) -> Request | None:
        """The request in a record; ``method`` is empty where there is none, ``client`` where it is not known.

        None: it is no record of a request.
        """
        when = _time_in(record, self.times)
        asked = _asked(record, self.methods, self.targets)
        if when is None or not asked:
            return None
        status, size = _first(record, self.statuses), _first(record, self.sizes)
        return request_of(self.client_in(record), when, asked, status, size, _first(record, self.agents))

    def client_in(self, record: dict[str, Any]) -> str:
        """Who asked; empty where that is not known."""
        for path in self._client_paths:
            text = _text(record, path)
            if text and (found := addresses_in(text)):
                return client_of(found, self.hops)
        return ""

    @cached_property
    def _client_paths(self) -> tuple[str, ...]:
        named = () if self.client_field is None else (self.client_field,)
        asked = _FORWARDED if self.client_field == FORWARDED else named
        return (*asked, *self.clients, *_FORWARDED)


def is_request(record: dict[str, Any]) -> bool:
    """Whether a record is a request that a server answered, and no event of the contract."""
    if all(name in record for name in _EVENT):
        return False
    asked = _asked(record, _METHOD, _TARGET)
    return bool(asked) and _time_in(record, _TIME) is not None and bool(_first(record, _STATUS))


def objects_of(
    sample: Sequence[dict[str, Any]], client_field: str | None = None, trusted_hops: int | None = None
) -> tuple[Objects, list[str]]:
    """What reads such a log, and what a person should know of it, in sentences.

    Raises:
        UsageError: no record of the sample has the field that was asked for.
    """
    found = Objects(
        client_field,
        trusted_hops,
        times=_usual_first(sample, _TIME, lambda text: log_time(text) is not None),
        methods=_usual_first(sample, _METHOD),
        targets=_usual_first(sample, _TARGET),
        statuses=_usual_first(sample, _STATUS),
        sizes=_usual_first(sample, _SIZE),
        agents=_usual_first(sample, _AGENT),
        clients=_usual_first(sample, _CLIENT, lambda text: bool(addresses_in(text))),
    )
    paths = _FORWARDED if client_field == FORWARDED else (client_field,)
    if client_field is not None and sample and not any(_text(record, str(path)) for record in sample for path in paths):
        names = ", ".join(sorted(_paths(sample[0]))[:60])
        raise UsageError(f"--client-field {client_field}: no record has it. They have {names}.")
    clients = {found.client_in(record) for record in sample} - {""}
    inner = are_inner(clients)
    passed = next((path for path in _FORWARDED for record in sample if addresses_in(_text(record, path))), None)
    notes = []
    if client_field is None and inner and passed is not None:
        notes.append(
            f"All clients of the first {len(sample)} records are of an inner network, and {passed} has addresses: "
            f"behind a balancer, --client-field {FORWARDED} (CLIENT_FIELD=) takes the client from there."
        )
    return found, notes


def _usual_first(
    sample: Sequence[dict[str, Any]], paths: Sequence[str], fits: Callable[[str], bool] = bool
) -> tuple[str, ...]:
    """The paths, the one first at which most records have what is looked for: that is what reading a log takes."""
    found = [next((path for path in paths if fits(_text(record, path))), None) for record in sample]
    counted = Counter(path for path in found if path is not None)
    usual = [path for path, _ in counted.most_common(1)]
    return (*usual, *(path for path in paths if path not in usual))


def _asked(record: dict[str, Any], methods: Sequence[str], targets: Sequence[str]) -> str:
    """The request's first line, whole or of method and target; empty where nothing asks for anything."""
    method = _first(record, methods)
    target = _first(record, targets) if method else ""
    return f"{method} {target}" if target else _first(record, _REQUEST)


def _time_in(record: dict[str, Any], paths: Sequence[str]) -> datetime | None:
    for path in paths:
        text = _text(record, path)
        if text and (when := log_time(text)) is not None:
            return when
    return None


def _first(record: dict[str, Any], paths: Sequence[str]) -> str:
    for path in paths:
        if text := _text(record, path):
            return text
    return ""


def _text(record: dict[str, Any], path: str) -> str:
    """What is at a path, in Latin-1 as all lines are; of a list its first member. Empty where there is no such text."""
    value: Any = record.get(path)
    if value is None:
        steps = _steps(path)
        if len(steps) > 1:
            value = record
            for name in steps:
                if type(value) is not dict:
                    return ""
                value = value.get(name)
    if type(value) is list and value:
        value = value[0]
    if type(value) is str:
        return value if value.isascii() else value.encode("utf-8", "replace").decode("latin-1")
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:.6f}"
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


@cache
def _steps(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def _paths(record: dict[str, Any], before: str = "") -> list[str]:
    found = []
    for name, value in record.items():
        found += _paths(value, f"{before}{name}.") if isinstance(value, dict) else [f"{before}{name}"]
    return found
