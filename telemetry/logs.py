"""Where log lines go: files, so that the terminal shows the run. Files have an end, whatever others send."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

from pythonjsonlogger.json import JsonFormatter

from settings import LogSettings

FILE_BYTES, KEPT_FILES = 10_000_000, 3
LINE_BYTES = 16_384
TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def formatter(settings: LogSettings) -> logging.Formatter:
    """Lines for people, or JSON objects that keep what a line was given besides its text (query, batch, …)."""
    return JsonFormatter(TEXT) if settings.format == "json" else logging.Formatter(TEXT)


def to_stderr(settings: LogSettings) -> None:
    """Send the log of a streaming job to standard error, where a cluster's manager collects it."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(settings))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    _quieten()


def to_files(folder: Path, settings: LogSettings) -> None:
    """Send this process's log, warnings included, to ``folder``/driver.log; nothing to the terminal."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = rotated(folder / "driver.log")
    handler.setFormatter(formatter(settings))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")  # else it writes to the terminal once imported
    _quieten()


def serving_to_stderr(settings: LogSettings) -> None:
    """Send the server's log to standard error, of what clients can cause no more than some lines a minute."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(settings))
    handler.addFilter(Sparing())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")  # else it writes past this


def rotated(file: Path) -> RotatingFileHandler:
    """A log file and three before it, each of at most FILE_BYTES."""
    return RotatingFileHandler(file, maxBytes=FILE_BYTES, backupCount=KEPT_FILES, encoding="utf-8", errors="replace")


class Sparing(logging.Filter):
    """Lets ``most`` lines of each place in the code pass in ``seconds``; the next after that says how many did not.

    So what one client sends again and again (garbage, requests that fail) costs a few lines a minute, and no line of
    another place is lost to it.
    """

    def __init__(self, most: int = 20, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._most, self._seconds, self._clock = most, seconds, clock
        self._seen: dict[tuple[str, int], tuple[float, int]] = {}
        """Of each place: when its time began, and the lines since."""

    def filter(self, record: logging.LogRecord) -> bool:
        place, now = (record.pathname, record.lineno), self._clock()
        since, lines = self._seen.get(place, (now, 0))
        if now - since >= self._seconds:
            left_out = lines - self._most
            if left_out > 0:
                record.msg = f"{record.getMessage()} ({left_out} more such lines in the time before)"
                record.args = None
            since, lines = now, 0
        self._seen[place] = since, lines + 1
        return lines < self._most


def keep(said: IO[bytes], file: Path) -> threading.Thread:
    """Copy what another process says into a log file that is rotated, until it ends; in a thread, which is started."""

    ours = os.fdopen(os.dup(said.fileno()), "rb")  # the caller may close his before all is read
    said.close()

    def copy() -> None:
        handler = rotated(file)
        with ours:
            while line := ours.readline(LINE_BYTES):
                text = line.decode("utf-8", "replace").rstrip("\n")
                handler.emit(logging.makeLogRecord({"msg": text}))
        handler.close()

    thread = threading.Thread(target=copy, name=f"log {file.name}", daemon=True)
    thread.start()
    return thread


def _quieten() -> None:
    for noisy in ("py4j", "alembic", "mlflow", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def to_terminal() -> None:
    """Send this process's log to standard error, without the words of the client libraries: the job says it shorter."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    for noisy in ("pika", "kafka.producer"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
