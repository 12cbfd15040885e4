"""Servers for the tests, each behind a guard that ends it when its owner is gone, however that one died."""

from __future__ import annotations

import os
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

PROJECT = Path(__file__).absolute().parent.parent
GUARD = PROJECT / "local" / "broker_guard.py"


class GuardedServer(ABC):
    """One or several programs that write into ``folder``, and keep there what outlasts :meth:`stop`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._guards: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> None:
        """Returns when the server answers."""

    def stop(self) -> None:
        """Ends it in order."""
        for guard in reversed(self._guards):
            assert guard.stdin is not None
            assert guard.stdout is not None
            guard.stdin.close()  # what a dying owner does, too
            guard.wait(60)
            guard.stdout.close()
        self._guards.clear()

    @property
    def has_ended(self) -> bool:
        """Whether one of its programs is gone."""
        return any(guard.poll() is not None for guard in self._guards)

    def guarded(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Starts a program that ends with us, whose output is in ``NAME.out``; its process id."""
        with (self.folder / f"{name}.out").open("ab") as out:
            guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), str(self.folder / f"{name}.json"), str(os.getpid()), *command],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                text=True,
                start_new_session=True,
            )
        self._guards.append(guard)
        assert guard.stdout is not None
        return int(guard.stdout.readline() or 0)
