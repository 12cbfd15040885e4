"""The benchmarks, one after another: ``python -m benchmarks [--quick] [NAME ...]``; ``make bench`` calls it.

Without names: those that set the platform beside what a user would pick instead. The others look into one part each;
``all`` runs them, too.

A benchmark is a module of this folder with ``run(quick, folder) -> list[Table]``; ``folder`` is its own and empty, for
data on the way and for pictures (``*.png``). Each runs in a process of its own, so that none warms the next one up.
Figures are ratios of one run: absolute ones are the machine's. With ``--write`` they go to ``docs/benchmarks.md``:
what a run did not measure stays there as it was.
"""

from __future__ import annotations

import importlib
import pkgutil
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import benchmarks
from benchmarks.report import machine, made_on, page

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "benchmarks.md"
PICTURES = PROJECT / "docs" / "pictures"
HELPERS = {"__main__", "report"}
COMPARED = ("whole_way", "delay", "replay", "steps", "growth", "cores", "kernel", "api", "online", "start")
AT_A_GLANCE = ("whole_way", "kernel", "api")
"""Not in the quick run: what says little in small (steps, growth, cores); start and delay: ``make run`` prints them."""


def names() -> list[str]:
    """The benchmarks there are: the modules of this folder that have a ``run``."""
    modules = sorted(one.name for one in pkgutil.iter_modules(benchmarks.__path__) if one.name not in HELPERS)
    return [name for name in modules if not name.startswith("_")]


def run_here(name: str, *, quick: bool, folder: Path) -> None:
    """Run one benchmark in this process: print its tables, and leave them in ``folder`` as Markdown."""
    console = Console(soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 160)
    tables = importlib.import_module(f"benchmarks.{name}").run(quick, folder)
    for table in tables:
        table.show(console)
    folder.joinpath("tables.md").write_text("\n".join(table.markdown() for table in tables), encoding="utf-8")


def main(
    chosen: Annotated[list[str] | None, typer.Argument(help="Names of benchmarks, or all.")] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller sizes: minutes in place of an hour.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Renew docs/benchmarks.md and its pictures.")] = False,
    here: Annotated[Path | None, typer.Option(help="Internal: run it here.", hidden=True)] = None,
) -> None:
    """Measure the platform against what a user would pick instead."""
    selection = names() if "all" in (chosen or ()) else list(chosen or (AT_A_GLANCE if quick else COMPARED))
    unknown = sorted(set(selection) - set(names()))
    if unknown:
        known = ", ".join(names())
        print(f"There is no benchmark {', '.join(unknown)}. There are: {known}; all runs each.", file=sys.stderr)
        raise typer.Exit(2)
    if here is not None:
        run_here(selection[0], quick=quick, folder=here)
        return
    failed, parts = [], dict[str, str]()
    print(machine())
    for name in selection:
        print(f"\n== {name} ==", flush=True)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as place:
            folder = Path(place)
            command = [sys.executable, "-m", "benchmarks", name, "--here", str(folder), *(["--quick"] if quick else [])]
            code = subprocess.run(command, cwd=PROJECT, check=False).returncode
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
            if code:
                failed.append(name)
                continue
            text = f"{made_on(quick=quick)}\n\n{folder.joinpath('tables.md').read_text(encoding='utf-8')}"
            if write:
                text = "\n".join([text, *(_kept(picture) for picture in sorted(folder.glob("*.png")))])
            parts[name] = text
    if write:
        known = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
        PAGE.write_text(page(known, parts), encoding="utf-8")
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
        raise typer.Exit(1)


def _kept(picture: Path) -> str:
    PICTURES.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(picture, PICTURES / picture.name)
    return f"![{picture.stem.replace('_', ' ')}](pictures/{picture.name})\n"


if __name__ == "__main__":
    typer.run(main)
