"""Where this process and its Spark keep what they need for a moment: beside the lake, never in the machine's folder.

Spark spills rows of people to disk, and a killed one leaves them behind. So each process has a folder of its own under
``scratch`` beside the lake, and whoever starts next removes those of dead ones.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TextIO

import psutil

from features.errors import EnvironmentProblem
from settings import Settings

NAME = "scratch"
LOCK = ".lock"


def folder_of(settings: Settings) -> Path | None:
    """The folder that holds those of all processes; None where the tables are not in a folder of this machine."""
    root = settings.storage.root
    return None if "://" in root else Path(root).resolve().parent / NAME


def take(settings: Settings) -> Path | None:
    """Remove what dead processes left, and give this one a folder of its own, for Python's temporary files, too.

    The folder is this process's until it ends, however it ends: the lock beside it is the system's. A second call
    returns the same folder.

    Raises:
        EnvironmentProblem: it cannot be made.
    """
    home = folder_of(settings)
    if home is None:
        return None
    if home not in _FOLDERS:
        try:
            home.mkdir(parents=True, exist_ok=True)
            sweep(home)
            _FOLDERS[home] = _new(home)
        except OSError as error:
            raise EnvironmentProblem(
                f"Spark's temporary files cannot be kept in {home} ({error.strerror}). Let this user write there: they "
                "hold people's data, and do not go elsewhere."
            ) from error
    place, _ = _FOLDERS[home]
    os.environ["TMPDIR"] = str(place)  # Java's child processes, which are Spark's Python workers, inherit it
    tempfile.tempdir = None  # Python asks the environment anew
    return place


def _new(home: Path) -> tuple[Path, TextIO]:
    """A folder under ``home``, and its lock, which comes first: a sweep finds no folder that nobody holds."""
    while True:
        lock = home / f"{os.getpid()}-{uuid.uuid4().hex[:8]}{LOCK}"
        held = _locked(lock, make=True)
        if held is None or not lock.exists():  # a sweep came between the file and its lock
            continue
        place = lock.with_suffix("")
        place.mkdir()
        return place, held


def sweep(home: Path) -> list[str]:
    """Remove the folders of processes that have ended; returns their names. What a running one has is not touched."""
    gone = []
    for lock in sorted(home.glob(f"*{LOCK}")):
        held = _locked(lock)
        if held is None:
            continue
        place = lock.with_suffix("")
        # A killed process's Java lives on for a moment, and would complain of its folder.
        if not _is_named(place):
            shutil.rmtree(place, ignore_errors=True)
            lock.unlink(missing_ok=True)
            gone.append(place.name)
        held.close()
    return gone


def _locked(lock: Path, *, make: bool = False) -> TextIO | None:
    """The file, locked for this process; None where another holds it, or has removed it."""
    try:
        file = lock.open("w" if make else "r", encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _is_named(place: Path) -> bool:
    """Whether a process has the folder in its command line, as Spark's Java has."""
    for process in psutil.process_iter(["cmdline"]):
        if any(str(place) in word for word in process.info["cmdline"] or ()):
            return True
    return False


_FOLDERS: dict[Path, tuple[Path, TextIO]] = {}
