"""Who runs a query on this machine: a lock beside its checkpoint, which ends with the process that has it."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from features.errors import BehaviorError, ConfigurationError


def claim(folder: str) -> None:
    """Keep other processes of this machine away from the checkpoint ``folder`` until this one ends, however it ends.

    Raises:
        ConfigurationError: the folder is not one of this machine's.
        BehaviorError: another process runs the query.
    """
    if "://" in folder:
        raise ConfigurationError(
            f"stream.fenced is false and a checkpoint is at {folder}: without the fence two drivers could write "
            "the same batch. Set stream.fenced to true, or keep checkpoints in a folder of this machine."
        )
    if folder in _KEPT:
        return
    path = Path(f"{folder}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    let_go(folder)
    file = path.open("w", encoding="utf-8")
    if not _locked(file):
        file.close()
        raise BehaviorError(
            f"Query {path.stem!r} is being run by another process (it holds {path}). Stop that one first."
        )
    _CLAIMED[folder] = file


def _locked(file: TextIO) -> bool:
    """Lock it; tried for a moment, since who asks whether it is locked (:func:`claimed`) holds it for one."""
    for _ in range(10):
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.02)
    return False


@contextmanager
def kept(folders: Sequence[str]) -> Iterator[None]:
    """Claim ``folders`` for the whole block, whatever query ends and begins in it; the claims last beyond it.

    Raises:
        BehaviorError: another process runs one of the queries.
    """
    for folder in folders:
        claim(folder)
    _KEPT.update(folders)
    try:
        yield
    except BaseException:
        _KEPT.difference_update(folders)
        for folder in folders:
            let_go(folder)
        raise
    _KEPT.difference_update(folders)


def claimed(folder: str) -> bool:
    """Whether a process, this one included, has claimed ``folder``; of a folder elsewhere it cannot be told: True."""
    if "://" in folder or folder in _CLAIMED:
        return True
    try:
        with Path(f"{folder}.lock").open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def let_go(folder: str) -> None:
    """Give up the claim of this process to ``folder``, if it has one: the query has ended, and others may run it."""
    if folder in _CLAIMED and folder not in _KEPT:
        _CLAIMED.pop(folder).close()


_CLAIMED: dict[str, TextIO] = {}
_KEPT: set[str] = set()
"""Of these, those that are not let go when a query ends."""
