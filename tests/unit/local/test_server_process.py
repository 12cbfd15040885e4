"""The server as make run starts it: a real process."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from queue import Queue
from urllib.request import urlopen

import pytest

from local.server_process import ServerProcess
from tests.unit.serving.samples import settings_of

pytestmark = pytest.mark.integration


def test_it_says_where_it_listens_takes_another_port_where_one_is_taken_and_ends_with_its_owner(tmp_path: Path) -> None:
    told: Queue[str] = Queue()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        place = [
            f"serving.port={taken}",
            f"storage.root={tmp_path}/lake",
            f"model.tracking_uri=sqlite:///{tmp_path}/m.db",
        ]
        server = ServerProcess(settings_of(tmp_path, *place), place, tmp_path / "serving.log", told.put)
        try:
            said = told.get(timeout=120)
            assert said.startswith(f"Port {taken} is taken. Live page: http://127.0.0.1:")
            address = re.findall(r"http://[\d.]+:\d+", said)[0]
            with urlopen(f"{address}/health", timeout=60) as answer:
                assert answer.status == 200
            garbage(int(address.rpartition(":")[2]), 300)
        finally:
            assert server.process.stdin is not None
            server.process.stdin.close()
        assert server.process.wait(60) == 0
        server.stop()
    lines = (tmp_path / "serving.log").read_text().splitlines()
    assert 1 <= sum("Invalid HTTP request" in line for line in lines) <= 20, "one client may not fill the log"


def garbage(port: int, requests: int) -> None:
    """Requests that are none; each is answered before the next."""
    for _ in range(requests):
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(b"\x00 garbage\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_where_it_cannot_start_the_reason_is_told(tmp_path: Path) -> None:
    told: Queue[str] = Queue()
    server = ServerProcess(settings_of(tmp_path), ["serving.host=0.0.0.0"], tmp_path / "serving.log", told.put)
    try:
        assert "BEHAVIOR_API_TOKEN" in told.get(timeout=120)
    finally:
        server.stop()
