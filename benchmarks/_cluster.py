"""Spark's own cluster for benchmarks: a master and workers of one core each, as processes of this machine."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import pyspark

from benchmarks._servers import free_ports, running
from settings import PROJECT

SPARK_HOME = Path(pyspark.__file__).parent
EXECUTOR_MEMORY = "1g"


@contextmanager
def standalone_cluster(folder: Path, workers: int) -> Iterator[list[str]]:
    """The cluster until the end of the block: the settings of a driver that works on it, in client mode.

    Executors take the project's code from this folder, and the driver's Python.
    """
    port, page = free_ports(2)
    state, master = f"http://127.0.0.1:{page}/json/", f"spark://127.0.0.1:{port}"
    daemon, of_deploy = str(SPARK_HOME / "bin" / "spark-class"), "org.apache.spark.deploy"
    listens = ["--host", "127.0.0.1", "--port", str(port), "--webui-port", str(page)]
    environment = {"SPARK_HOME": str(SPARK_HOME), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}

    def alive() -> int:
        with urlopen(state, timeout=10) as answer:
            return int(json.load(answer)["aliveworkers"])

    def has(count: int) -> None:
        if alive() < count:
            raise OSError("not registered yet")

    with ExitStack() as stack:
        command = [daemon, f"{of_deploy}.master.Master", *listens]
        stack.enter_context(running(command, folder / "master.log", folder, alive, **environment))
        for number in range(1, workers + 1):
            command = [daemon, f"{of_deploy}.worker.Worker", "--host", "127.0.0.1", "--webui-port", "0"]
            command += ["--cores", "1", "--memory", "2g", "--work-dir", str(folder / f"work-{number}"), master]
            log = folder / f"worker-{number}.log"
            stack.enter_context(running(command, log, folder, partial(has, number), **environment))
        conf = {
            "spark.executor.memory": EXECUTOR_MEMORY,
            "spark.executor.cores": "1",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.pyspark.python": sys.executable,
            "spark.executorEnv.PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, [os.getenv("PYTHONPATH")])]),
        }
        yield [f"spark.master={master}", f"spark.conf={json.dumps(conf)}"]
