"""What every benchmark gives back: tables of figures, and a description of the machine they were measured on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import psutil
from rich.console import Console
from rich.table import Table as Printed

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Figures of one run. ``rows`` have a cell for each of ``columns``; ``notes`` say what a figure does not show."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def show(self, console: Console) -> None:
        """Print it."""
        printed = Printed(title=self.title, title_justify="left")
        for number, name in enumerate(self.columns):
            printed.add_column(name, justify="left" if number == 0 else "right")
        for row in self.rows:
            printed.add_row(*map(text, row))
        console.print(printed)
        for note in self.notes:
            console.print(note, markup=False, highlight=False)

    def markdown(self) -> str:
        """The same for ``docs/benchmarks.md``."""
        lines = [f"### {self.title}", "", _line(self.columns), _line(("---", *["---:"] * (len(self.columns) - 1)))]
        lines += [_line(tuple(map(text, row))) for row in self.rows]
        lines += ["", *[f"- {note}" for note in self.notes]]
        return "\n".join(lines).rstrip() + "\n"


def text(cell: Cell) -> str:
    """A figure as people read it."""
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}" if abs(cell) < 100 else f"{cell:.1f}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def machine() -> str:
    """One line: what the figures were measured on."""
    memory = psutil.virtual_memory().total / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in ("pyspark", "delta-spark", "scikit-learn", "mlflow"))
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {packages}"
    )


def made_on(*, quick: bool) -> str:
    """When, how and on what a section of the page was measured."""
    day = datetime.now(UTC).date().isoformat()
    return f"Measured on {day} by `make bench{' QUICK=1' if quick else ''}` on {machine()}."


HEAD = """# Benchmarks

What the platform costs beside what a user would pick instead. Every table is of one run on one machine: read ratios,
not absolute figures. `make bench WRITE=1` renews this page, `NAMES="delay kernel"` only parts of it.
"""


def page(known: str, sections: Mapping[str, str]) -> str:
    """The page with these sections renewed; the others are those of the ``known`` page."""
    kept = dict(re.findall(r"^## (\S+)\n\n(.*?)(?=^## |\Z)", known, re.MULTILINE | re.DOTALL))
    both = {**kept, **sections}
    return "\n".join([HEAD, *(f"## {name}\n\n{both[name].strip()}\n" for name in sorted(both, key=_rank))])


def _rank(name: str) -> tuple[int, str]:
    """The whole way first, then what it is made of."""
    first = ("whole_way", "delay", "steps", "growth", "cores", "kernel", "start")
    return (first.index(name) if name in first else len(first), name)


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
