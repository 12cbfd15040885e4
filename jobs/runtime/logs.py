"""Where log lines go: files, so that the terminal shows the run."""

from __future__ import annotations

import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path

from pythonjsonlogger.json import JsonFormatter

from jobs.runtime.settings import LogSettings

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
    handler = RotatingFileHandler(folder / "driver.log", maxBytes=10_000_000, backupCount=3, encoding="utf-8")
    handler.setFormatter(formatter(settings))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")  # else it writes to the terminal once imported
    _quieten()


def _quieten() -> None:
    for noisy in ("py4j", "alembic", "mlflow", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def to_terminal() -> None:
    """Send this process's log to standard error, without the words of the client libraries: the job says it shorter."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    for noisy in ("pika", "jobs.runtime.producer"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
