"""An environment of its own for each peer, made once from its pinned requirements, in ``.peers`` of this folder.

``python -m benchmarks._environments`` makes all of them; a benchmark makes those it lacks. Then no network is needed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tools import jars, machine

PROJECT = Path(__file__).resolve().parents[1]
REQUIREMENTS = PROJECT / "benchmarks" / "peers" / "requirements"
PLACE = PROJECT / ".peers"
LIMIT_SECONDS = 2400.0
"""isotree is built from source: 507 s of one core once, over 600 s another time."""


@dataclass(frozen=True)
class Environment:
    """A peer's Python, or why there is none."""

    name: str
    problem: str | None

    @property
    def python(self) -> Path:
        return PLACE / self.name / "bin" / "python"

    def versions(self, *packages: str) -> str:
        """What its requirements pin, in words."""
        text = (REQUIREMENTS / f"{self.name}.txt").read_text(encoding="utf-8")
        pins = dict(re.findall(r"^([\w-]+)(?:\[[\w,]+\])?==(\S+)", text, re.MULTILINE))
        return ", ".join(f"{package} {pins.get(package, '?')}" for package in packages)


def environment(name: str) -> Environment:
    """The environment ``name``; made where it is not there or its requirements have changed. Needs the network then."""
    folder, lines = PLACE / name, REQUIREMENTS / f"{name}.txt"
    stamp, checksum = folder / "requirements.sha256", hashlib.sha256(lines.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == checksum:
        return Environment(name, None)
    shutil.rmtree(folder, ignore_errors=True)
    uv, env = str(Path(sys.executable).parent / "uv"), dict(os.environ)
    mirror = os.environ.get("PYPI_MIRROR")
    if mirror:
        env["UV_DEFAULT_INDEX"] = mirror
    steps = [
        [uv, "venv", "-q", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "-q", "--python", str(folder / "bin" / "python"), "-r", str(lines)],
    ]
    constraints = REQUIREMENTS / "build.txt"
    steps[1] += ["--build-constraints", str(constraints)]
    try:
        for step in steps:
            code, text = _installed(step, env)
            if code:
                said = [line.strip() for line in text.splitlines() if line.strip()]
                return Environment(name, said[0][:200] if said else f"uv ended with {code}")
    except subprocess.TimeoutExpired:
        return Environment(name, f"not within {LIMIT_SECONDS:.0f} s: it is built from source")
    except OSError as error:
        return Environment(name, f"{type(error).__name__}: {error.strerror}")
    if name == "flink":
        try:
            jar_folder(name)
        except (machine.Problem, OSError, subprocess.TimeoutExpired) as problem:
            return Environment(name, str(problem)[:200])
    stamp.write_text(checksum, encoding="utf-8")
    return Environment(name, None)


def _installed(command: list[str], env: dict[str, str]) -> tuple[int, str]:
    """Exit code and errors of a command; cut off after the limit with all that it started, compilers among them."""
    run = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        _, said = run.communicate(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        raise
    return run.returncode, said


def jar_folder(name: str) -> Path:
    """The folder with the jars that a peer's lock file names, fetched once. Raises tools.machine.Problem in words."""
    place = PLACE / "jars"
    place.mkdir(parents=True, exist_ok=True)
    locked = jars.read_lock(REQUIREMENTS / f"{name}-jars.lock")
    if jars.missing(locked, place):
        java = machine.java_path()
        if java is None:
            raise machine.Problem("There is no Java.")
        ivy = next((Path(sys.prefix) / "lib").glob("python3*/site-packages/pyspark/jars/ivy-[0-9]*.jar"))
        jars.install(locked, place, java, ivy, _run)
    return place / name


def _run(what: str, command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS)
    if done.returncode:
        raise machine.Problem(f"{what} failed: {done.stdout[-300:]}{done.stderr[-300:]}")


def main() -> None:
    """Make all environments: the set-up of the benchmarks, after which they need no network."""
    for lines in sorted(REQUIREMENTS.glob("*.txt")):
        if lines.stem != "build":
            made = environment(lines.stem)
            print(f"{made.name}: {made.problem or 'ready'}", flush=True)


if __name__ == "__main__":
    main()
