"""What every access log tells of a request, and the event that is made of it."""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from features.context import MAX_AGENT
from replay.pseudonyms import Pseudonyms

BLANKS = " \t\r\n"
"""Of a text in Latin-1 nothing else is blank: its other characters are bytes of letters."""
PAGE_CHARACTERS = 512
"""Longer paths are cut: a page is a key of the tables."""

_METHOD = re.compile(r"[A-Z][A-Z_-]*")
_PROTOCOL = re.compile(r"(?:HTTP|HTTPS|SPDY|QUIC)/\d[.\d]*", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_SESSION = re.compile(r";(?:jsessionid|phpsessid|sid)=[^/;]*", re.IGNORECASE)
_ESCAPE = re.compile(r'\\(?:x([0-9A-Fa-f]{2})|(["\\/]))')
_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")
_ASSET = re.compile(
    r"/(?:static|assets|images?|img|css|js|fonts)/"
    r"|.*\.(?:css|js|mjs|map|png|jpe?g|gif|svg|webp|avif|bmp|ico|woff2?|ttf|otf|eot|mp3|mp4|webm|ogg|wav|txt)$",
    re.IGNORECASE | re.DOTALL,
)
_ACTIONS = {
    "GET": "view",
    "HEAD": "view",
    "POST": "interaction",
    "PUT": "interaction",
    "PATCH": "interaction",
    "DELETE": "interaction",
}


class Request(NamedTuple):
    """A request that a server answered. Texts are Latin-1, one character a byte, so that none is lost.

    Attributes:
        client: its address in the shortest form, or its name where the server looks names up.
        when: in UTC.
        method, target: as in the request's first line; where that is none, no method, and what is in its place.
        status, size: as written; empty where the log does not say.
        agent: the user agent; empty where there is none.
    """

    client: str
    when: datetime
    method: str
    target: str
    status: str
    size: str
    agent: str


def request_of(client: str, when: datetime, asked: str, status: str, size: str, agent: str) -> Request:
    """The request of texts as a log has them: ``asked`` is its first line, ``-`` stands for what there is not."""
    method, target = method_and_target(asked) or ("", asked)
    return Request(
        client,
        when,
        method,
        target,
        status if status.isdecimal() else "",
        size if size.isdecimal() else "",
        "" if agent == "-" else agent,
    )


def event_of(request: Request, pseudonyms: Pseudonyms) -> dict[str, object]:
    """The event of a request.

    The user is a pseudonym of client and user agent. A view is GET or HEAD, an interaction POST, PUT, PATCH or DELETE,
    and any other method an action of its name; a view of a file that belongs to a page (by its extension, or below
    /static, /image and the like) is the action ``asset``. The page is the path: the query, which may hold secrets, a
    host and session ids in the path are left out, and bytes beyond printable ASCII are written as in a URL. Status and
    bytes go to ``properties``, the user agent to ``user_agent``, a pseudonym of the client to ``ip``; the ``outcome``
    of statuses from 400 on is ``failed``.
    """
    client, when, method, target, status, size, agent = request
    page, is_asset = page_of(target)
    action = _ACTIONS.get(method) or method.lower()
    event: dict[str, object] = {
        "user_id": user_of(client, agent, pseudonyms),
        "action": "asset" if is_asset and action == "view" else action,
        "page": page,
        "timestamp": when,
        "ip": pseudonyms.of(client.encode("latin-1")),
    }
    properties = {"status": status} if status else {}
    if size:
        properties["bytes"] = size
    if properties:
        event["properties"] = properties
    if status:
        event["outcome"] = "ok" if 100 <= int(status) < 400 else "failed"
    if agent:
        event["user_agent"] = readable(agent)[:MAX_AGENT]
    return event


def user_of(client: str, agent: str, pseudonyms: Pseudonyms) -> str:
    return pseudonyms.of(f"{client}\0{agent or '-'}".encode("latin-1"))


@lru_cache(maxsize=4096)
def readable(agent: str) -> str:
    """A user agent in Latin-1, with a server's escapes, as the text it stands for."""
    return unescaped(agent).encode("latin-1").decode("utf-8", "replace")


def unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else match[2], text)


def method_and_target(request: str) -> tuple[str, str] | None:
    """Of a request's first line; None where it is none, such as the bytes of a handshake sent to a plain port."""
    method, _, rest = request.strip(BLANKS).partition(" ")
    target, _, protocol = rest.rpartition(" ")
    if not _PROTOCOL.fullmatch(protocol):
        target = rest
    target = target.strip(BLANKS)
    return (method, target) if target and (method in _ACTIONS or _METHOD.fullmatch(method)) else None


def page_of(target: str) -> tuple[str, bool]:
    """The path of a request's target, in printable ASCII, and whether it is a file that belongs to a page.

    A path longer than :data:`PAGE_CHARACTERS` is cut.
    """
    return _page_of(target.partition("?")[0].partition("#")[0])


@lru_cache(maxsize=65_536)
def _page_of(target: str) -> tuple[str, bool]:
    """Of a target without its query, which often is another with each request."""
    host = _HOST.match(target)
    path = _SESSION.sub("", target[host.end() :] if host else target)
    if "\\" in path:
        path = unescaped(path)
    page = _UNPRINTABLE.sub(lambda match: f"%{ord(match[0]):02X}", path)[:PAGE_CHARACTERS] or "/"
    return page, _ASSET.match(page) is not None
