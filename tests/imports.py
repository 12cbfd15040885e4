"""What the project's modules import: read from their text, so nothing runs."""

from __future__ import annotations

import ast
import subprocess
from collections import defaultdict
from functools import cache
from pathlib import Path

from tests.paths import PROJECT

BESIDE = ("tests", "docs", "notebooks")
"""What is about the house and no part of it."""


@cache
def files() -> dict[str, Path]:
    """The modules of the project by their names."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    paths = [Path(name) for name in listed.stdout.splitlines() if (PROJECT / name).is_file()]
    return {
        ".".join(path.with_suffix("").parts).removesuffix(".__init__"): path
        for path in paths
        if path.parts[0] not in BESIDE
    }


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse((PROJECT / path).read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    """Names that a module imports: a.b for ``from a import b``, which may be a module or something in one."""
    found = set[str]()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@cache
def own_imports(name: str) -> set[str]:
    """Modules of the project that one of them imports."""
    found = {other if other in files() else other.rpartition(".")[0] for other in imported(files()[name])}
    return (found & files().keys()) - {name}


def room(module: str) -> str:
    """The top-level package; ``jobs.shared`` is one of its own."""
    return "jobs.shared" if module.startswith("jobs.shared") else module.split(".", maxsplit=1)[0]


@cache
def rooms() -> dict[str, set[str]]:
    """Which rooms each room imports."""
    found = defaultdict[str, set[str]](set)
    for name in files():
        found[room(name)] |= {room(other) for other in own_imports(name)} - {room(name)}
    return found
