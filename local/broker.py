"""A real Kafka broker on this machine: one node (KRaft), started from its jars, for ``make run`` and the tests."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from features.errors import EnvironmentProblem
from spark.java import java_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

LOG = logging.getLogger(__name__)
PROJECT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
PORT_IN_USE = re.compile(r"Address already in use|BindException")


class EmbeddedBroker:
    """A broker on 127.0.0.1 that keeps its topics under ``data_dir`` and dies with this process.

    Started again on the same folder it has the same topics, records and committed offsets, also at another port and
    after a ``kill -9`` of the broker or of its owner. One process at a time may use a folder.

    Args:
        data_dir: holds the records, the settings in force (``server.properties``) and the process id.
        logs_dir: gets ``broker.log`` (rolled at 10 MB) and ``broker.out`` (what Java itself prints).
        preferred_port: used if it is free, else any free one; see :attr:`uses_other_port`.
        jars_dir: the broker's class path; the set-up fills ``.jars/broker``.
        heap_mb: the most that its Java heap may take.
        start_seconds: how long a start may take before it counts as failed.

    Raises:
        EnvironmentProblem: by :meth:`start`, with what to do about it.
    """

    def __init__(
        self,
        data_dir: Path,
        logs_dir: Path,
        *,
        preferred_port: int = 9092,
        jars_dir: Path = PROJECT / ".jars" / "broker",
        heap_mb: int = 256,
        start_seconds: float = 90.0,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.logs_dir = logs_dir.absolute()
        self.preferred_port = preferred_port
        self.jars_dir = jars_dir.absolute()
        self.heap_mb = heap_mb
        self.start_seconds = start_seconds
        self.port = preferred_port
        self._process: psutil.Process | None = None
        self._log_start = 0
        self._guard: subprocess.Popen[str] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """What clients call ``bootstrap.servers``; right once the broker is started."""
        return f"{HOST}:{self.port}"

    @property
    def uses_other_port(self) -> bool:
        """Whether another program has the preferred port, so that the broker listens at another one."""
        return self.port != self.preferred_port

    @property
    def alive(self) -> bool:
        """Whether the broker's process runs."""
        return self._process is not None and _runs(self._process)

    @property
    def pid(self) -> int | None:
        """The number of the broker's process, None while there is none."""
        return self._process.pid if self._process is not None else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the broker answers. A broker that a killed process left on the folder is ended first."""
        if self.alive:
            return
        self._forget()
        java = java_program()
        if not any(self.jars_dir.glob("kafka_*.jar")):
            raise EnvironmentProblem(f"Kafka's jars are not in {self.jars_dir}: fetch them with 'make setup'.")
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self.logs_dir.mkdir(parents=True, exist_ok=True)
            self._end_stale()
            self._format(java)
            self._start_at_free_port(java)
        except OSError as error:
            raise EnvironmentProblem(
                f"The broker cannot use {error.filename or self.data_dir} ({error.strerror}): mend that, or choose"
                " another folder with LOCAL=dir."
            ) from error

    def stop(self) -> None:
        """Ends the broker in order, which flushes its files; a broker that does not end in time is killed."""
        guard = self._guard
        if guard is not None and guard.stdin is not None:
            guard.stdin.close()  # what a dying owner does, too
            with suppress(subprocess.TimeoutExpired):
                guard.wait(40)
        self.kill()
        (self.data_dir / "broker.json").unlink(missing_ok=True)

    def kill(self) -> None:
        """Ends the broker at once (SIGKILL), as a power cut would; :meth:`start` brings it back."""
        if self._process is not None:
            _end(self._process, orderly_seconds=0)
        self._forget()

    def create_topic(self, name: str, partitions: int, config: Mapping[str, str] | None = None) -> None:
        """Creates a topic and waits until it can be written to; one that exists is left as it is.

        ``config`` overrides topic settings such as ``retention.ms``; conf/broker.properties has the defaults.
        """
        admin = self._admin()
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        try:
            admin.create_topics([topic])[name].result()
        except KafkaException as error:
            cause = error.args[0]
            if not isinstance(cause, KafkaError) or cause.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise EnvironmentProblem(f"The topic {name} could not be created: {cause}.") from error
        for _ in self._attempts(f"The topic {name} got no leader"):
            metadata = admin.list_topics(name, timeout=5).topics[name]
            if metadata.partitions and all(one.leader >= 0 for one in metadata.partitions.values()):
                return

    # --- starting ---------------------------------------------------------------------------------------------------

    def _start_at_free_port(self, java: str) -> None:
        """Another program may take a port between our look and the broker's start: then the next one is tried."""
        tried: list[int] = []
        for _ in range(3):
            free = [port for port in (self.port, self.preferred_port) if port not in tried and _is_free(port)]
            self.port = free[0] if free else _free_port()  # the port it had before: clients know that one
            _replace(self.data_dir / "server.properties", self._properties(_free_port()))
            out_file = self.logs_dir / "broker.out"
            out_file.unlink(missing_ok=True)
            self._launch(java, out_file)
            try:
                self._wait_until_ready()
            except EnvironmentProblem:
                self.kill()
                if not PORT_IN_USE.search(self._said()):
                    raise
                tried.append(self.port)
            except BaseException:
                self.kill()
                raise
            else:
                if self.uses_other_port:
                    LOG.info("Port %d is taken: the broker listens at %d", self.preferred_port, self.port)
                return
        raise EnvironmentProblem(f"No free port was found for the broker on {HOST}; it tried {tried}.")

    def _launch(self, java: str, out_file: Path) -> None:
        log = self.logs_dir / "broker.log"
        self._log_start = log.stat().st_size if log.exists() else 0
        guard = [sys.executable, "-I", "-S", str(Path(__file__).with_name("broker_guard.py"))]
        guard += [str(self.data_dir / "broker.json"), str(os.getpid())]
        memory = [f"-Xmx{self.heap_mb}m", "-Xms64m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"]
        with out_file.open("ab") as out:
            self._guard = subprocess.Popen(
                [*guard, java, *memory, *self._java_options(), "kafka.Kafka", "server.properties"],
                cwd=self.data_dir,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                text=True,
                start_new_session=True,  # signals from the terminal are for us; we end the broker in order
            )
        assert self._guard.stdout is not None
        answer = self._guard.stdout.readline().strip()
        try:
            self._process = psutil.Process(int(answer))
        except (ValueError, psutil.NoSuchProcess):
            raise EnvironmentProblem(f"The broker could not be started: {out_file} tells why.") from None

    def _java_options(self) -> list[str]:
        log4j = (PROJECT / "conf" / "broker-log4j2.properties").as_uri()
        return [
            f"-Dbehavior.broker={self.data_dir}",  # tells our broker from others in a list of processes
            f"-Dbehavior.logs={self.logs_dir}",
            f"-Dlog4j2.configurationFile={log4j}",
            "-Djava.awt.headless=true",
            "-cp",
            str(self.jars_dir / "*"),
        ]

    def _properties(self, controller_port: int) -> str:
        """The settings in force. Paths are relative to the broker's folder: its own may have blanks and commas.

        The voters are written down rather than kept in the metadata: so the controller's port may change, too.
        """
        listener = f"PLAINTEXT://{HOST}:{self.port}"
        return (PROJECT / "conf" / "broker.properties").read_text(encoding="utf-8") + (
            f"\nlisteners={listener},CONTROLLER://{HOST}:{controller_port}\n"
            f"advertised.listeners={listener}\n"
            f"controller.quorum.voters=1@{HOST}:{controller_port}\n"
        )

    def _format(self, java: str) -> None:
        """Once for a folder. It comes into its place by a rename, so a half-made one is never taken for a whole."""
        data, new = self.data_dir / "data", self.data_dir / "new"
        if data.exists():
            return
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        _replace(new / "format.properties", self._properties(_free_port()))
        options = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", *self._java_options()]
        tool = ["kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", "format.properties"]
        run = subprocess.run(
            [java, *options, *tool], cwd=new, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if run.returncode != 0:
            log = self.logs_dir / "broker.out"
            log.write_text(run.stdout + run.stderr, encoding="utf-8")
            raise EnvironmentProblem(f"The broker's folder {self.data_dir} could not be prepared: {log} tells why.")
        (new / "data").replace(data)
        shutil.rmtree(new)

    def _end_stale(self) -> None:
        """Ends a broker whose owner was killed a moment ago; refuses where the owner is alive."""
        try:
            record = json.loads((self.data_dir / "broker.json").read_text(encoding="utf-8"))
            pid, guard, owner = int(record["pid"]), int(record["guard"]), int(record["owner"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return
        if not _is_broker(pid, self.data_dir):
            return
        if _is_parent(guard, pid) and _is_parent(owner, guard):
            raise EnvironmentProblem(
                f"{self.data_dir} is in use by another run (process {owner}): end that one first, or choose another"
                " folder with LOCAL=dir."
            )
        LOG.info("Ending the broker %d that a killed run left behind", pid)
        with suppress(psutil.NoSuchProcess):
            _end(psutil.Process(pid), orderly_seconds=20)

    # --- waiting ----------------------------------------------------------------------------------------------------

    def _wait_until_ready(self) -> None:
        """Until our own broker answers: another one may have taken the port since we looked, and answers, too."""
        own = self._cluster()
        for _ in self._attempts("The broker does not answer"):
            if _is_free(self.port):
                continue  # not yet listening: a client would only log errors
            with suppress(KafkaException):
                metadata = self._admin().list_topics(timeout=5)
                if metadata.brokers and metadata.cluster_id == own:
                    return

    def _cluster(self) -> str:
        """The id that the folder was given when it was prepared."""
        written = (self.data_dir / "data" / "meta.properties").read_text(encoding="utf-8")
        return next(line.partition("=")[2].strip() for line in written.splitlines() if line.startswith("cluster.id="))

    def _attempts(self, what: str) -> Iterator[None]:
        """Goes round until the time is up or the broker has ended; both are problems."""
        end = time.monotonic() + self.start_seconds
        while time.monotonic() < end:
            if not self.alive:
                raise EnvironmentProblem(f"{what}: it has ended. {self._cause()}")
            yield
            time.sleep(0.1)
        raise EnvironmentProblem(f"{what} within {self.start_seconds:.0f} s. {self._cause()}")

    def _cause(self) -> str:
        """The last error that the broker named, and where to read on."""
        causes = re.findall(r"^(?:Caused by: )?[\w.$]+(?:Exception|Error): .+", self._said(), re.MULTILINE)
        named = f"Its last error was {causes[-1][:300]}; " if causes else ""
        return f"{named}{self.logs_dir / 'broker.log'} has the rest."

    def _said(self) -> str:
        """What the broker has logged since its start."""
        out, log = self.logs_dir / "broker.out", self.logs_dir / "broker.log"
        said = out.read_text(encoding="utf-8", errors="replace") if out.exists() else ""
        if log.exists():
            with log.open("rb") as file:
                file.seek(self._log_start if log.stat().st_size >= self._log_start else 0)
                said += file.read().decode("utf-8", errors="replace")
        return said

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0, "socket.timeout.ms": 10000})

    def _forget(self) -> None:
        guard, self._guard, self._process = self._guard, None, None
        if guard is None:
            return
        try:
            guard.wait(5)  # it ends after the broker
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()
        for pipe in (guard.stdin, guard.stdout):
            if pipe is not None:
                pipe.close()


def _cluster_id() -> str:
    """A random id in Kafka's form: 22 characters, the first of which is no minus, as that would be an option."""
    while (made := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return made


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def _is_free(port: int) -> bool:
    """Whether nobody listens there. Connections of a program that has just ended do not count."""
    with socket.socket() as client:
        client.settimeout(2)
        if client.connect_ex((HOST, port)) == 0:
            return False
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as server:
        server.bind((HOST, 0))
        return int(server.getsockname()[1])


def _is_parent(parent: int, child: int) -> bool:
    """Whether it is now: the system gives the children of a dead process to another parent."""
    try:
        return psutil.Process(child).ppid() == parent
    except psutil.Error:
        return False


def _is_broker(pid: int, data_dir: Path) -> bool:
    """Whether the process with this number is a broker on this folder: numbers are used again."""
    try:
        return f"-Dbehavior.broker={data_dir}" in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def _runs(process: psutil.Process) -> bool:
    """Whether it has not ended; one that has, and that its parent has not yet waited for, does not run."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _end(process: psutil.Process, *, orderly_seconds: float) -> None:
    """Ends a process, with a kill where it has not ended in time."""
    with suppress(psutil.NoSuchProcess):
        if orderly_seconds > 0:
            process.terminate()
        end = time.monotonic() + orderly_seconds
        while _runs(process) and time.monotonic() < end:
            time.sleep(0.05)
        while _runs(process):
            process.kill()
            time.sleep(0.02)
