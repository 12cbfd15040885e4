"""Numba with a cache where a cache can be written.

The compiled code is kept beside the source or in the user's cache, so a Spark worker starts in milliseconds.
Where neither can be written (a read-only install, a container without a home) it is compiled anew instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile for one thread without the interpreter lock; IEEE arithmetic, no division checks, no bounds checks."""
    try:
        return cast(Function, njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)(function))
    except RuntimeError:  # numba: "no locator available", that is: nowhere to write
        return cast(Function, njit(nogil=True, error_model="numpy", boundscheck=False)(function))
