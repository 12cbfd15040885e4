"""A look into MLflow's sqlite file without MLflow: whether there is anything to ask MLflow for.

MLflow makes its tables where it finds none, and takes eight seconds to import. A server that starts beside the first
training must not make them at the same moment, and need not import anything before there is a model.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from urllib.parse import quote

SQLITE = "sqlite:///"


def may_hold(tracking_uri: str, name: str) -> bool:
    """Whether the registry may have a version of the model ``name``: False only where its sqlite file says no."""
    if not tracking_uri.startswith(SQLITE):
        return True
    file = tracking_uri.removeprefix(SQLITE).partition("?")[0]
    try:
        with closing(sqlite3.connect(f"file:{quote(file)}?mode=ro", uri=True, timeout=1)) as registry:
            row = registry.execute("SELECT 1 FROM model_versions WHERE name = ? LIMIT 1", (name,)).fetchone()
    except sqlite3.OperationalError as error:
        return "locked" in str(error)  # else: no file yet, or no tables in it
    return row is not None
