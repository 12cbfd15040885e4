"""Numba with a cache that is found again and never out of date.

The compiled code is kept beside the source, or in the user's cache for what Spark unpacks from a zip at another place
each time: a worker starts in milliseconds instead of ten seconds. Where nothing can be written (a read-only install, a
container without a home) it is compiled anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import _CacheLocator
from numba.misc import appdirs

config: Any = numba.config
untyped: Any = appdirs
Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile for one thread without the interpreter lock; IEEE arithmetic, no division checks, no bounds checks."""
    try:
        with _locators(f"{__name__}.{SourceTree.__name__}"):
            return cast(Function, numba.njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)(function))
    except RuntimeError:  # numba: "no locator available", that is: nowhere to write
        return cast(Function, numba.njit(nogil=True, error_model="numpy", boundscheck=False)(function))


class SourceTree(_CacheLocator):
    """Where a function's compiled code is kept, and what it was made from: all of the project's sources.

    Numba itself looks at the function's own file only, but compiled code also holds the constants and functions of
    other modules as they were.
    """

    def __init__(self, file: str, line: int, folder: Path) -> None:
        self._file, self._line, self._folder = file, line, folder

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> SourceTree | None:
        """The first folder that can be written to; None where there is none."""
        source = Path(py_file)
        home = config.CACHE_DIR or untyped.user_cache_dir("numba", appauthor=False)
        elsewhere = Path(home, f"behavior-{digest(source.parents[1]).hex()[:16]}")
        beside = [source.parent / "__pycache__"] if source.is_file() and not config.CACHE_DIR else []
        for folder in (*beside, elsewhere):
            locator: Any = cls(py_file, py_func.__code__.co_firstlineno, folder)
            try:
                locator.ensure_cache_path()
            except OSError:
                continue
            return cast(SourceTree, locator)
        return None

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> bytes:
        return digest(Path(self._file).parents[1])

    def get_disambiguator(self) -> str:
        return str(self._line)


@cache
def digest(root: Path) -> bytes:
    """SHA-256 of the sources under ``root``: the project's folder, or its zip."""
    if root.is_file():
        return hashlib.sha256(root.read_bytes()).digest()
    hasher = hashlib.sha256()
    for package in ("features", "scoring"):
        for file in sorted((root / package).rglob("*.py")):
            hasher.update(f"{file.relative_to(root)}\0".encode())
            hasher.update(file.read_bytes())
    return hasher.digest()


@contextmanager
def _locators(names: str) -> Iterator[None]:
    before = config.CACHE_LOCATOR_CLASSES
    config.CACHE_LOCATOR_CLASSES = names
    try:
        yield
    finally:
        config.CACHE_LOCATOR_CLASSES = before
