"""Format strings of nginx (``log_format``) and Apache (``LogFormat``), compiled to what reads their lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from features.errors import UsageError
from replay.access_logs.addresses import addresses_in, are_inner, client_of, is_host_name
from replay.access_logs.fields import CLIP, FORWARDED
from replay.access_logs.requests import BLANKS, Request, request_of
from replay.access_logs.times import log_time

APACHE = {
    "common": '%h %l %u %t "%r" %>s %b',
    "combined": '%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"',
    "vhost_combined": '%v:%p %h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i"',
}
"""Names that Apache's own configuration gives to formats."""

_NGINX = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_APACHE = re.compile(r"%(?:%|(?:!?\d{3}(?:,\d{3})*)?[<>]?(?:\{([^}]*)\})?(\^?[a-zA-Z]{1,2}))")
_STATEMENT = re.compile(r"\s*(?:log_format\s+\w+\s+(?:escape=\w+\s+)?|LogFormat\s+)", re.IGNORECASE)
_NGINX_PARTS = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_HEADER = "http_"
_OF_APACHE = {
    "h": "remote_addr", "a": "remote_addr", "t": "time", "r": "request", "m": "request_method", "U": "uri",
    "s": "status", "b": "body_bytes_sent", "B": "body_bytes_sent", "O": "bytes_sent", "l": "ident", "u": "remote_user",
    "v": "server_name", "V": "host", "p": "server_port", "A": "server_addr", "H": "server_protocol", "q": "args",
    "D": "request_time", "T": "request_time",
}  # fmt: skip
"""Apache's letters as nginx's names."""
_TIMES = ("time", "time_local", "time_iso8601", "msec", "msec_epoch")
_PATTERNS = {
    "status": r"\d{1,3}|-", "time_iso8601": r"\d{4}-\d\d-\d\dT[\d:.,]+(?:Z|[+-]\d\d:?\d\d)?", "more": ".*",
    "captures": r"(?: \{[^{}]*\})*",
}  # fmt: skip
_STRFTIME = {
    "a": r"[A-Z][a-z]{2}", "b": r"[A-Z][a-z]{2}", "d": r"\d\d", "e": r"[ \d]\d", "H": r"\d\d", "M": r"\d\d",
    "S": r"\d\d", "Y": r"\d{4}", "m": r"\d\d", "y": r"\d\d", "j": r"\d{3}", "z": r"[+-]\d{4}", "Z": r"[A-Z]{3,4}",
    "T": r"\d\d:\d\d:\d\d", "F": r"\d{4}-\d\d-\d\d", "D": r"\d\d/\d\d/\d\d", "f": r"\d{1,6}",
}  # fmt: skip
"""Directives of strftime that times may be made of, and what they match."""
_LONG = {"T": "%H:%M:%S", "F": "%Y-%m-%d", "D": "%m/%d/%y"}
_QUOTED = r'(?:[^"\\]|\\.)*+'
_LIST = r"(?:[0-9A-Fa-f.:]+, )*\S*?"
_LISTS = ("remote_addr", "http_x_forwarded_for")
MAX_LINE = 32_768
"""Longer lines are none of a server's, whose own limits are below: strangers choose what is in them."""


@dataclass(frozen=True)
class _Variable:
    """A variable of the string: its name as nginx has it, and what it matches before the text that follows."""

    name: str
    pattern: str
    strptime: str | None = None


@dataclass(frozen=True)
class FormatString:
    """A compiled format string; ``client`` is the name of the variable that says who asked."""

    pattern: re.Pattern[str]
    variables: tuple[_Variable, ...]
    client: str
    hops: int | None

    def read(self, text: str) -> Request | None:
        """The request in a line; ``method`` is empty where there is none, ``client`` where that is no address.

        None: the line has another format, or its time is none.
        """
        match = self.pattern.fullmatch(text) if len(text) <= MAX_LINE else None
        if match is None:
            return None
        values: dict[str, str] = {}
        written: list[tuple[str, str]] = []
        for variable, value in zip(self.variables, match.groups(), strict=True):
            if value not in ("", "-") or variable.name not in values:
                values[variable.name] = value
            if variable.strptime is not None:
                written.append((value, variable.strptime))
        when = _written_time(written) if written else _time(values)
        if when is None:
            return None
        status, agent = values.get("status", ""), values.get("http_user_agent", "")
        size = values.get("body_bytes_sent") or values.get("bytes_sent") or ""
        return request_of(self._client(values), when, _asked(values), status, size, agent)

    def _client(self, values: dict[str, str]) -> str:
        for name in (self.client, "remote_addr"):
            text = values.get(name, "")
            if found := addresses_in(text):
                return client_of(found, self.hops)
            if name == "remote_addr" and is_host_name(text) and text != "-":
                return text.lower()
        return ""


def _time(values: dict[str, str]) -> datetime | None:
    return log_time(next((values[name] for name in _TIMES if name in values), "").strip("[]"))


def _written_time(written: Sequence[tuple[str, str]]) -> datetime | None:
    """A time that several variables write, such as Apache's day and hour, parts of a second and zone."""
    texts, formats = (" ".join(parts) for parts in zip(*written, strict=True))
    try:
        when = datetime.strptime(texts, formats)  # noqa: DTZ007 - where it has no zone it is UTC
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)


def _asked(values: dict[str, str]) -> str:
    """The request's first line, or what there is of it."""
    if "request" in values:
        return values["request"]
    target = values.get("request_uri") or values.get("uri") or values.get("document_uri")
    return f"{values.get('request_method', '')} {target or ''}".strip(BLANKS)


def compiled_format(
    text: str, sample: Sequence[str] = (), client_field: str | None = None, trusted_hops: int | None = None
) -> tuple[FormatString, list[str]]:
    """What reads lines of this format, and what a person should know of them, in sentences.

    Args:
        text: a format string of nginx or Apache, the whole ``log_format`` or ``LogFormat`` statement, or a name that
            Apache gives (combined).
        sample: the log's first lines.
        client_field: the variable or header that says who asked; None: the peer's address.

    Raises:
        UsageError: the string lacks what is needed, or no line of the sample has this format.
    """
    plain = APACHE.get(text.strip(), _without_statement(text))
    variables, pattern = _compiled(plain)
    names = [variable.name for variable in variables]
    client = _client_name(client_field, names, plain)
    _check(names, variables, plain)
    found = FormatString(pattern, variables, client, trusted_hops)
    lines = [line for line in sample if line.strip()]
    if lines and not any(found.pattern.fullmatch(line) for line in lines):
        raise UsageError(
            f"--log-format {plain!r}: none of the first {len(lines)} lines has it. The first is {lines[0][:CLIP]!r}."
        )
    return found, _notes(found, names, lines)


def _without_statement(text: str) -> str:
    """The string itself, of a statement as it stands in a configuration file."""
    statement = _STATEMENT.match(text)
    if statement is None:
        return text
    rest = text[statement.end() :].strip().rstrip(";")
    is_apache = statement[0].strip().lower() == "logformat"
    parts = [single or double for single, double in _NGINX_PARTS.findall(rest)]
    if not parts:
        return rest
    return parts[0].replace('\\"', '"') if is_apache else "".join(parts)


def _compiled(text: str) -> tuple[tuple[_Variable, ...], re.Pattern[str]]:
    is_nginx = _NGINX.search(text) is not None
    variables: list[_Variable] = []
    pattern, end = "", 0
    for match in (_NGINX if is_nginx else _APACHE).finditer(text):
        pattern += _literal(text[end : match.start()])
        end = match.end()
        if match[0] == "%%":
            pattern += "%"
            continue
        follows = "" if (_NGINX if is_nginx else _APACHE).match(text, end) else text[end : end + 1]
        variable = (
            _variable(match[1] or match[2], follows) if is_nginx else _of_apache(match[1], match[2], follows, match[0])
        )
        variables.append(variable)
        pattern += f"({variable.pattern})"
    pattern += _literal(text[end:])
    return tuple(variables), re.compile(pattern + r"\s*", re.DOTALL | re.ASCII)


def _literal(text: str) -> str:
    """A text between variables; where it has blanks a line may have more of them."""
    return r"\s+".join(re.escape(part) for part in re.split(r"\s+", text.replace("\\t", "\t")))


def _variable(name: str, follows: str, strptime: str | None = None) -> _Variable:
    if name in _PATTERNS:
        pattern = _PATTERNS[name]
    elif follows == '"':
        pattern = _QUOTED
    elif name == "time_local":
        pattern = r"[^\]\"]+?"
    elif name in _LISTS:
        pattern = _LIST
    elif name in ("remote_user", "request") or name.startswith(_HEADER):
        pattern = r".*?"
    elif not follows:
        pattern = r"\S*"
    else:
        pattern = r"\S*?" if follows.isspace() else rf"[^{re.escape(follows)}]*+"
    return _Variable(name, pattern, strptime)


def _of_apache(argument: str | None, letter: str, follows: str, written: str) -> _Variable:
    if letter == "t":
        return _time_of_apache(argument, written)
    if argument is not None:
        if letter in ("i", "o", "C", "e", "n", "x"):
            prefix = {"i": _HEADER, "o": "sent_http_"}.get(letter, f"{letter}_")
            return _variable(prefix + argument.lower().replace("-", "_"), follows)
        if letter == "a" and argument == "c":
            return _variable("peer_addr", follows)
    name = _OF_APACHE.get(letter, f"apache_{letter}".replace("^", "_"))
    return _variable(name, follows)


def _time_of_apache(argument: str | None, written: str) -> _Variable:
    """``%t`` has brackets of its own; with an argument the time is written as strftime does, or since 1970."""
    if argument is None:
        return _Variable("time", r"\[[^\]]*\]")
    plain = argument.removeprefix("begin:").removeprefix("end:")
    if plain in ("msec_frac", "usec_frac"):
        return _Variable("time_part", r"\d{1,6}", "%f")
    if plain in ("sec", "msec", "usec"):
        return _Variable("msec_epoch", r"\d+")
    pattern, end = "", 0
    for match in re.finditer(r"%(.)", plain):
        if match[1] not in _STRFTIME:
            known = ", ".join(f"%{name}" for name in _STRFTIME)
            raise UsageError(f"--log-format: {written} has %{match[1]}; times may be made of {known}.")
        pattern += re.escape(plain[end : match.start()]) + _STRFTIME[match[1]]
        end = match.end()
    pattern += re.escape(plain[end:])
    long = re.sub(r"%([TFD])", lambda match: _LONG[match[1]], plain)
    return _Variable("time_strftime", pattern, long)


def _client_name(client_field: str | None, names: Sequence[str], text: str) -> str:
    if client_field is None:
        return "remote_addr"
    wanted = client_field.lower().lstrip("$").replace("-", "_")
    if client_field == FORWARDED:
        wanted = "http_x_forwarded_for"
    for name in (wanted, _HEADER + wanted):
        if name in names:
            return name
    raise UsageError(f"--client-field {client_field}: the format {text!r} has {', '.join(names)}.")


def _check(names: Sequence[str], variables: Sequence[_Variable], text: str) -> None:
    """What a format has to tell.

    Raises:
        UsageError: it does not.
    """
    lacks = []
    if not {"request", "request_uri", "uri", "document_uri"} & set(names):
        lacks.append("the request ($request; %r)")
    if not any(variable.name in _TIMES or variable.strptime for variable in variables):
        lacks.append("the time ($time_local; %t)")
    if not any(name == "remote_addr" or name == "peer_addr" or name.startswith(_HEADER + "x_") for name in names):
        lacks.append("the client ($remote_addr; %h)")
    if lacks:
        raise UsageError(f"--log-format {text!r} does not have {' nor '.join(lacks)}: no event can be made without.")


def _notes(found: FormatString, names: Sequence[str], lines: Sequence[str]) -> list[str]:
    requests = [request for request in map(found.read, lines) if request is not None and request.client]
    others = [name for name in names if name in ("http_x_forwarded_for", "http_x_real_ip", "http_cf_connecting_ip")]
    inner = are_inner({request.client for request in requests})
    if not others or not inner or found.client != "remote_addr":
        return []
    note = (
        f"All clients of the first {len(lines)} lines are of an inner network, and the format has {', '.join(others)}: "
        f"behind a balancer, --client-field {others[0]} (CLIENT_FIELD=) takes the client from there."
    )
    return [note]
