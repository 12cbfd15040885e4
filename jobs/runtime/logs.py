"""Where log lines go: files, so that the terminal shows the run."""

from __future__ import annotations

import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path


def to_files(folder: Path) -> None:
    """Send this process's log, warnings included, to ``folder``/driver.log; nothing to the terminal."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(folder / "driver.log", maxBytes=10_000_000, backupCount=3, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")  # else it writes to the terminal once imported
    for noisy in ("py4j", "alembic", "mlflow", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def to_terminal() -> None:
    """Send this process's log to standard error, without the words of the client libraries: the job says it shorter."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    for noisy in ("pika", "jobs.runtime.producer"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
