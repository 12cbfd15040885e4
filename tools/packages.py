"""The packages of the product, from the list in setup.cfg that pip reads, too."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def top_level() -> tuple[str, ...]:
    """Names of the folders that are shipped, in the order of the alphabet."""
    config = ConfigParser()
    config.read(PROJECT / "setup.cfg", encoding="utf-8")
    return tuple(sorted({name.partition(".")[0] for name in config["options"]["packages"].split()}))
