"""Fetches what Spark needs to reach S3 into .jars/s3, and builds the log store for Delta there (``make s3-jars``).

A set-up goes without these 14 MB. The Java source is compiled by the Janino that PySpark ships: a JDK is not needed.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

from py4j.java_gateway import JavaGateway  # type: ignore[import-untyped]

from tools import bootstrap, jars, machine
from tools.machine import Problem

FOLDER = "s3"
SOURCE = Path("tools/java/behavior/S3LogStore.java")
LOG_STORE = "behavior-s3-log-store.jar"


def fetch(root: Path) -> Path:
    """The folder with the jars, each as conf/jars.lock has it; those that are there are not fetched again."""
    project = bootstrap.Project(root)
    with bootstrap.alone(project) as lock:
        programs = bootstrap.Programs(project, lock)
        java, _ = machine.ensure_java()
        wanted = jars.read_lock(project.jars_lock, FOLDER)
        ivy = bootstrap.ivy_jar(project)
        jars.install(wanted, project.jars, java, ivy, programs.run)
        build_log_store(root, java, ivy.parent, [jar.path(project.jars) for jar in wanted])
    return project.jars / FOLDER


def build_log_store(root: Path, java: Path, shipped: Path, fetched: list[Path]) -> None:
    """Compile the source into a jar; the same source gives the same bytes."""
    delta = next((root / ".jars" / "spark").glob("delta-storage-*.jar"))
    path = ":".join(map(str, [delta, *fetched, *sorted(shipped.glob("*.jar"))]))
    gateway = JavaGateway.launch_gateway(
        jarpath=str(next(shipped.glob("py4j-*.jar"))), classpath=path, java_path=str(java), die_on_exit=True
    )
    try:
        with tempfile.TemporaryDirectory(prefix="classes-") as target:
            jvm = gateway.jvm
            loader = jvm.java.lang.ClassLoader.getSystemClassLoader()
            compiler = jvm.org.codehaus.commons.compiler.CompilerFactoryFactory.getDefaultCompilerFactory(
                loader
            ).newCompiler()
            compiler.setDestinationDirectory(jvm.java.io.File(target), False)
            sources = gateway.new_array(jvm.java.io.File, 1)
            sources[0] = jvm.java.io.File(str(root / SOURCE))
            compiler.compile(sources)
            pack(Path(target), root / ".jars" / FOLDER / LOG_STORE)
    finally:
        gateway.shutdown()


def pack(classes: Path, jar: Path) -> None:
    new = jar.with_suffix(".new")
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(classes.rglob("*.class")):
            entry = zipfile.ZipInfo(path.relative_to(classes).as_posix(), date_time=(2020, 1, 1, 0, 0, 0))
            archive.writestr(entry, path.read_bytes())
    new.replace(jar)


if __name__ == "__main__":
    try:
        folder = fetch(Path(__file__).absolute().parent.parent)
    except Problem as problem:
        sys.exit(f"s3-jars: {problem}")
    size = sum(path.stat().st_size for path in folder.glob("*.jar"))
    print(f"{folder.relative_to(folder.parents[1])}: {len(list(folder.glob('*.jar')))} jars, {size / 1e6:.1f} MB")
