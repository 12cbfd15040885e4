"""A process that asks servers for something small all the time, and says how long they took.

``python -m tests.integration.prober URL…`` asks one after the other until its standard input ends; then it prints, as a
JSON list, the seconds of every answer of each, and what went wrong.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

PAUSE_SECONDS = 0.01


class Asked:
    """What a server answered so far, each time on a new connection."""

    def __init__(self, url: str) -> None:
        self._place = urlsplit(url)
        self.seconds: list[float] = []
        self.failures: list[str] = []

    def ask(self) -> None:
        began = time.perf_counter()
        connection = HTTPConnection(str(self._place.hostname), self._place.port, timeout=30)
        try:
            connection.request("GET", self._place.path or "/")
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                self.seconds.append(time.perf_counter() - began)
            else:
                self.failures.append(f"status {answer.status}")
        except (OSError, HTTPException) as error:
            self.failures.append(repr(error))
        finally:
            connection.close()


def main(urls: list[str]) -> None:
    asked = [Asked(url) for url in urls]
    ended = threading.Event()
    threading.Thread(target=_wait_for_end, args=(ended,), daemon=True).start()
    print("asking", flush=True)
    while not ended.wait(PAUSE_SECONDS):
        for one in asked:
            one.ask()
    print(json.dumps([{"seconds": one.seconds, "failures": one.failures} for one in asked]))


def _wait_for_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    main(sys.argv[1:])
