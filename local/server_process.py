"""The HTTP server beside a run: a process of its own, at a lower priority, that ends with the run."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from local.processes import end, start_beside
from settings import Settings
from telemetry.logs import keep

NICENESS = 5
"""Looking must not slow down what is looked at."""


class ServerProcess:
    """``python -m serving`` on the tables, registry and broker of a run.

    It takes another port where that of the settings is in use. ``tell`` gets the sentence with its address, or why
    there is none, from a thread.

    Args:
        settings: of the run; they name the broker.
        overrides: what the run was started with, which the settings do not remember.
        log_file: takes what the server says besides; rotated.

    Attributes:
        address: of the page; None until it is there.
    """

    def __init__(
        self, settings: Settings, overrides: Iterable[str], log_file: Path, tell: Callable[[str], None]
    ) -> None:
        kafka = settings.kafka
        command = ["serving", "--env", settings.env, "--any-port"]
        command += ["--bootstrap-servers", kafka.bootstrap_servers, "--topic", kafka.topic]
        command += [word for override in overrides for word in ("--set", override)]
        self._port, self._log_file, self._tell = settings.serving.port, log_file, tell
        self._is_stopped = False
        self.address: str | None = None
        self.process = start_beside(command, subprocess.PIPE, subprocess.PIPE)
        assert self.process.stderr is not None
        log_file.unlink(missing_ok=True)  # what is told of a failed start is of this one
        self._kept = keep(self.process.stderr, log_file)
        with contextlib.suppress(psutil.Error):
            psutil.Process(self.process.pid).nice(NICENESS)
        threading.Thread(target=self._listen, name="server's address", daemon=True).start()

    def wait(self) -> None:
        """Until it ends by itself."""
        self.process.wait()

    def stop(self) -> None:
        """End it, whatever it does."""
        self._is_stopped = True
        end(self.process)

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # closed by stop
            said = self.process.stdout.readline().decode("utf-8", "replace")
            match = re.search(r"http://\S+?:(\d+)(?=/)", said)
            if match is not None:
                has_moved = self._port not in (0, int(match[1]))
                notice = f"Port {self._port} is taken. " if has_moved else ""
                self.address = f"{match[0]}/"
                self._tell(f"{notice}Live page: {match[0]}/ API: {match[0]}/docs Events: POST {match[0]}/events")
                return
        if not self._is_stopped:
            self.process.wait()
            self._kept.join()
            text = self._log_file.read_text(encoding="utf-8", errors="replace").strip()
            self._tell(f"The live page and the API are not there. {text[-500:]}")
