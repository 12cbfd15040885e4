"""Builds the jars with Delta's log stores of tools/java: where two processes may write one commit, one is refused.

The sources are compiled by the Janino that PySpark ships: a JDK is not needed. ``python -m tools.log_stores`` builds
the one for folders of this machine into ``.jars/spark``, as a part of the set-up; ``make s3-jars`` builds that for S3.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from py4j.java_gateway import JavaGateway  # type: ignore[import-untyped]

from tools import bootstrap, machine

if TYPE_CHECKING:
    from collections.abc import Iterable


def build_local(root: Path) -> None:
    project = bootstrap.Project(root)
    java, _ = machine.ensure_java()
    build(project, bootstrap.LOG_STORE_SOURCE, project.log_store, java)


def build(project: bootstrap.Project, source: Path, jar: Path, java: Path, further: Iterable[Path] = ()) -> None:
    """Compile ``source`` into ``jar``, with Delta, PySpark's jars and ``further`` ones at hand.

    The same source gives the same bytes.
    """
    shipped = bootstrap.ivy_jar(project).parent
    delta = next((project.jars / "spark").glob("delta-storage-*.jar"))
    path = ":".join(map(str, [delta, *further, *sorted(shipped.glob("*.jar"))]))
    gateway = JavaGateway.launch_gateway(
        jarpath=str(next(shipped.glob("py4j-*.jar"))), classpath=path, java_path=str(java), die_on_exit=True
    )
    try:
        with tempfile.TemporaryDirectory(prefix="work-", dir=project.jars) as target:
            jvm = gateway.jvm
            loader = jvm.java.lang.ClassLoader.getSystemClassLoader()
            compiler = jvm.org.codehaus.commons.compiler.CompilerFactoryFactory.getDefaultCompilerFactory(
                loader
            ).newCompiler()
            compiler.setDestinationDirectory(jvm.java.io.File(target), False)
            sources = gateway.new_array(jvm.java.io.File, 1)
            sources[0] = jvm.java.io.File(str(project.root / source))
            compiler.compile(sources)
            pack(Path(target), jar)
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
    build_local(Path(__file__).absolute().parent.parent)
