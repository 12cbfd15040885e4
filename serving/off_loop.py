"""Work on what strangers sent, off the event loop.

One thread for all: Python runs one thread at a time, so more of them would not work faster but keep the event loop
waiting for longer, by up to a switch interval for each at every step.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

ON_THE_LOOP = 8_192
"""Bytes of a body that are read within a millisecond or two, where they are."""

P = ParamSpec("P")
T = TypeVar("T")

_thread = ThreadPoolExecutor(1, thread_name_prefix="bodies")


async def run_off_loop(size: int, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """What ``work`` returns or raises, done at once where ``size`` bytes are few, else in the thread."""
    if size <= ON_THE_LOOP:
        return work(*args, **named)
    return await asyncio.get_running_loop().run_in_executor(_thread, functools.partial(work, *args, **named))
