"""Reading a server's log: lines a second, from the file to validated events, beside GoAccess on the same file.

GoAccess parses a log and counts what is in it; we make an event of each line, with a pseudonym under a key for its
client, and validate it. Neither sends or stores anything. One process each.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pyarrow as pa

from benchmarks.report import Table
from features.events import DEFAULT_RULES, micros_of
from features.plain_reading import plain_readings
from replay.file_lines import lines
from replay.formats.registry import reader_of, sample_of

KEY = b"a key for this benchmark alone"
AT_A_TIME = 10_000
GOAL = 0.5
START = datetime(2025, 10, 15, tzinfo=UTC)
COMBINED = '{client} - - [{time}] "{method} {path} HTTP/1.1" {status} {size} "-" "{agent}"'
CADDY = (
    '{{"ts": {epoch}, "request": {{"remote_ip": "{client}", "method": "{method}", "uri": "{path}", "headers": '
    '{{"User-Agent": ["{agent}"]}}}}, "size": {size}, "status": {status}}}'
)
TRAEFIK = (
    '{{"ClientAddr": "{client}:44112", "ClientHost": "{client}", "DownstreamContentSize": {size}, '
    '"DownstreamStatus": {status}, "RequestMethod": "{method}", "RequestPath": "{path}", '
    '"RequestProtocol": "HTTP/1.1", "StartUTC": "{iso}.123456789Z", "level": "info", "msg": "", '
    '"request_User-Agent": "{agent}"}}'
)
NGINX = (
    '{{"time_iso8601": "{iso}+00:00", "remote_addr": "{client}", "request": "{method} {path} HTTP/1.1", '
    '"status": "{status}", "body_bytes_sent": "{size}", "http_user_agent": "{agent}"}}'
)
TRAEFIK_FORMAT = (
    '{"ClientHost":"%h","DownstreamContentSize":"%b","DownstreamStatus":"%s","RequestMethod":"%m","RequestPath":"%U",'
    '"RequestProtocol":"%H","request_User-Agent":"%u","StartUTC":"%dT%t.%^"}'
)
NGINX_FORMAT = (
    '{"time_iso8601":"%dT%t+%^","remote_addr":"%h","request":"%r","status":"%s","body_bytes_sent":"%b",'
    '"http_user_agent":"%u"}'
)
KINDS: dict[str, tuple[str, str | None]] = {
    "combined": (COMBINED, "COMBINED"),
    "with a virtual host": ("shop.example:443 " + COMBINED, "VCOMBINED"),
    "with a request time before the referer": (COMBINED.replace("{size}", "{size} 0.004"), None),
    "behind syslog": ("Oct 15 12:00:00 web1 nginx: " + COMBINED, None),
    "JSON (Caddy)": (CADDY, "CADDY"),
    "JSON (Traefik)": (TRAEFIK, TRAEFIK_FORMAT),
    "JSON (nginx)": (NGINX, NGINX_FORMAT),
}
"""By name a line, and what GoAccess is told of the format; None: it has no name for it."""
NOTE = (
    "GoAccess: --no-progress, output to a JSON file. It keeps counts by visitor, page and the like, which we do not; "
    "we make events with pseudonyms and validate them, which it does not."
)


def run(quick: bool, folder: Path) -> list[Table]:
    """See the module's text."""
    count = 50_000 if quick else 400_000
    rows = []
    for name, (line, known) in KINDS.items():
        file = folder / "access.log"
        write(file, line, count)
        ours, theirs = rate(file, count, read), None
        if known is not None and shutil.which("goaccess"):
            theirs = rate(file, count, partial(goaccess, known=known))
        rows.append((name, round(ours), None if theirs is None else round(theirs), ours / theirs if theirs else None))
    columns = ("log", "lines/s", "GoAccess", "ratio")
    about = f"{count:,} lines of 2,000 clients on 1,000 pages. Goal: a ratio of {GOAL:g}."
    lacking = () if shutil.which("goaccess") else ("There is no goaccess here: apt-get install goaccess (Debian).",)
    return [Table("Reading a server's log", columns, tuple(rows), (about, NOTE, *lacking))]


def write(file: Path, line: str, count: int) -> None:
    """A log of so many requests; the same with each call."""
    chance = random.Random(7)
    clients = [f"203.0.{chance.randrange(256)}.{chance.randrange(1, 255)}" for _ in range(2_000)]
    agents = [f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/{n}.0.0.0" for n in range(90, 130)]
    with file.open("w", encoding="ascii") as out:
        for number in range(count):
            at = START + timedelta(seconds=number / 50)
            out.write(
                line.format(
                    client=chance.choice(clients),
                    time=at.strftime("%d/%b/%Y:%H:%M:%S +0000"),
                    epoch=at.timestamp(),
                    iso=f"{at:%Y-%m-%dT%H:%M:%S}",
                    method="GET" if chance.random() < 0.95 else "POST",
                    path=f"/product/{chance.randrange(1_000)}?ref={chance.randrange(10_000)}",
                    status=chance.choice((200, 200, 200, 304, 404)),
                    size=chance.randrange(200, 90_000),
                    agent=chance.choice(agents),
                )
                + "\n"
            )


def rate(file: Path, count: int, work: Callable[[Path], object]) -> float:
    """Lines a second; the better of two."""
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        work(file)
        seconds.append(time.perf_counter() - began)
    return count / min(seconds)


def read(file: Path) -> None:
    """Make an event of each line, and validate it.

    Raises:
        RuntimeError: a line is no event.
    """
    reader = reader_of(file, sample_of(lines(file)), key=lambda: KEY)
    values: list[bytes] = []
    for line in lines(file):
        record = reader.record(line.text)
        values.append(record.value)
        if len(values) == AT_A_TIME:
            validate(values)
            values = []
    if values:
        validate(values)


def validate(values: list[bytes]) -> None:
    now = pa.array([micros_of(datetime.now(UTC))] * len(values), pa.int64())
    read = plain_readings(pa.array(values, pa.binary()), now, now, DEFAULT_RULES)
    if read.null_count:
        raise RuntimeError(f"{read.null_count} of {len(values)} lines are no events beyond doubt")


def goaccess(file: Path, known: str) -> None:
    """Have GoAccess read it.

    Raises:
        RuntimeError: it did not read all lines.
    """
    out = file.with_suffix(".json")
    times = ["--date-format=%Y-%m-%d", "--time-format=%H:%M:%S"] if known.startswith("{") else []
    command = ["goaccess", str(file), f"--log-format={known}", *times, "--no-progress", "--no-global-config"]
    command += ["-o", str(out)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    general = json.loads(out.read_text(encoding="utf-8"))["general"]
    if general["failed_requests"]:
        raise RuntimeError(f"GoAccess refused {general['failed_requests']} lines of {known}")
