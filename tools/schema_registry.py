"""A schema registry for the tests: Apicurio's, which answers as Confluent's does.

``python -m tools.schema_registry`` fetches it (109 MB) into ``.jars/registry``, once; the tests do so by themselves. A
server listens on 127.0.0.1 alone, keeps its schemas in a folder of its own, and dies with its owner.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tarfile
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tools import bootstrap, jars, machine
from tools.guarded import PROJECT, GuardedServer
from tools.machine import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

UNPACKED = PROJECT / ".jars" / "registry"
HOST = "127.0.0.1"
GROUP, NAME, VERSION = "io.apicurio", "apicurio-registry-app", "3.0.9"
SHA256 = "2b28181501a20cbf6efcd77f9b7153908fc01f3d3a7c32024c0bd9e1b04c8a43"
RUNNER = f"{NAME}-{VERSION}-runner.jar"
START_SECONDS = 180
IVY = (
    '<ivy-module version="2.0" xmlns:m="http://ant.apache.org/ivy/maven">'
    '<info organisation="behavior" module="registry"/>'
    '<configurations><conf name="default"/></configurations>'
    f'<dependencies><dependency org="{GROUP}" name="{NAME}" rev="{VERSION}" transitive="false" conf="default">'
    f'<artifact name="{NAME}" conf="default" type="tar.gz" ext="tar.gz" m:classifier="all"/>'
    "</dependency></dependencies></ivy-module>"
)


def home() -> Path:
    """The folder with the server, which is fetched where it is not there.

    Raises:
        Problem: it cannot be fetched.
    """
    if not (UNPACKED / RUNNER).exists():
        project = bootstrap.Project(PROJECT)
        with bootstrap.alone(project) as lock:
            if not (UNPACKED / RUNNER).exists():
                _fetch(project, bootstrap.Programs(project, lock))
    return UNPACKED


def _fetch(project: bootstrap.Project, programs: bootstrap.Programs) -> None:
    java, _ = machine.ensure_java()
    # The set-up removes folders of this name, should this be killed.
    work = Path(tempfile.mkdtemp(prefix="work-", dir=project.jars))
    try:
        (work / "ivysettings.xml").write_text(jars.settings(transitive=False), encoding="utf-8")
        (work / "ivy.xml").write_text(IVY, encoding="utf-8")
        command = [str(java), "-Duser.home=.", *jars.proxy_options(), "-jar", str(bootstrap.ivy_jar(project))]
        command += ["-settings", "ivysettings.xml", "-ivy", "ivy.xml", "-retrieve", "fetched/[artifact].[ext]"]
        programs.run("fetching the schema registry", command, work)
        packed = work / "fetched" / f"{NAME}.tar.gz"
        if not packed.exists() or jars.digest(packed) != SHA256:
            raise Problem(f"{GROUP}:{NAME}:{VERSION} was not found, or is not the one that is named here.")
        with tarfile.open(packed) as archive:
            archive.extractall(work / "server", filter="data")
        shutil.rmtree(UNPACKED, ignore_errors=True)
        (work / "server").rename(UNPACKED)
    finally:
        shutil.rmtree(work, ignore_errors=True)


class RegistryServer(GuardedServer):
    """A server on 127.0.0.1 that keeps its schemas in ``folder``, also over :meth:`stop` and :meth:`start`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        with socket.socket() as one:
            one.bind((HOST, 0))
            self.port = int(one.getsockname()[1])

    @property
    def url(self) -> str:
        """Where it answers as Confluent's does."""
        return f"http://{HOST}:{self.port}/apis/ccompat/v7"

    def start(self) -> None:
        """Returns when the server answers.

        Raises:
            Problem: there is none here, or it does not start.
        """
        runner = home() / RUNNER
        java, _ = machine.ensure_java()
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "QUARKUS_HTTP_HOST": HOST,
            "QUARKUS_HTTP_PORT": str(self.port),
            "QUARKUS_LOG_LEVEL": "WARN",
            "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{self.folder / 'schemas'}",
        }
        command = [str(java), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", str(runner)]
        self.guarded("registry", command, environment)
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > end or self.has_ended:
                self.stop()
                raise Problem(f"The schema registry did not start; {self.folder}/registry.out tells why.")
            time.sleep(0.1)

    def register(
        self, subject: str, schema: str, kind: str = "AVRO", references: Sequence[Mapping[str, object]] = ()
    ) -> int:
        """A new version of the ``subject``; the id of its schema."""
        body = {"schema": schema, "schemaType": kind, "references": list(references)}
        answer = httpx.post(f"{self.url}/subjects/{subject}/versions", json=body, timeout=60).raise_for_status()
        return int(answer.json()["id"])

    def _answers(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/subjects", timeout=5).is_success
        return False


if __name__ == "__main__":
    try:
        print(f"The schema registry is in {home()}")
    except Problem as problem:
        sys.exit(f"schema registry: {problem}")
