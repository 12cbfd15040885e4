"""A log line as fields, and which of them is what: told from what is in them, not from their order alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

from features.errors import UsageError
from replay.access_logs.addresses import address_in, addresses_in, are_inner, client_of, is_host_name, is_private
from replay.access_logs.requests import Request, method_and_target, request_of
from replay.access_logs.times import log_time

_FIELD = re.compile(r'"((?:[^"\\]++|\\.)*+)"(?=\s|$)|\[([^\]]*)\](?=\s|$)|(\S+)', re.ASCII)
_COMBINED = re.compile(
    r'(?:([^\s"\[,]++) )?([^\s"\[,]++) - (?:-|[^\s"\[]++) \[([^\]]++)\] "((?:[^"\\]++|\\.)*+)" ([1-5]\d\d) (\d++|-)'
    r'(?: [^\s"\[]++)*+(?: "(?:[^"\\]++|\\.)*+" "((?:[^"\\]++|\\.)*+)"(?:\s.*+)?)?\s*',
    re.DOTALL | re.ASCII,
)
"""What most lines are, a virtual host first or none. Those that are anything else are looked at field by field."""
_MAYBE_TIME = re.compile(r"\d{4}-\d\d-\d\dT|\d{10}\.\d{3}$|\d{4}-\d\d-\d\d$")
_STATUS = re.compile(r"[1-5]\d\d")
_AGENT = re.compile(
    r"(?:mozilla|opera|curl|wget|python|java|go-http|okhttp)\b|[\w .-]*/\d|.*(?:bot|crawl|spider)", re.IGNORECASE
)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
QUOTED, BRACKETED, BARE = range(3)
FORWARDED = "forwarded"
CLIP = 200


class Place(NamedTuple):
    """A field: ``at`` places after the line's start or, where ``after`` the request, after that."""

    after: bool
    at: int


class Field(NamedTuple):
    kind: int
    text: str


@dataclass(frozen=True)
class Line:
    """The fields of a line; ``time`` and ``request`` are places among them."""

    fields: Sequence[Field]
    when: datetime
    time: int
    request: int

    @cached_property
    def before(self) -> dict[int, tuple[str, ...]]:
        """Addresses before the request, by place."""
        return self._addresses(0, self.request)

    @cached_property
    def after(self) -> dict[int, tuple[str, ...]]:
        """Addresses after the request, by place behind it."""
        return {at - self.request: found for at, found in self._addresses(self.request + 1, len(self.fields)).items()}

    def _addresses(self, begin: int, end: int) -> dict[int, tuple[str, ...]]:
        found = {at: addresses_in(self.fields[at].text) for at in range(begin, end) if at != self.time}
        return {at: addresses for at, addresses in found.items() if addresses}

    def at(self, place: Place) -> str:
        """The text of a field; empty where the line is shorter."""
        at = self.request + place.at if place.after else place.at
        return self.fields[at].text if at < len(self.fields) else ""


def line_of(text: str) -> Line | None:
    """The fields of a line; None where it has no time, or nothing quoted that could be a request."""
    fields: list[Field] = []
    for match in _FIELD.finditer(text):
        kind = match.lastindex
        assert kind is not None
        value = match[kind]
        if fields and fields[-1].kind == BARE and fields[-1].text.endswith(",") and kind - 1 == BARE:
            fields[-1] = Field(BARE, f"{fields[-1].text} {value}")  # a list of addresses
        else:
            fields.append(Field(kind - 1, value))
    timed = _timed(fields)
    if timed is None:
        return None
    time, when = timed
    quoted = [at for at, field in enumerate(fields) if field.kind == QUOTED]
    asks = next((at for at in quoted if method_and_target(fields[at].text)), None)
    if asks is None:
        asks = next((at for at in quoted if at > time), None)
    return None if asks is None else Line(fields, when, time, asks)


def _timed(fields: list[Field]) -> tuple[int, datetime] | None:
    """Where the time is, and the time; a date and a time of day as two fields are made one."""
    for at, field in enumerate(fields):
        if field.kind == BRACKETED and (when := log_time(field.text)) is not None:
            return at, when
    for at, field in enumerate(fields):
        if field.kind != BARE or not _MAYBE_TIME.match(field.text):
            continue
        if len(field.text) == 10 and at + 1 < len(fields):
            fields[at : at + 2] = [Field(BARE, f"{field.text} {fields[at + 1].text}")]
        if (when := log_time(fields[at].text)) is not None:
            return at, when
    return None


@dataclass(frozen=True)
class Fields:
    """Which field is what, in the lines of one log.

    Attributes:
        client: the field that was asked for, or None: that is found by what it is.
        rank: of several addresses before the request, which is the client's; None: that cannot be told.
        hops: proxies of our own, see :func:`replay.access_logs.addresses.client_of`.
        status, agent: places behind the request.
        agent_is_second: of the quoted fields behind it, as in combined; or there is none.
        names: whether a client may be the name of a host.
    """

    client: Place | None
    rank: int | None
    hops: int | None
    status: Place
    agent: Place | None
    agent_is_second: bool
    names: bool

    def read(self, text: str) -> Request | None:
        """The request in a line; ``method`` is empty where there is none, ``client`` where it is not known for sure.

        None: the line has no time, or nothing that could be a request.
        """
        if self._is_plain and (match := _COMBINED.fullmatch(text)):
            host, name, time, asked, status, size, agent = match.groups()
            client, when = self._plain_client(host, name), log_time(time)
            if client and when is not None:
                return request_of(client, when, asked, status, size, agent or "")
        line = line_of(text)
        if line is None:
            return None
        status = line.at(self.status)
        size = line.at(self.status._replace(at=self.status.at + 1))
        agent = line.at(self.agent) if self.agent is not None else ""
        asked = line.fields[line.request].text
        return request_of(
            self.client_in(line),
            line.when,
            asked,
            status if _STATUS.fullmatch(status) else "",
            size,
            agent,
        )

    @cached_property
    def _is_plain(self) -> bool:
        """Whether a line in combined format may be read without looking at its fields."""
        return self.client is None and self.status == Place(True, 1) and self.agent_is_second

    def _plain_client(self, host: str | None, name: str) -> str:
        """The client of a line in combined format; empty where its fields have to be looked at."""
        address = address_in(name)
        if address is not None:
            return address if host is None or not addresses_in(host) else ""
        return name.lower() if self.names and host is None and is_host_name(name) else ""

    def client_in(self, line: Line) -> str:
        """Who asked; empty where that is not known for sure."""
        if self.client is not None and (found := addresses_in(line.at(self.client))):
            return client_of(found, self.hops)
        before = list(line.before.values())
        if len(before) == 1 or (before and len(set(before)) == 1):
            return client_of(before[0], self.hops)
        if before:
            rank = self.rank if self.rank is not None and self.rank < len(before) else _rank_of([line])
            return client_of(before[rank], self.hops) if rank is not None else ""
        first = line.fields[0].text
        return first.lower() if self.names and line.time >= 3 and is_host_name(first) else ""


# --- learning which field is what ---


def fields_of(
    sample: Sequence[str], client_field: str | None = None, trusted_hops: int | None = None
) -> tuple[Fields, list[str]]:
    """Which field is what in a log that begins with these lines, and what a person should know of it, in sentences.

    Args:
        client_field: ``forwarded``, or the number of a field, from 1; None: it is found.
        trusted_hops: proxies of our own.

    Raises:
        UsageError: the client cannot be found for sure, or the field that was named has none.
    """
    lines = [line for line in map(line_of, sample) if line is not None]
    asked = [line for line in lines if method_and_target(line.fields[line.request].text)] or lines
    place = None if client_field is None else _place_of(client_field, asked)
    several = [line for line in asked if len(set(line.before.values())) > 1]
    rank = _rank_of(several) if several else None
    if several and rank is None and place is None:
        raise UsageError(_several(several[0]))
    agent = _agent_of(asked)
    found = Fields(
        client=place,
        rank=rank,
        hops=trusted_hops,
        status=_status_of(asked),
        agent=agent,
        agent_is_second=agent is None or all(_is_second_quoted(line, agent) for line in asked),
        names=not any(min(line.before, default=0) > 0 for line in asked),
    )
    return found, _notes(asked, found)


def _rank_of(lines: Sequence[Line]) -> int | None:
    """Of several addresses before the request, which is the client's in all of the lines; None: that is not sure.

    It is the second where the first has a port, the second has none, and what follows are the common format's two
    names and time: Apache's ``%v:%p %h %l %u %t`` on a host without a name. Else it is the one of the internet where
    all others are of an inner network, if it changes: one that never does may be the server's own.
    """
    if all(_is_virtual_host(line) for line in lines):
        return 1
    ranks = {_public(line) for line in lines}
    if len(ranks) != 1 or None in ranks:
        return None
    rank = ranks.pop()
    assert rank is not None
    clients = {list(line.before.values())[rank] for line in lines}
    return rank if len(clients) > 1 else None


def _is_virtual_host(line: Line) -> bool:
    first, second = line.fields[0].text, line.fields[1].text
    return list(line.before) == [0, 1] and line.time >= 4 and _has_port(first) and not _has_port(second)


def _has_port(text: str) -> bool:
    return re.fullmatch(r"(?:\d+(?:\.\d+){3}|\[[0-9A-Fa-f:.]+\]):\d+", text) is not None


def _public(line: Line) -> int | None:
    found = [at for at, addresses in enumerate(line.before.values()) if not all(map(is_private, addresses))]
    return found[0] if len(found) == 1 else None


def _place_of(client_field: str, lines: Sequence[Line]) -> Place:
    """The field that ``--client-field`` names."""
    if not client_field.isdigit():
        if client_field != FORWARDED:
            raise UsageError(
                f"--client-field {client_field}: in a log without names of fields it is {FORWARDED}, or the number of "
                "a field, from 1."
            )
        seen = Counter(at for line in lines for at in line.after)
        if not seen:
            raise UsageError(f"--client-field {FORWARDED}: no field after the request holds addresses. {_shown(lines)}")
        most = max(seen.values())
        places = [at for at, count in seen.items() if count > most / 2]
        if len(places) > 1:
            named = _numbered(lines[0], [lines[0].request + at for at in sorted(places)])
            raise UsageError(f"--client-field {FORWARDED}: several fields hold addresses: {named}. Give its number.")
        return Place(True, places[0])
    number = int(client_field) - 1
    line = max(lines, key=lambda one: len(one.fields), default=None)
    if line is None or not 0 <= number < len(line.fields):
        fields = 0 if line is None else len(line.fields)
        raise UsageError(f"--client-field {client_field}: there are fields 1 to {fields}. {_shown(lines)}")
    place = Place(True, number - line.request) if number > line.request else Place(False, number)
    if not any(addresses_in(one.at(place)) for one in lines):
        raise UsageError(
            f"--client-field {client_field}: that is {line.fields[number].text!r}, which is no address. {_shown(lines)}"
        )
    return place


def _several(line: Line) -> str:
    return (
        f"Which address is the client's cannot be told for sure: {_numbered(line, list(line.before))}, in the line "
        f"{_clipped(line)!r}. Say it with --client-field NUMBER (CLIENT_FIELD=), or give the log's own format string "
        "with --log-format (LOG_FORMAT=)."
    )


def _numbered(line: Line, places: Sequence[int]) -> str:
    return " and ".join(f"field {at + 1} is {line.fields[at].text}" for at in places if at < len(line.fields))


def _shown(lines: Sequence[Line]) -> str:
    return f"The first line is {_clipped(lines[0])!r}." if lines else "No line is understood."


def _clipped(line: Line) -> str:
    wrap = {QUOTED: '"{}"', BRACKETED: "[{}]", BARE: "{}"}
    return " ".join(wrap[field.kind].format(field.text) for field in line.fields)[:CLIP]


def _status_of(lines: Sequence[Line]) -> Place:
    """The place that holds a status in most lines; those after the request go first, the nearest of them."""
    before = min((line.request - line.time for line in lines), default=1)
    places = [Place(True, at) for at in (*range(1, 12), *range(-1, -before, -1))]
    return _fullest(places, lines, lambda text: bool(_STATUS.fullmatch(text)), QUOTED) or Place(True, 1)


def _agent_of(lines: Sequence[Line]) -> Place | None:
    """The quoted field after the request that looks like user agents; of two others the second, as in combined."""
    quoted = Counter(
        at - line.request for line in lines for at in range(line.request + 1, len(line.fields))
        if line.fields[at].kind == QUOTED
    )  # fmt: skip
    places = [Place(True, at) for at in sorted(quoted)]
    like = {place: sum(_is_agent(line.at(place)) for line in lines) for place in places}
    if any(like.values()):
        return max(places, key=lambda place: like[place])
    return places[1] if len(places) > 1 else None


def _is_second_quoted(line: Line, place: Place) -> bool:
    quoted = [at for at in range(line.request + 1, len(line.fields)) if line.fields[at].kind == QUOTED]
    return len(quoted) < 2 or quoted[1] == line.request + place.at


def _is_agent(text: str) -> bool:
    return bool(_AGENT.match(text)) and not _URL.match(text) and not addresses_in(text)


def _fullest(
    places: Sequence[Place], lines: Sequence[Line], fits: Callable[[str], bool], apart_from: int
) -> Place | None:
    """The first of the places that ``fits`` most, where it fits most lines."""

    def share(place: Place) -> int:
        kinds = [
            line.fields[line.request + place.at].kind if line.request + place.at < len(line.fields) else apart_from
            for line in lines
        ]
        return sum(kind != apart_from and fits(line.at(place)) for kind, line in zip(kinds, lines, strict=True))

    best = max(places, key=share)
    return best if lines and share(best) > len(lines) / 2 else None


def _notes(lines: Sequence[Line], fields: Fields) -> list[str]:
    """Where all clients are of an inner network, and another field has addresses of the internet: a balancer's log."""
    if fields.client is not None or not lines:
        return []
    clients = {fields.client_in(line) for line in lines} - {""}
    if not are_inner(clients):
        return []
    seen = Counter(at for line in lines for at, addresses in line.after.items() if not all(map(is_private, addresses)))
    if not seen:
        return []
    at, count = seen.most_common(1)[0]
    line = next(line for line in lines if at in line.after)
    note = (
        f"The client is {' or '.join(sorted(clients)[:2])}, an address of an inner network, in all of the first "
        f"{len(lines)} lines, and field {line.request + at + 1} ({line.after[at][0]}) has addresses of the internet in "
        f"{count} of them: behind a balancer, --client-field {FORWARDED} (CLIENT_FIELD=) takes the client from there."
    )
    return [note]
