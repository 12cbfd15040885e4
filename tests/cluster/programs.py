"""The engines of a company, as far as one machine can have them: Spark's own cluster, an S3 API, MLflow with logins."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyspark

from tests.integration.conftest import lasting_port

SPARK_HOME = Path(pyspark.__file__).parent
PATIENCE = 300
"""Seconds until a condition must hold, on a busy machine."""


def own_environment() -> dict[str, str]:
    """This process's environment without what would lead a program to the repository, or to another's store."""
    dropped = ("BEHAVIOR_", "AWS_", "MLFLOW_", "SPARK_", "PYSPARK_", "PYTHON")
    return {name: text for name, text in os.environ.items() if not name.startswith(dropped)}


def until(holds: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < ends, f"not within {PATIENCE} s: {what}"
        time.sleep(0.2)


def answers(url: str, login: str | None = None) -> int:
    """The status of a GET; 0 where nobody listens."""
    asked = urllib.request.Request(url)
    if login:
        asked.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def kill(process: subprocess.Popen[bytes]) -> None:
    """``kill -9`` of a program and of all that it started."""
    for pid in [process.pid, *(child.pid for child in _children(process.pid))]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@contextmanager
def program(command: list[str], folder: Path, env: dict[str, str], name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program until the end of the block; its output in ``folder``/``name``.log."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            kill(process)


@dataclass
class SparkCluster:
    """A master and two workers of one core each, as separate processes, started by ``spark-class``."""

    folder: Path
    master: str = ""
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    page: str = ""

    def alive(self) -> int:
        try:
            with urllib.request.urlopen(f"{self.page}/json/", timeout=10) as answer:
                return int(json.load(answer)["aliveworkers"])
        except OSError:
            return 0


@contextmanager
def spark_cluster(folder: Path) -> Iterator[SparkCluster]:
    port, page = lasting_port(), lasting_port()
    found = SparkCluster(folder, f"spark://127.0.0.1:{port}", page=f"http://127.0.0.1:{page}")
    env = own_environment() | {
        "SPARK_HOME": str(SPARK_HOME),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_NO_DAEMONIZE": "1",
    }
    daemon = [str(SPARK_HOME / "bin" / "spark-class"), "org.apache.spark.deploy"]

    def start(what: str, *words: str) -> list[str]:
        return [daemon[0], f"{daemon[1]}.{what}", *words]

    master = start("master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(page))
    with program(master, folder, env, "master"):
        until(lambda: answers(f"{found.page}/json/") == 200, "the master answers")
        worker = start("worker.Worker", "--host", "127.0.0.1", "--cores", "1", "--memory", "1g", "--webui-port", "0")
        with (
            program([*worker, "--work-dir", "work-1", found.master], folder, env, "worker-1") as first,
            program([*worker, "--work-dir", "work-2", found.master], folder, env, "worker-2") as second,
        ):
            found.workers = [first, second]
            until(lambda: found.alive() == 2, "both workers are registered")
            yield found


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """An S3 API; its address."""
    port = lasting_port()
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    url = f"http://127.0.0.1:{port}"
    with program(command, folder, own_environment(), "s3"):
        until(lambda: answers(f"{url}/") > 0, "the S3 API answers")
        yield url


@contextmanager
def mlflow_server(folder: Path, user: str, password: str) -> Iterator[str]:
    """MLflow that asks for a login; its address."""
    port = lasting_port()
    folder.mkdir(parents=True)
    configuration = folder / "auth.ini"
    configuration.write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{folder}/auth.db\n"
        f"admin_username = {user}\nauthorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        encoding="utf-8",
    )
    env = own_environment() | {
        "MLFLOW_AUTH_CONFIG_PATH": str(configuration),
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test",
    }
    command = [str(Path(sys.executable).with_name("mlflow")), "server", "--app-name", "basic-auth"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "files")]
    url = f"http://127.0.0.1:{port}"
    with program(command, folder, env, "mlflow"):
        until(lambda: answers(f"{url}/health", f"{user}:{password}") == 200, "MLflow answers")
        yield url
