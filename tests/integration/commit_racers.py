"""A Java of its own that puts commits through the log store of folders, at the same moments as others do.

``python -m tests.integration.commit_racers FOLDER NAME VERSIONS`` prints ``ready``, waits for a line on its standard
input, tries all of them, and prints the versions that it was told to have written. Who is late finds versions that are
there, is refused sooner than others write, and so catches up: racers are at the same version nearly all the time. In a
process of its own, since PySpark replaces what py4j does with Java's exceptions.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from py4j.java_gateway import JavaGateway  # type: ignore[import-untyped]
from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]

from lake.log_stores import LOG_STORES
from spark.java import java_program
from tests.paths import PROJECT
from tools import bootstrap


def commit(folder: Path, version: int) -> Path:
    return folder / f"{version:020d}.json"


def main(folder: Path, name: str, versions: int) -> None:
    project = bootstrap.Project(PROJECT)
    shipped = bootstrap.ivy_jar(project).parent
    jars = [*sorted((project.jars / "spark").glob("*.jar")), *sorted(shipped.glob("*.jar"))]
    gateway = JavaGateway.launch_gateway(
        jarpath=str(next(shipped.glob("py4j-*.jar"))),
        classpath=":".join(map(str, jars)),
        java_path=java_program(),
        die_on_exit=True,
    )
    jvm = store = gateway.jvm
    for part in LOG_STORES["file"].split("."):
        store = getattr(store, part)
    conf = jvm.org.apache.hadoop.conf.Configuration()
    store, told = store(conf), []
    print("ready", flush=True)
    sys.stdin.readline()
    for version in range(versions):
        actions = jvm.java.util.ArrayList()
        actions.add(name)
        path = jvm.org.apache.hadoop.fs.Path(commit(folder, version).as_uri())
        try:
            store.write(path, actions.iterator(), False, conf)
        except Py4JJavaError as refused:
            if "FileAlreadyExistsException" not in refused.java_exception.getClass().getName():
                raise
        else:
            told.append(version)
    print(json.dumps(told), flush=True)
    gateway.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
