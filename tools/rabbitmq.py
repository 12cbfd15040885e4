"""A RabbitMQ server for the tests, from the system or from Debian's packages, without root and without a trace.

``python -m tools.rabbitmq`` fetches the packages into ``.jars/rabbitmq``, once; the tests do so by themselves. They are
only unpacked, so nothing is installed or started by the system. A server listens on 127.0.0.1 alone, has its folder,
its node and its own epmd, and dies with its owner.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tools.guarded import PROJECT, GuardedServer

if TYPE_CHECKING:
    from collections.abc import Callable

UNPACKED = PROJECT / ".jars" / "rabbitmq"
HOST = "127.0.0.1"
ERLANG = (
    "asn1 base crypto eldap ftp inets mnesia os-mon parsetools public-key runtime-tools snmp ssl syntax-tools tftp"
    " tools xmerl"
)
PACKAGES = ("rabbitmq-server", *(f"erlang-{name}" for name in ERLANG.split()))


class Unavailable(Exception):
    """There is no server to be had here, and why."""


def home(*, fetch: bool = True) -> Path:
    """The folder that holds ``usr/lib/rabbitmq`` and ``usr/lib/erlang``: the system's, else our own."""
    for root in (Path("/"), UNPACKED):
        if _has_server(root):
            return root
    if not fetch:
        raise Unavailable(f"no RabbitMQ on this system or in {UNPACKED}")
    _fetch()
    return UNPACKED


def _has_server(root: Path) -> bool:
    lib = root / "usr" / "lib"
    return (lib / "rabbitmq" / "bin" / "rabbitmq-server").exists() and any((lib / "erlang").glob("erts-*/bin/erlexec"))


def _fetch() -> None:
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise Unavailable(f"RabbitMQ is not installed, and without {tool} it cannot be fetched from Debian")
    UNPACKED.parent.mkdir(exist_ok=True)
    # The set-up removes folders of this name, should this be killed.
    work = Path(tempfile.mkdtemp(prefix="work-", dir=UNPACKED.parent))
    try:
        _run(["apt-get", "-q", "download", *PACKAGES], work)
        for package in sorted(work.glob("*.deb")):
            _run(["dpkg", "-x", package.name, "root"], work)
        with suppress(OSError):  # another one was quicker
            (work / "root").rename(UNPACKED)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if not _has_server(UNPACKED):
        raise Unavailable("Debian's packages hold no RabbitMQ server where it is looked for")


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} did not end within 300 s") from None
    if done.returncode != 0:
        raise Unavailable(f"{command[0]} could not fetch RabbitMQ: {' '.join(done.stderr.split())[-300:]}")


class RabbitServer(GuardedServer):
    """A server on 127.0.0.1 that keeps its queues in ``folder``, also over :meth:`kill` and :meth:`start`.

    Raises:
        Unavailable: by :meth:`start`, where there is no server.
        RuntimeError: by :meth:`start`, where it does not start: for want of a server tests are skipped, for this never.
    """

    user = "bridge"
    password = "for tests only"

    def __init__(self, folder: Path, *, start_seconds: float = 120.0) -> None:
        super().__init__(folder)
        self.start_seconds = start_seconds
        self.port, self._epmd_port, self._node_port = _free_ports(3)
        self._pid = 0

    def start(self) -> None:
        """Returns when the server speaks AMQP."""
        root = home()
        if " " in f"{root}{self.folder}":
            raise Unavailable(f"RabbitMQ's scripts do not bear a blank in {root} or {self.folder}")
        self._prepare(root)
        environment = self._environment(root)
        self.guarded("epmd", ["epmd", "-port", str(self._epmd_port), "-address", HOST], environment)
        server = str(root / "usr" / "lib" / "rabbitmq" / "bin" / "rabbitmq-server")
        try:
            self._wait(lambda: _answers(self._epmd_port, b""))
            self._pid = self.guarded("rabbitmq", [server], environment)
            self._wait(lambda: _answers(self.port, b"AMQP\x00\x00\x09\x01"))
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """Ends it at once, as a power cut would."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self.stop()

    def _prepare(self, root: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        erts = next((root / "usr" / "lib" / "erlang").glob("erts-*"))
        # Debian's own script looks for Erlang in /usr/lib only.
        erl = self.folder / "erl"
        erl.write_text(
            f"#!/bin/sh\nROOTDIR={erts.parent} BINDIR={erts}/bin EMU=beam PROGNAME=erl\n"
            'export ROOTDIR BINDIR EMU PROGNAME\nexec "$BINDIR/erlexec" "$@"\n',
            encoding="utf-8",
        )
        erl.chmod(0o755)
        (self.folder / "env.conf").touch()
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = {HOST}:{self.port}\ndefault_user = {self.user}\ndefault_pass = {self.password}\n"
            "disk_free_limit.absolute = 1MB\n",
            encoding="utf-8",
        )

    def _environment(self, root: Path) -> dict[str, str]:
        erts = next((root / "usr" / "lib" / "erlang").glob("erts-*"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return {
            **kept,
            "HOME": str(self.folder),  # Erlang's cookie
            "PATH": f"{self.folder}:{erts / 'bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": HOST,
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the server, instead of a parent of it
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_NODENAME": "rabbit@localhost",
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_LOGS": str(self.folder / "logs" / "rabbit.log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "rabbitmq.pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
        }

    def _wait(self, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + self.start_seconds
        while not ready():
            if time.monotonic() > end or self.has_ended:
                raise RuntimeError(f"RabbitMQ did not start; {self.folder}/*.out and logs/ tell why")
            time.sleep(0.05)


def _answers(port: int, greeting: bytes) -> bool:
    """Whether someone listens and, greeted, says something."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=5) as client:
        client.sendall(greeting)
        return not greeting or bool(client.recv(1))
    return False


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


if __name__ == "__main__":
    try:
        print(f"RabbitMQ is in {home()}")
    except Unavailable as reason:
        sys.exit(f"rabbitmq: {reason}")
