"""Folders that tests read: the project's, and the data beside it that is not part of it."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
INPUTS = PROJECT.parent / "shared" / "inputs"
DATA = Path(os.environ.get("BEHAVIOR_DATA", PROJECT.parent / "shared" / "data"))
