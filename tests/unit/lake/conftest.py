"""An S3 of this machine, for what must work there too."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

PATIENCE = 60.0


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """An S3 API with the bucket ``locks``; the environment of who is to use it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
    }  # fmt: skip
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                assert httpx.put(f"{env['AWS_ENDPOINT_URL']}/locks").status_code == 200
                break
            except httpx.TransportError:
                assert time.monotonic() < end, "the S3 API does not answer"
                time.sleep(0.1)
        yield env
    finally:
        server.kill()
        server.wait()
