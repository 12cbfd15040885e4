"""Web server logs as events: one line of an nginx or Apache log in combined (or common) format, one event."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile

from features.errors import ConfigurationError

KEY_VARIABLE = "BEHAVIOR_PSEUDONYM_KEY"
SHORTEST_KEY = 16
PAGE_CHARACTERS = 512
"""Longer paths are cut: a page is a key of the tables."""
MOST_CACHED = 200_000

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


class AccessLog:
    """Reads lines of one log; ``key`` is the secret under which visitors get their pseudonyms."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._users: dict[bytes, str] = {}

    def event(self, line: bytes, shift: timedelta | None = None) -> dict[str, object] | None:
        """The event of a line, its time moved by ``shift``; None where the line is none of this format.

        The user is a pseudonym of client address and user agent. A view is GET or HEAD, an interaction POST, PUT,
        PATCH or DELETE, and any other method an action of its name; a view of a file that belongs to a page (by its
        extension, or below /static, /image and the like) is the action ``asset``. The page is the path: the query,
        which may hold secrets, a host and session ids in the path are left out, and bytes beyond printable ASCII are
        written as in a URL. Status and bytes go to ``properties``.
        """
        match = _LINE.fullmatch(line)
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
        return {
            "user_id": self._user(address + b"\0" + (agent or b"-")),
            "action": "asset" if is_asset and action == "view" else action,
            "page": page,
            "timestamp": _iso(when) if shift is None else _iso(when + shift),
            "properties": properties,
        }

    def _user(self, identity: bytes) -> str:
        user = self._users.get(identity)
        if user is None:
            if len(self._users) >= MOST_CACHED:
                self._users.clear()
            user = self._users[identity] = "u" + hmac.digest(self._key, identity, "sha256").hex()[:16]
        return user


def is_access_log(line: bytes) -> bool:
    """Whether a line has the format, whatever its request says."""
    return _LINE.fullmatch(line) is not None


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
        path = _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()) if found[1] else found[2], path)
    path = _UNPRINTABLE.sub(lambda found: b"%%%02X" % ord(found[0]), path)
    page = path.decode()[:PAGE_CHARACTERS] or "/"
    return page, _ASSET.match(page) is not None


@lru_cache(maxsize=4096)
def _iso(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds" if when.microsecond else "seconds").replace("+00:00", "Z")


def pseudonym_key(file: Path) -> bytes:
    """The key from the environment (BEHAVIOR_PSEUDONYM_KEY), else from ``file``, which is made where it is not there.

    Under one key a visitor keeps the pseudonym in every file; without the key nobody can compute it from an address.

    Raises:
        ConfigurationError: the key is too short to be a secret, or others can read the file.
    """
    if (given := os.environ.get(KEY_VARIABLE)) is not None:
        return _long_enough(given.encode(), KEY_VARIABLE)
    if not file.exists():
        _make_key(file)
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        raise ConfigurationError(f"{file} holds a secret key and others can read it (mode {mode:o}): chmod 600 {file}")
    return _long_enough(file.read_bytes().strip(), str(file))


def _make_key(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=file.parent, prefix=file.name) as draft:  # made with mode 600
        draft.write(secrets.token_hex(32).encode())
        draft.flush()
        with suppress(FileExistsError):  # another process was first: its key is the one
            os.link(draft.name, file)


def _long_enough(key: bytes, source: str) -> bytes:
    if len(key) < SHORTEST_KEY:
        raise ConfigurationError(
            f"The pseudonym key in {source} has {len(key)} characters and needs at least {SHORTEST_KEY}: "
            "take a random one, such as `openssl rand -hex 32` prints."
        )
    return key
