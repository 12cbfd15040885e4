"""What every benchmark gives back: tables of figures, and a description of the machine they were measured on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
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


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
