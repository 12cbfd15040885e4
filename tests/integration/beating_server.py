"""The server as ``python -m serving`` runs it, and ``GET /beat``: how much the process worked between two beats.

A beat is a step of the event loop that is due every millisecond. Where something keeps the loop from it, on the loop or
in a thread that does not let go of the interpreter, the process computes meanwhile: the CPU seconds of the process
between two beats are how long the loop was blocked, whatever other processes the machine is busy with.

``python -m tests.integration.beating_server NAME=VALUE…`` prints its address, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys
import time

from fastapi.responses import JSONResponse, Response

from serving.app import create_app
from serving.server import serving
from settings import load_settings

BEAT_SECONDS = 0.001


class Heart:
    """The longest time between two beats since it was last asked, in CPU seconds of the process."""

    longest = 0.0
    _task: asyncio.Task[None] | None = None

    async def beat(self) -> None:
        before = time.process_time()
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            now = time.process_time()
            self.longest, before = max(self.longest, now - before), now

    async def told(self) -> Response:
        if self._task is None:
            self._task = asyncio.create_task(self.beat())
        longest, self.longest = self.longest, 0.0
        return JSONResponse({"blocked": longest})


def main(overrides: list[str]) -> None:
    settings = load_settings("local", overrides)
    app, heart = create_app(settings), Heart()
    app.add_api_route("/beat", heart.told)
    with serving(app, settings.serving) as server:
        print(server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
