"""Runs the embedded broker and ends it when the process that wanted it is gone, however that one died.

A program of its own, started by :mod:`local.broker`: ``broker_guard.py PIDFILE OWNER COMMAND...``. Its standard
input is a pipe that nobody writes to. When the owner dies, even by ``kill -9``, the system closes the pipe, which is
read here as its end. It needs only the standard library, so that it starts in a few milliseconds.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

ORDERLY_SECONDS = 20


def main() -> int:
    pid_file, owner, *command = sys.argv[1:]
    # A Ctrl-C in the terminal is for the owner, who then ends us in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    broker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: broker.terminate())
    record = {"pid": broker.pid, "guard": os.getpid(), "owner": int(owner)}
    new = Path(pid_file + ".new")
    new.write_text(json.dumps(record), encoding="utf-8")
    new.replace(pid_file)
    print(broker.pid, flush=True)

    while broker.poll() is None:
        # The parent's number is looked at too: a process that the owner forked may keep the pipe open.
        ended, _, _ = select.select([sys.stdin], [], [], 0.5)
        if ended or os.getppid() != int(owner):
            broker.terminate()
            try:
                broker.wait(ORDERLY_SECONDS)
            except subprocess.TimeoutExpired:
                broker.kill()
                broker.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
