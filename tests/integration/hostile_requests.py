"""Requests and connections that are made to cost a server more than they cost their sender. Whoever finds one adds it.

:data:`REQUESTS` are whole requests, :data:`CONNECTIONS` what somebody writes who never finishes one.
``python -m tests.integration.hostile_requests http://127.0.0.1:5000`` asks a ``beating_server`` for how long each
blocked it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import NamedTuple
from urllib.parse import urlsplit

MAX_BYTES = 1_048_576
"""Bytes of the longest body that is read."""
EVENT = 32_768
"""Bytes of the longest event that is judged."""


class Hostile(NamedTuple):
    """A request as bytes on the wire."""

    name: str
    text: bytes


def filled(part: str, size: int, begin: str = "", end: str = "", between: str = "") -> bytes:
    """``begin``, as many different ``part`` (``{}`` is their number) as fit, ``end``."""
    room, parts = size - len(begin) - len(end), []
    for number in range(size):
        one = part.replace("{}", str(number))
        room -= len(one) + len(between)
        if room < 0:
            break
        parts.append(one)
    return (begin + between.join(parts) + end).encode()


def post(path: str, body: bytes, kind: str = "application/json", *headers: str) -> bytes:
    told = "".join(f"{header}\r\n" for header in headers)
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{told}".encode() + (
        f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    )


def chunked(path: str, body: bytes, size: int) -> bytes:
    told = "Host: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    pieces = (body[place : place + size] for place in range(0, len(body), size))
    sent = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces)
    return f"POST {path} HTTP/1.1\r\n{told}\r\n\r\n".encode() + sent + b"0\r\n\r\n"


def get(path: str, *headers: str) -> bytes:
    told = "".join(f"{header}\r\n" for header in headers)
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{told}\r\n".encode()


def events(name: str, part: str, begin: str = "", end: str = "", between: str = "") -> Iterator[Hostile]:
    """An event that is as long as one may be, alone and as often as it fits into a body."""
    one = filled(part, EVENT, begin, end, between)
    yield Hostile(f"event of {name}", post("/events", one))
    yield Hostile(f"body of events of {name}", post("/events", b"\n".join([one] * 31), "application/x-ndjson"))


GOOD = '{"user_id":"u","action":"a","page":"p","timestamp":"2026-05-04T12:00:00Z"'
DEEP = 40_000


def requests() -> Iterator[Hostile]:
    for path in ("/predict_behavior", "/predict_behavior/batch", "/users/u/predict", "/alerts/a/feedback"):
        for name, body in (
            ("names", filled('"n{}":1', MAX_BYTES, "{", "}", ",")),
            ("names and one twice", filled('"n{}":1', MAX_BYTES, '{"x":1,"x":2,', "}", ",")),
            ("names of which the last is there twice", filled('"n{}":1', MAX_BYTES, "{", ',"x":1,"x":2}', ",")),
            ("empty arrays", filled("[]", MAX_BYTES, "[", "]", ",")),
            ("empty objects", filled("{}"[:1] + "}", MAX_BYTES, "[", "]", ",")),
            ("nested objects", filled('{"a":{"b":{"c":{}}}}'.replace("{}", "{ }"), MAX_BYTES, "[", "]", ",")),
            ("numbers", filled("1", MAX_BYTES, "[", "]", ",")),
            ("texts", filled('""', MAX_BYTES, "[", "]", ",")),
            ("brackets", b"[" * MAX_BYTES),
            ("brackets behind braces", b'{"a":' * (MAX_BYTES // 5)),
            ("a number of digits", b'{"a":' + b"1" * (MAX_BYTES - 6) + b"}"),
            ("a number of decimals", b'{"clicks_per_minute":0.' + b"1" * (MAX_BYTES - 24) + b"}"),
            ("numbers of thousands of digits", filled("9" * 4_000, MAX_BYTES, "[", "]", ",")),
            ("a text of escapes", b'{"note":"' + b"\\u00e9" * (MAX_BYTES // 6 - 2) + b'"}'),
            ("a text of quotes", b'{"note":"' + b'\\"' * (MAX_BYTES // 2 - 6) + b'"}'),
            ("blanks", b" " * (MAX_BYTES - 2) + b"{}"),
            ("a text without end", b'{"a":"' + b"a" * (MAX_BYTES - 6)),
            ("letters of four bytes", b'{"a":"' + "\U0001f600".encode() * (MAX_BYTES // 4 - 2) + b'"}'),
        ):
            yield Hostile(f"{path}: {name}", post(path, body))
    rows = filled('{"gap_mean_seconds":0}', MAX_BYTES, "[", "]", ",")
    yield Hostile("rows of one value", post("/predict_behavior/batch", rows))
    rows = b"[" + b",".join([b'{"clicks_per_minute":9999,"events_per_minute":9999}'] * 5_000) + b"]"
    yield Hostile("rows that are all strange", post("/predict_behavior/batch", rows))
    wrong = filled('"clicks_per_minutf{}":1', 4_096, "{", "}", ",")
    yield Hostile("names that are nearly right", post("/predict_behavior", wrong))
    for name, body in (
        ("commas in an array", b"[" + b"," * (MAX_BYTES - 2) + b"]"),
        ("commas in an object in an array", b"[{" + b"," * (MAX_BYTES - 4) + b"}]"),
        ("brackets in an array", b"[" + b"[]" * (MAX_BYTES // 2 - 1) + b"]"),
        ("closed brackets in an array", b"[[" + b"[" * 40_000 + b"]" * (MAX_BYTES - 40_004) + b"]]"),
        ("brackets", b"[" * MAX_BYTES),
        ("brackets on two lines", b"[\n" + b"[" * (MAX_BYTES - 2)),
        ("braces on two lines", b"{\n" + b"{}" * (MAX_BYTES // 2 - 2)),
        ("texts in an array", b"[" + b'"",' * (MAX_BYTES // 3 - 1) + b"]"),
        ("texts in an object in an array", b"[{" + b'"",' * (MAX_BYTES // 3 - 2) + b"}]"),
        ("quotes", b"[" + b'"' * (MAX_BYTES - 2) + b"]"),
        ("quotes that are escaped", b"[" + b'\\"' * (MAX_BYTES // 2 - 1) + b"]"),
        ("line ends", b"a" + b"\n" * (MAX_BYTES - 2) + b"b"),
        ("lines of a letter", b"a\n" * (MAX_BYTES // 2)),
        ("lines of a blank", b"a\n" + b" \n" * (MAX_BYTES // 2 - 2) + b"b"),
        ("blanks", b"a\n" + b" " * (MAX_BYTES - 3) + b"b"),
        ("nested objects", b"[" + b",".join([b'{"a":' * 30 + b"1" + b"}" * 30] * 450) + b"]"),
    ):
        yield Hostile(f"/events: {name}", post("/events", body))
    yield Hostile("/events: lines of a letter", post("/events", b"a\n" * (MAX_BYTES // 2), "application/x-ndjson"))
    yield Hostile("/events: chunks of a byte", chunked("/events", b"x" * MAX_BYTES, 1))
    yield Hostile("/predict_behavior: chunks of a byte", chunked("/predict_behavior", b"x" * MAX_BYTES, 1))
    yield from events("keys", '"k{}":1', GOOD + ",", "}", ",")
    yield from events("keys of which the last is there twice", '"k{}":1', GOOD + ",", ',"y":1,"y":2}', ",")
    yield from events("keys and no time", '"k{}":1', '{"user_id":"u",', "}", ",")
    yield from events("keys in properties", '"k{}":1', GOOD + ',"properties":{', "}}", ",")
    yield from events("keys in properties, one twice", '"k{}":1', GOOD + ',"properties":{', ',"y":1,"y":2}}', ",")
    yield from events("objects in properties", '"k{}":{"a":[[]]}', GOOD + ',"properties":{', "}}", ",")
    yield from events("arrays in properties", "[]", GOOD + ',"properties":{"a":[', "]}}", ",")
    yield from events("numbers beyond doubles", "1e400", GOOD + ',"properties":{"a":[', "]}}", ",")
    yield from events("numbers that look so", "1e10", GOOD + ',"properties":{"a":[', "]}}", ",")
    yield from events("numbers of 299 digits", "9" * 299, GOOD + ',"properties":{"a":[', "]}}", ",")
    yield from events("numbers of 999 digits", "9" * 999, GOOD + ',"properties":{"a":[', "]}}", ",")
    yield from events("NaN", "NaN", GOOD + ',"properties":{"a":[', "]}}", ",")
    yield from events("quotes", '\\"', GOOD + ',"x":"', '"}')
    yield from events("escapes of halves", "\\ud83d\\ude00", GOOD + ',"x":"', '"}')
    yield from events("backslashes without end", "\\\\", GOOD + ',"x":"', "")
    yield from events("texts without end", '"a', GOOD + ',"x":"', "")
    yield from events("blanks", " ", "{", "}")
    yield from events("brackets", "[", "", "")
    yield from events("brackets in properties", "[", GOOD + ',"properties":{"a":', "")
    yield from events("blanks for an id", " ", '{"action":"a","page":"p","timestamp":"2026","user_id":"', '"}')
    yield from events("empty texts", '""', GOOD + ',"properties":{"a":[', "]}}", ",")
    yield from events("signs", "-", GOOD + ',"x":', "}")
    yield from events("digits and signs", "-1", GOOD + ',"x":', "}")
    yield Hostile("a query of parameters", get("/alerts?" + "a&" * 30_000))
    yield Hostile("a query of percents", get("/alerts?user_id=" + "%41" * 20_000))
    yield Hostile("a path of percents", get("/users/" + "%41" * 20_000))
    yield Hostile("a path of slashes", get("/" * 60_000))
    yield Hostile("a path that is not there", get("/x" + "y" * 60_000))
    yield Hostile("a number of digits in a query", get("/alerts?limit=" + "1" * 60_000))
    yield Hostile("a time of digits in a query", get("/alerts?before=" + "1" * 60_000))
    yield Hostile("hours of digits", get("/timeline?user=u&hours=" + "1" * 60_000))
    yield Hostile("a user as long as one may be", get("/timeline?user=" + "u" * 32_768))
    ranges = ",".join(f"{place}-{place}" for place in range(8_000))
    yield Hostile("ranges of a file", get("/docs/swagger-ui-bundle.js", f"Range: bytes={ranges}"))
    yield Hostile("headers", get("/features", *(f"a{number}: b" for number in range(50_000))))
    yield Hostile("a header of a megabyte", get("/features", "a: " + "b" * MAX_BYTES))
    yield Hostile("a cookie of parts", get("/features", "cookie: " + "a=b;" * 15_000))
    yield Hostile("a host of dots", b"GET /features HTTP/1.1\r\nHost: " + b"1." * 30_000 + b"\r\n\r\n")
    origin = "Origin: http://" + "[" * 60_000
    yield Hostile("an origin of brackets", post("/predict_behavior", b"{}", "application/json", origin))
    yield Hostile("a type of parts", post("/events", b"{}", "a" + ";" * 60_000))
    yield Hostile("a token of a lot", get("/features", "Authorization: Basic " + "QUFB" * 15_000))
    yield Hostile("requests behind each other", get("/health") * 20_000)
    yield Hostile("features behind each other", get("/features") * 20_000)
    yield Hostile("line ends before a request", b"\r\n" * MAX_BYTES + get("/health"))
    yield Hostile("trailers", chunked("/events", b"[]", 2)[:-2] + b"a: b\r\n" * 100_000 + b"\r\n")


REQUESTS: Callable[[], Iterator[Hostile]] = requests
WORST = (
    "/predict_behavior/batch: names of which the last is there twice",
    "/predict_behavior/batch: empty objects",
    "/alerts/a/feedback: names of which the last is there twice",
    "/events: commas in an array",
    "/events: brackets in an array",
    "/events: chunks of a byte",
    "event of keys of which the last is there twice",
    "body of events of keys in properties, one twice",
    "a query of parameters",
    "ranges of a file",
    "headers",
    "a header of a megabyte",
    "requests behind each other",
    "trailers",
)
"""Names of some that a server was stopped or slowed by, for a short look."""

HEAD = b" HTTP/1.1\r\nHost: localhost\r\n"
HALF = b"POST /events" + HEAD + b"Content-Length: 1000\r\n\r\n"
CONNECTIONS: dict[str, tuple[bytes, bytes]] = {
    "nothing": (b"", b""),
    "a request line byte by byte": (b"G", b"E"),
    "headers without end": (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"a: b\r\n"),
    "a header without end": (b"GET / HTTP/1.1\r\na: ", b"b"),
    "a body that does not come": (HALF, b""),
    "a body byte by byte": (HALF, b"x"),
    "line ends after a good request": (get("/health"), b"\r\n"),
    "a body that nobody reads": (b"GET /health" + HEAD + b"Content-Length: 1000\r\n\r\n", b"x"),
    "chunks that nobody reads": (b"GET /health" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "a good request and a letter": (get("/health") + b"G", b""),
    "a request for another protocol": (get("/health", "Connection: upgrade", "Upgrade: websocket"), b"x"),
    "many good requests and a letter": (get("/health") * 10 + b"G", b""),
}
"""What is written at once, and what again and again from then on."""


def send(host: str, port: int, text: bytes, timeout: float = 60) -> bytes:
    """The beginning of the answer; empty where the server hung up."""
    with socket.create_connection((host, port), timeout) as connection, contextlib.suppress(OSError):
        writer = threading.Thread(target=_write, args=(connection, text), daemon=True)
        writer.start()
        return connection.recv(4_096)
    return b""


def _write(connection: socket.socket, text: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(text)


def blocked(host: str, port: int) -> float:
    """CPU seconds for which the loop was blocked at most since this was asked last, of a beating server."""
    connection = HTTPConnection(host, port, timeout=120)
    with contextlib.closing(connection):
        connection.request("GET", "/beat")
        return float(json.loads(connection.getresponse().read())["blocked"])


def main(url: str, only: str = "") -> None:
    place = urlsplit(url)
    host, port = str(place.hostname), int(place.port or 80)
    for hostile in REQUESTS():
        if only in hostile.name:
            blocked(host, port)
            began = time.perf_counter()
            answer = send(host, port, hostile.text)
            took = time.perf_counter() - began
            status = answer[9:12].decode() or "closed"
            held = blocked(host, port)
            print(f"{1000 * held:8.1f} ms blocked {1000 * took:8.1f} ms  {status:6}  {hostile.name}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
