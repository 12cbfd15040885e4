"""The lines of ``make run`` where there is no terminal."""

from __future__ import annotations

import io
import time
from types import SimpleNamespace
from typing import cast

from rich.console import Console

from local.watch import Watch, display


def test_a_new_stage_is_told_at_once_and_the_same_one_only_now_and_then() -> None:
    said = io.StringIO()
    watch = cast("Watch", SimpleNamespace(poll=list, line=lambda text: text))
    with display(Console(file=said), watch, time.monotonic()) as show:
        for stage in ("waiting", "waiting", "training", "live", "live"):
            show(stage)
    assert [line.split("] ")[1] for line in said.getvalue().splitlines()] == ["waiting", "training", "live"]
