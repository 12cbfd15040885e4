"""The load generator, in a process of its own: some keep-alive connections, each asking again when it was answered.

``python -m benchmarks._load ADDRESS BODIES SECONDS CONNECTIONS`` posts the bodies (a JSON list of texts) in turns and
prints the milliseconds of each answer as JSON. A server that closes connections is connected to again, in the time that
is measured: its users would wait for that, too. Any answer but 200 ends the run.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class Load:
    """One run of load on one server."""

    host: str
    port: int
    requests: list[bytes]
    end: float
    milliseconds: list[float] = field(default_factory=list)
    sent: int = 0

    async def connection(self) -> None:
        """Ask, one request after another, until the time is over."""
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        while time.perf_counter() < self.end:
            request = self.requests[self.sent % len(self.requests)]
            self.sent += 1
            began = time.perf_counter()
            if reader is None or writer is None:
                reader, writer = await asyncio.open_connection(self.host, self.port)
            writer.write(request)
            is_kept = await answered(reader)
            self.milliseconds.append(1000 * (time.perf_counter() - began))
            if not is_kept:
                writer.close()
                reader = writer = None
        if writer is not None:
            writer.close()


async def answered(reader: asyncio.StreamReader) -> bool:
    """Read one answer to its end; whether the connection stays."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise SystemExit(f"answered {head[:200]!r}: {(await reader.read(500))!r}")
    _, _, after = head.partition(b"content-length:")
    await reader.readexactly(int(after.split(b"\r\n", 1)[0]))
    return head.startswith(b"http/1.1") and b"connection: close" not in head


async def load(address: str, bodies: list[str], seconds: float, connections: int) -> Load:
    place = urlsplit(address)
    assert place.hostname is not None
    assert place.port is not None
    requests = [
        (
            f"POST {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body.encode())}\r\n\r\n{body}"
        ).encode()
        for body in bodies
    ]
    run = Load(place.hostname, place.port, requests, time.perf_counter() + seconds)
    await asyncio.gather(*(run.connection() for _ in range(connections)))
    return run


if __name__ == "__main__":
    _, to, file, length, width = sys.argv
    done = asyncio.run(load(to, json.loads(Path(file).read_text(encoding="utf-8")), float(length), int(width)))
    print(json.dumps(done.milliseconds))
