"""Fetches what Spark needs to reach S3 into .jars/s3, and builds the log store for Delta there (``make s3-jars``).

A set-up goes without these 14 MB.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tools import bootstrap, jars, log_stores, machine
from tools.machine import Problem

FOLDER = "s3"
SOURCE = Path("tools/java/behavior/S3LogStore.java")
LOG_STORE = "behavior-s3-log-store.jar"


def fetch(root: Path) -> Path:
    """The folder with the jars, each as conf/jars.lock has it; those that are there are not fetched again."""
    project = bootstrap.Project(root)
    with bootstrap.alone(project) as lock:
        programs = bootstrap.Programs(project, lock)
        java, _ = machine.ensure_java()
        locked = jars.read_lock(project.jars_lock, FOLDER)
        ivy = bootstrap.ivy_jar(project)
        jars.install(locked, project.jars, java, ivy, programs.run)
        fetched = [jar.path(project.jars) for jar in locked]
        log_stores.build(project, SOURCE, project.jars / FOLDER / LOG_STORE, java, fetched)
    return project.jars / FOLDER


if __name__ == "__main__":
    try:
        folder = fetch(Path(__file__).absolute().parent.parent)
    except Problem as problem:
        sys.exit(f"s3-jars: {problem}")
    size = sum(path.stat().st_size for path in folder.glob("*.jar"))
    print(f"{folder.relative_to(folder.parents[1])}: {len(list(folder.glob('*.jar')))} jars, {size / 1e6:.1f} MB")
