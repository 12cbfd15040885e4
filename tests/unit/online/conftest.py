"""Both stores: a file, and a real Redis where there is one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from online.redis_store import RedisStore
from online.sqlite_store import SqliteStore
from online.store import Store
from tests.unit.serving.samples import wait_until


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if shutil.which("redis-server") is None:
        pytest.skip("There is no redis-server: apt-get install redis-server (Debian), then run the tests again.")
    socket = tmp_path_factory.mktemp("redis") / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(socket.parent)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        url = f"unix://{socket}"
        try:
            wait_until(lambda: socket.exists() and bool(redis.Redis.from_url(url).ping()))
            yield url
        finally:
            server.terminate()


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store
    if request.param == "sqlite":
        made = SqliteStore(str(tmp_path / "online.db"))
    else:
        made = RedisStore(request.getfixturevalue("redis_url"))
        made.clear()
    yield made
    made.close()
