"""Builds dist/behavior-environment.tar.gz: the packages that jobs need on a cluster (``make pack``).

A relocatable virtual environment of the versions of requirements.lock, hashes checked, without what only developers
need and without PySpark, which the cluster has. ``spark-submit --archives`` unpacks it beside each executor. Like every
virtual environment it holds a link to its Python: nodes need the same one at the same place (PYTHON=… chooses which),
or the container image of docs/deploy/kubernetes, which brings it along.
"""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import bootstrap
from tools.machine import Problem

TARGET = Path("dist/behavior-environment.tar.gz")
LINES = Path("dist/behavior-requirements.txt")
"""The same packages and PySpark, with hashes, for an image."""
OF_THE_CLUSTER = {"pyspark", "py4j"}
LOCKED = re.compile(r"^([\w.-]+)==.*\n(?: .*\n)*", re.MULTILINE)


def needed(setup: Path) -> set[str]:
    """Names of the packages that setup.cfg asks for and of what those need in turn, but those of the cluster."""
    parser = configparser.ConfigParser()
    parser.read(setup, encoding="utf-8")
    lines = parser["options"]["install_requires"].splitlines()
    queue = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    names: set[str] = set()
    while queue:
        one = queue.pop()
        name = canonicalize_name(one.name)
        if name in OF_THE_CLUSTER:
            continue
        chosen = ("", *one.extras)
        if name in names and not one.extras:
            continue
        names.add(name)
        try:
            below = [Requirement(text) for text in requires(one.name) or []]
        except PackageNotFoundError:
            continue  # of another system
        queue += [
            other
            for other in below
            if canonicalize_name(other.name) not in names
            and (other.marker is None or any(other.marker.evaluate({"extra": extra}) for extra in chosen))
        ]
    return names


def lines_of(lock: Path, names: set[str]) -> str:
    """What a lock file has of the named packages."""
    text = lock.read_text(encoding="utf-8")
    return "".join(match.group() for match in LOCKED.finditer(text) if canonicalize_name(match.group(1)) in names)


def build(root: Path) -> Path:
    """Path of the archive, which comes into its place by a rename.

    Raises:
        Problem: a package cannot be installed.
    """
    target = root / TARGET
    target.parent.mkdir(exist_ok=True)
    names = needed(root / "setup.cfg")
    (root / LINES).write_text(lines_of(root / "requirements.lock", names | OF_THE_CLUSTER), encoding="utf-8")
    uv = str(root / ".venv" / "bin" / "uv")
    with tempfile.TemporaryDirectory(prefix="pack-", dir=target.parent) as work:
        environment, lock = Path(work, "environment"), Path(work, "requirements.txt")
        lock.write_text(lines_of(root / "requirements.lock", names), encoding="utf-8")
        python = ["--python", str(environment / "bin" / "python")]
        base = str((root / ".venv" / "bin" / "python").resolve())
        run(root, uv, "venv", "--quiet", "--relocatable", "--python", base, str(environment))
        run(root, uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", *python, "-r", str(lock))
        new = target.with_suffix(".new")
        with tarfile.open(new, "w:gz", compresslevel=1) as archive:
            archive.add(environment, arcname=".", filter=kept)
    return new.replace(target)


def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leaves out tests and compiled caches of packages."""
    return None if re.search(r"/(__pycache__|tests)(/|$)", entry.name) else entry


def run(root: Path, *command: str) -> None:
    env = bootstrap.clean_environment()
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Problem(f"{' '.join(command[:4])} failed: {done.stderr.strip()[-500:]}")


if __name__ == "__main__":
    try:
        path = build(Path(__file__).absolute().parent.parent)
    except Problem as problem:
        sys.exit(f"pack: {problem}")
    print(f"{TARGET}: {path.stat().st_size / 1e6:.0f} MB")
