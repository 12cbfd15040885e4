"""Renews the lock files: requirements.lock, conf/bootstrap.lock and conf/jars.lock (``make lock``).

Versions that still fit what is asked for stay as they are; with ``--upgrade`` each becomes the newest that fits.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

from tools import bootstrap, jars, machine
from tools.machine import Problem

# pip installs uv, and uv builds PySpark, which comes as source, with setuptools.
SETUP_TOOLS = ("uv", "setuptools")
JARS_HEAD = "# Made by `make lock` from conf/jars.in: folder under .jars, group:name:version, sha256.\n"


def lock_packages(project: bootstrap.Project, packages: bootstrap.Packages, upgrade: bool) -> None:
    options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--quiet"]
    options += ["--upgrade"] if upgrade else []
    compile_ = [str(project.uv), "pip", "compile", *options]
    packages.run("locking packages", *compile_, "setup.cfg", "--extra", "dev", "-o", "requirements.lock")
    requirements = project.jars / "bootstrap.in"
    requirements.write_text("".join(f"{name}\n" for name in SETUP_TOOLS), encoding="utf-8")
    packages.run("locking the set-up's tools", *compile_, ".jars/bootstrap.in", "-o", "conf/bootstrap.lock")
    requirements.unlink()


def shipped_by_pyspark(project: bootstrap.Project) -> set[str]:
    """Artifact names of the jars that are on Spark's class path in any case."""
    folder = bootstrap.ivy_jar(project).parent
    return {re.sub(r"-\d[\w.\-]*$", "", path.stem) for path in folder.glob("*.jar")}


def lock_jars(project: bootstrap.Project, programs: bootstrap.Programs, java: Path) -> None:
    """Resolves what conf/jars.in asks for, with everything that it needs in turn."""
    requirements: dict[str, list[str]] = {}
    left_out: dict[str, set[str]] = {}
    for line in (project.root / "conf" / "jars.in").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        folder, coordinates = line.split()
        if coordinates.startswith("!"):
            left_out.setdefault(folder, set()).add(coordinates[1:])
        else:
            requirements.setdefault(folder, []).append(coordinates)
    shipped = shipped_by_pyspark(project)

    work = Path(tempfile.mkdtemp(prefix="work-", dir=project.jars))
    try:
        lines = []
        for folder, required in sorted(requirements.items()):
            ivy = bootstrap.ivy_jar(project)
            without = left_out.get(folder, set())
            jars.fetch(work, folder, required, java, ivy, programs.run, transitive=True, without=without)
            for path in sorted((work / folder).glob("*.jar")):
                group, name, version = path.stem.split("__")
                if folder == "broker" or name not in shipped:
                    lines.append(f"{folder} {group}:{name}:{version} sha256:{jars.digest(path)}\n")
        project.jars_lock.write_text(JARS_HEAD + "".join(lines), encoding="utf-8")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main() -> int:
    project = bootstrap.Project(Path(__file__).absolute().parent.parent)
    try:
        with bootstrap.alone(project) as lock:
            programs = bootstrap.Programs(project, lock)
            bootstrap.say("resolving packages")
            lock_packages(project, bootstrap.Packages(project, programs), "--upgrade" in sys.argv)
            bootstrap.say("resolving jars")
            lock_jars(project, programs, machine.ensure_java()[0])
        bootstrap.bootstrap(project.root)
    except Problem as problem:
        print(f"lock: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
