"""Web server logs: one line of an nginx or Apache log in combined (or common) format, one event."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from features.context import MAX_AGENT
from replay.formats.base import BYTE_ORDER_MARK, LineParser
from replay.pseudonyms import Pseudonyms, pseudonym_key

PAGE_CHARACTERS = 512
"""Longer paths are cut: a page is a key of the tables."""

_QUOTED = rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
_LINE = re.compile(
    rb"(?P<address>\S++) \S++ .*?\[(?P<time>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    + _QUOTED.replace(b"(", b"(?P<request>", 1)
    + rb" (?P<status>\d{3}) (?P<bytes>\d+|-)(?: "
    + _QUOTED
    + b" "
    + _QUOTED.replace(b"(", b"(?P<agent>", 1)
    + rb".*+)?\s*",
    re.DOTALL,
)
_METHOD = re.compile(rb"[A-Z][A-Z-]*")
_PROTOCOL = re.compile(rb"HTTP/\d[.\d]*")
_HOST = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_SESSION = re.compile(rb";(?:jsessionid|phpsessid|sid)=[^/;]*", re.IGNORECASE)
_ESCAPE = re.compile(rb'\\(?:x([0-9A-Fa-f]{2})|(["\\]))')
_UNPRINTABLE = re.compile(rb"[^\x21-\x7e]")
_ASSET = re.compile(
    r"/(?:static|assets|images?|img|css|js|fonts)/"
    r"|.*\.(?:css|js|mjs|map|png|jpe?g|gif|svg|webp|avif|bmp|ico|woff2?|ttf|otf|eot|mp3|mp4|webm|ogg|wav|txt)$",
    re.IGNORECASE | re.DOTALL,
)
_MONTHS = {name: n for n, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
_ACTIONS = {
    b"GET": "view",
    b"HEAD": "view",
    b"POST": "interaction",
    b"PUT": "interaction",
    b"PATCH": "interaction",
    b"DELETE": "interaction",
}


class AccessLogReader(LineParser):
    """Lines of a web server's log, each turned into an event; what is no log line is sent as it is."""

    title = "an access log in combined format"

    def __init__(self, key: Callable[[], bytes] = pseudonym_key) -> None:
        super().__init__(key)
        self._pseudonyms = Pseudonyms(key())

    @staticmethod
    def recognizes(line: bytes) -> bool:
        """Whether a line has the format, whatever its request says."""
        return _LINE.fullmatch(line.removeprefix(BYTE_ORDER_MARK)) is not None

    def event(self, line: bytes) -> dict[str, object] | None:
        """The event of a request; None where the line is none of this format, or its request is none.

        The user is a pseudonym of client address and user agent. A view is GET or HEAD, an interaction POST, PUT,
        PATCH or DELETE, and any other method an action of its name; a view of a file that belongs to a page (by its
        extension, or below /static, /image and the like) is the action ``asset``. The page is the path: the query,
        which may hold secrets, a host and session ids in the path are left out, and bytes beyond printable ASCII are
        written as in a URL. Status and bytes go to ``properties``, the user agent to ``user_agent``, a pseudonym of the
        address to ``ip``; the ``outcome`` of statuses from 400 on is ``failed``.
        """
        match = _LINE.fullmatch(line.removeprefix(BYTE_ORDER_MARK))
        if match is None:
            return None
        address, time, request, status, size, _, agent = match.groups()
        method, target = _method_and_target(request)
        when = log_time(time)
        if when is None or not method or not target:
            return None
        page, is_asset = page_of(target)
        action = _ACTIONS.get(method) or method.decode().lower()
        properties = {"status": status.decode()}
        if size != b"-":
            properties["bytes"] = size.decode()
        context = {"ip": self._pseudonyms.of(address), "outcome": "failed" if status >= b"400" else "ok"}
        if agent and agent != b"-":
            context["user_agent"] = _unescaped(agent).decode("utf-8", "replace")[:MAX_AGENT]
        return {
            "user_id": self._pseudonyms.of(address + b"\0" + (agent or b"-")),
            "action": "asset" if is_asset and action == "view" else action,
            "page": page,
            "timestamp": when,
            "properties": properties,
            **context,
        }


def _unescaped(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()) if match[1] else match[2], text)


@lru_cache(maxsize=4096)
def log_time(text: bytes) -> datetime | None:
    """``22/Jan/2019:03:56:14 +0330`` in UTC; None for a day or hour that does not exist."""
    try:
        offset = timedelta(hours=int(text[22:24]), minutes=int(text[24:26]))
        zone = timezone(-offset if text[21:22] == b"-" else offset)
        day, month, year = int(text[:2]), _MONTHS[text[3:6]], int(text[7:11])
        hour, minute, second = int(text[12:14]), int(text[15:17]), int(text[18:20])
        return datetime(year, month, day, hour, minute, second, tzinfo=zone).astimezone(UTC)
    except (KeyError, ValueError, OverflowError):
        return None


def _method_and_target(request: bytes) -> tuple[bytes, bytes]:
    """Both empty where it is no request, such as the bytes of a handshake sent to a plain port."""
    method, _, rest = request.strip().partition(b" ")
    target, _, protocol = rest.rpartition(b" ")
    if not _PROTOCOL.fullmatch(protocol):
        target = rest
    return (method, target.strip()) if _METHOD.fullmatch(method) else (b"", b"")


@lru_cache(maxsize=65_536)
def page_of(target: bytes) -> tuple[str, bool]:
    """The path of a request's target, in printable ASCII, and whether it is a file that belongs to a page.

    A path longer than :data:`PAGE_CHARACTERS` is cut.
    """
    host = _HOST.match(target)
    path = target[host.end() :] if host else target
    path = _SESSION.sub(b"", path.partition(b"?")[0].partition(b"#")[0])
    if b"\\" in path:
        path = _unescaped(path)
    path = _UNPRINTABLE.sub(lambda match: b"%%%02X" % ord(match[0]), path)
    page = path.decode()[:PAGE_CHARACTERS] or "/"
    return page, _ASSET.match(page) is not None
