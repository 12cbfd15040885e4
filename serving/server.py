"""Running the app: a socket that is ours before anything else starts, and a server that stops when told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES, EADDRINUSE

import uvicorn
from fastapi import FastAPI

from features.errors import EnvironmentProblem
from serving.access.connections import Connections, limited
from settings import ServingSettings

GRACE_SECONDS = 6
"""How long requests under way may take when the server ends."""


class Serving:
    """A server that runs in a thread, so that signals stay with the caller."""

    def __init__(self, app: FastAPI, limits: ServingSettings, *, any_port: bool = False) -> None:
        self._app = app
        self._socket = listening(limits.host, limits.port, any_port=any_port)
        self.host, self.port = self._socket.getsockname()[:2]
        config = uvicorn.Config(
            app,
            http=limited(Connections(limits, getattr(app.state, "body_seconds", limits.read_seconds))),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(limits.trusted_proxies),
            forwarded_allow_ips=list(limits.trusted_proxies),
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="server", daemon=True)

    @property
    def url(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        """Connections are taken from the start on, and answered as soon as the app runs."""
        self._thread.start()

    def stop(self) -> None:
        """Answers what is under way, waits for Kafka's word on it, and ends."""
        for tell in getattr(self._app.state, "before_stop", ()):  # what would otherwise keep a connection open for good
            tell()
        self._server.should_exit = True
        self._thread.join()


@contextmanager
def serving(app: FastAPI, limits: ServingSettings, *, any_port: bool = False) -> Iterator[Serving]:
    """The server while the block runs; with ``any_port`` on a free one where the wanted one is taken."""
    server = Serving(app, limits, any_port=any_port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def listening(host: str, port: int, *, any_port: bool = False) -> socket.socket:
    """A socket that listens there; a sentence where it cannot."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        ours = socket.socket(family, kind, protocol)
    except OSError as error:
        raise EnvironmentProblem(
            f"{host} is no address of this machine ({error.strerror}): choose one with --set serving.host=127.0.0.1."
        ) from None
    try:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ours.bind(address)
        ours.listen(2048)
    except OSError as error:
        ours.close()
        if any_port and port and error.errno in (EADDRINUSE, EACCES):
            return listening(host, 0)
        raise EnvironmentProblem(_why(host, port, error)) from None
    return ours


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno == EADDRINUSE:
        return (
            f"Port {port} of {host} is in use by another program: end that one, "
            "or choose another port with --set serving.port=5001."
        )
    if error.errno == EACCES:
        return f"Port {port} may not be used by this user: choose one above 1023 with --set serving.port=5000."
    return f"The server cannot listen at {host} port {port}: {error.strerror}."
