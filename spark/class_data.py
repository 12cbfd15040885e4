"""Java's classes, read from one file instead of hundreds of jars: a third of what a small job's Java costs.

Spark and Delta load 27,000 classes before the first row. Java can keep them, parsed and verified, in an archive that is
mapped into memory (class-data sharing, JEP 350). ``python -m tools.class_data`` makes it once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyspark

from features.errors import EnvironmentProblem
from settings import PROJECT
from spark.java import java_program

QUIET = ("-Xshare:auto", "-Xlog:disable", "-Xlog:all=error:stderr")
"""An archive that does not fit is passed over, without a word on standard output."""


def archive(jars: Sequence[str]) -> Path | None:
    """Where the archive is, or would be, for this machine's Java, this Spark and the connector ``jars``.

    Its name stands for all of them, so that one that does not fit is never asked for. None without Java.
    """
    try:
        java = Path(java_program()).resolve()
    except EnvironmentProblem:
        return None
    own = sorted(Path(pyspark.__file__).parent.joinpath("jars").glob("*.jar"))
    parts = [java, java.parents[1] / "lib" / "modules", *own, *map(Path, jars)]
    text = "\n".join(f"{part} {part.stat().st_size} {part.stat().st_mtime_ns}" for part in parts if part.exists())
    return PROJECT / ".jars" / "classes" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.jsa"


def options(jars: Sequence[str]) -> list[str]:
    """Java's options that use the archive; none where there is none."""
    path = archive(jars)
    return [] if path is None or not path.is_file() else [f'"-XX:SharedArchiveFile={path}"', *QUIET]
