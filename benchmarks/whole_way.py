"""Catch-up from a Kafka topic to durable scores: the platform against what a user would pick instead.

Everybody reads the same topic, makes the same features for the same champion, and writes scores durably, on the same
cores and in processes of their own. In every round all have their turn; medians are quoted. Peers have as many worker
processes as there are cores. Their outputs are compared with ours row by row. The floor is Spark reading and parsing
the topic and throwing everything away.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import IO, Any, Self

import numpy as np
import pandas as pd
import psutil
from matplotlib.figure import Figure

from benchmarks._environments import PROJECT, Environment, environment
from benchmarks._topic import fill
from benchmarks.peers.person import FEATURES
from benchmarks.report import Cell, Table
from lake.location import TableLocation
from lake.snapshot import OpenTable
from local.broker import EmbeddedBroker

TOPIC, PARTITIONS, WORKERS = "bench", 4, 2
BATCH = 500_000
GOAL_OF_FLOOR, GOAL_OF_BYTEWAX, GOAL_OF_PLAIN = 0.5, 1.2, 0.6
SAME = 1e-6
START_SECONDS = 120.0
"""How long a peer may take until it reads."""
OURS, COLD, FLOOR = "this project", "this project, Java starting cold", "floor: Spark reads, parses, throws away"


@dataclass(frozen=True)
class Peer:
    """A contestant: its module, its environment, and what it does not do."""

    title: str
    module: str
    env: str
    packages: tuple[str, ...]
    writes: str
    lacks: str
    workers: int = WORKERS
    is_thorough: bool = False


PEERS = (
    Peer(
        "plain consumer, 2 processes", "plain", "plain", ("confluent-kafka", "pandas", "scikit-learn", "deltalake"),
        "Delta (deltalake)", "users' past in memory only: lost with the process",
    ),
    Peer(
        "plain consumer that keeps, finds repeats, survives, explains; 2 processes", "thorough", "plain",
        ("confluent-kafka", "pandas", "scikit-learn", "deltalake"), "Delta (deltalake)",
        "late events lost", is_thorough=True,
    ),
    Peer(
        "Bytewax, 2 processes", "with_bytewax", "bytewax", ("bytewax",),
        "Delta (deltalake)", "users' past in memory only (recovery is off by default)",
    ),
    Peer(
        "Quix Streams, 2 processes", "with_quix", "quix", ("quixstreams",),
        "Delta (deltalake)", "",
    ),
    Peer(
        "PyFlink, parallelism 2", "with_flink", "flink", ("apache-flink",),
        "Delta (deltalake)", "state without checkpoints", 1,
    ),
)  # fmt: skip
NOBODY = "late events lost, no repeated ids found, no rejects kept, no reasons"
"""What no peer does but the thorough one."""


@dataclass
class Turn:
    """What a contestant did in one round."""

    seconds: float
    events: int
    rows: int
    cold: float
    stopped: bool = False


@dataclass
class Place:
    """A contestant's rounds, or why there are none."""

    turns: list[Turn] = field(default_factory=list)
    problem: str | None = None
    same: str = "-"

    @property
    def rate(self) -> float:
        """Events per second."""
        return median(turn.events / turn.seconds for turn in self.turns)


class Driver:
    """Our Spark driver, in a process of its own; see ``benchmarks/_ours.py``."""

    def __init__(self, servers: str, folder: Path, topic: str = TOPIC, *overrides: str) -> None:
        command = [sys.executable, "-m", "benchmarks._ours", servers, topic, str(folder), str(BATCH), *overrides]
        self.errors: IO[bytes] = (folder / "ours.log").open("wb")
        self.process = subprocess.Popen(
            command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )

    def ask(self, order: str) -> dict[str, Any]:
        """Have an order done."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.errors.flush()
            said = Path(str(self.errors.name)).read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"our driver ended at '{order}': {said[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        stop([self.process])
        self.errors.close()


def run(quick: bool, folder: Path) -> list[Table]:
    """See the module's text."""
    events, users, rounds, limit, budget = (
        (60_000, 2_000, 1, 10.0, 60.0) if quick else (2_000_000, 20_000, 3, 40.0, 240.0)
    )
    made = {peer.env: environment(peer.env) for peer in PEERS}
    of_ours = (OURS,) if quick else (OURS, COLD)
    places = {name: Place() for name in (*of_ours, FLOOR, *(peer.title for peer in PEERS))}
    trained, details = dict[str, Any](), dict[str, Any]()
    with EmbeddedBroker(folder / "kafka", folder / "logs") as broker:
        broker.create_topic(TOPIC, PARTITIONS)
        size = fill(broker.bootstrap_servers, TOPIC, events, users)
        if COLD in places:  # trained by another process, so that the next one is cold
            with Driver(broker.bootstrap_servers, folder) as trainer:
                trained = trainer.ask("train")
        with Driver(broker.bootstrap_servers, folder) as driver:
            if COLD in places:
                first = driver.ask("way cold")
                places[COLD].turns.append(Turn(first["seconds"], events, first["rows"], first["since_start"]))
            else:
                trained = driver.ask("train")
            began, slowest = time.monotonic(), 0.0
            for number in range(rounds):
                if number and time.monotonic() - began + slowest > budget:
                    break
                before = time.monotonic()
                floor = driver.ask("floor")
                places[FLOOR].turns.append(Turn(floor["seconds"], events, 0, 0.0))
                details = driver.ask(f"way warm-{number}")
                places[OURS].turns.append(Turn(details["seconds"], events, details["rows"], 0.0))
                for peer in PEERS:
                    place = places[peer.title]
                    if place.problem is None:
                        _turn(place, peer, made[peer.env], broker.bootstrap_servers, folder, number, events, limit)
                slowest = max(slowest, time.monotonic() - before)
            ours = _newest(Path(details["scores"]), "batch_time")
    for peer in PEERS:
        if places[peer.title].turns:
            places[peer.title].same = _compared(ours, folder / f"{peer.module}-{peer.workers}-0" / "scores")
    draw(places, folder / "whole_way.png")
    return [
        _table(places, made, events, users, size, trained, len(ours)),
        _where(details, events),
    ]


def _turn(
    place: Place, peer: Peer, env: Environment, servers: str, folder: Path, number: int, events: int, limit: float
) -> None:
    """One round of a peer: its processes from start to the last durable score, or to the limit."""
    if env.problem is not None:
        place.problem = f"does not install: {env.problem}"
        return
    own = folder / f"{peer.module}-{peer.workers}-{number}"
    own.mkdir()
    began, log = time.time(), (own / "log").open("wb")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1") if peer.workers > 1 else {}
    command = [str(env.python), "-m", f"benchmarks.peers.{peer.module}", servers, TOPIC, str(own)]
    workers = [
        subprocess.Popen(
            [*command, str(one), str(peer.workers)],
            cwd=PROJECT, stdout=log, stderr=log, env={**os.environ, **threads}, start_new_session=True,
        )
        for one in range(peer.workers)
    ]  # fmt: skip
    try:
        stopped = not _ended(workers, own, limit)
    finally:
        stop(workers)
        log.close()
    notes = [json.loads(note.read_text(encoding="utf-8")) for note in own.glob("progress-*.json")]
    failed = not stopped and any(worker.returncode for worker in workers)
    if failed or not any(note["events"] for note in notes):
        said = (own / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        without_a_word = "ended with an error" if failed else "no scores within the limit"
        place.problem = f"failed: {said[-1][:200] if said else without_a_word}"
        return
    last, ready = max(note["last"] for note in notes), min(note["ready"] for note in notes)
    done = sum(note["events"] for note in notes) if stopped else events
    rows = sum(note["rows"] for note in notes)
    place.turns.append(Turn(last - ready, done, rows, last - began, stopped))


def _ended(workers: list[subprocess.Popen[bytes]], folder: Path, limit: float) -> bool:
    """Whether all end by themselves within the limit, counted from when the first worker was ready."""
    until, ready = time.time() + START_SECONDS, False
    while time.time() < until:
        if all(worker.poll() is not None for worker in workers):
            return True
        if not ready and any(folder.glob("progress-*.json")):
            ready, until = True, time.time() + limit
        time.sleep(0.05)
    return False


def stop(processes: list[Any]) -> None:
    """End processes with all that they started."""
    for process in processes:
        if process.poll() is not None:
            continue
        started = [process, *psutil.Process(process.pid).children(recursive=True)]
        for one in started:
            try:
                os.kill(one.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()


def _newest(table: Path, written: str) -> pd.DataFrame:
    """The newest row of each user and minute."""
    columns = ["user_id", "window_start", *FEATURES, "anomaly_score", written]
    opened = OpenTable(TableLocation(str(table)))
    assert opened.refresh(), f"there is no table at {table}"
    frame: pd.DataFrame = opened.delta.to_pyarrow_table(columns=columns).to_pandas().sort_values(written, kind="stable")
    return frame.drop_duplicates(["user_id", "window_start"], keep="last").set_index(["user_id", "window_start"])


def _compared(ours: pd.DataFrame, table: Path) -> str:
    """How many of our rows a peer has, and how many of these have our score; the features that differ most."""
    theirs = _newest(table, "scored_at")
    both = ours.join(theirs, how="inner", rsuffix="_theirs")
    wrong = {
        name: float((~_equal(both[name], both[f"{name}_theirs"])).mean())
        for name in theirs.columns
        if f"{name}_theirs" in both
    }
    score = wrong.pop("anomaly_score")
    worst = [f"{name} {share:.1%}" for name, share in sorted(wrong.items(), key=lambda one: -one[1])[:2] if share]
    text = f"{len(both) / len(ours):.1%} of our rows, {1 - score:.1%} of them with our score"
    return text + (f" (differing: {', '.join(worst)})" if worst else "")


def _equal(one: pd.Series[Any], other: pd.Series[Any]) -> Any:
    left, right = one.to_numpy(np.float64), other.to_numpy(np.float64)
    return np.isclose(left, right, rtol=0, atol=SAME, equal_nan=True)


def _table(
    places: dict[str, Place], made: dict[str, Environment], events: int, users: int, size: float,
    trained: dict[str, Any], ours: int,
) -> Table:  # fmt: skip
    floor, best = places[FLOOR].rate, places[OURS].rate
    rows: list[tuple[Cell, ...]] = []
    titles = {peer.title: peer for peer in PEERS}
    for name, place in places.items():
        peer = titles.get(name)
        parts = () if peer is None else (peer.lacks, "" if peer.is_thorough else NOBODY)
        lacks = "; ".join(part for part in parts if part)
        writes = "nothing" if name == FLOOR else "Delta (Spark)" if peer is None else peer.writes
        if not place.turns:
            rows.append((name, None, None, None, None, None, writes, place.problem or "-", lacks))
            continue
        cold = median(turn.cold for turn in place.turns)
        stopped = " (stopped at the limit)" if any(turn.stopped for turn in place.turns) else ""
        rows.append(
            (
                name, place.rate, place.rate / floor, place.rate / best,
                f"{median(turn.seconds for turn in place.turns):.1f}{stopped}", cold or None,
                writes, "our own" if peer is None and name != FLOOR else place.same, lacks,
            )
        )  # fmt: skip
    versions = "; ".join(made[peer.env].versions(*peer.packages) for peer in PEERS)
    return Table(
        f"The whole way: {events:,} events of {users:,} users ({size:.0f} bytes each) to durable scores",
        ("", "events/s", "of the floor", "of ours", "s", "s with the start", "writes", "output", "does not"),
        tuple(rows),
        (
            (
                f"The goal: {GOAL_OF_FLOOR} of the floor, {GOAL_OF_BYTEWAX} times Bytewax, "
                f"{GOAL_OF_PLAIN} of the first plain consumer."
            ),
            f"The champion: {trained['trees']} trees, fitted on {trained['rows']:,} rows; peers score by scikit-learn.",
            f"Our table has {ours:,} users' minutes.",
            f"Medians of {len(places[OURS].turns)} rounds in turns; one that is stopped has the rate of what it wrote.",
            "'with the start' counts from the start of the process: imports, Java, loading the model.",
            f"Ours goes the whole way in micro-batches of {BATCH:,} records.",
            "Ours keeps raw events, rejects and tiles, too.",
            *(
                []
                if COLD in places
                else ["Java of ours has only trained before: most of what is seen is its warming up."]
            ),
            f"Versions: {versions}.",
        ),
    )


def _where(details: dict[str, Any], events: int) -> Table:
    """Where our own way spends its time, in the last warm round."""
    total = details["seconds"]
    rows: list[tuple[Cell, ...]] = [
        (name, seconds, seconds / total, 1e5 * seconds / events) for name, seconds in details["jobs"].items()
    ]
    rows += [
        (f"  {name}", seconds, seconds / total, 1e5 * seconds / events) for name, seconds in details["steps"].items()
    ]
    return Table(
        "Where our whole way spends its time (last warm round)",
        ("job, and the steps it names", "s", "share", "s per 100,000 events"),
        tuple(rows),
        (f"{details['batches']} micro-batches; {details['rows']:,} score rows, {details['rejected']:,} rejects.",),
    )


def draw(places: dict[str, Place], path: Path) -> None:
    """Events per second of everybody, as bars."""
    shown = [(name, place.rate) for name, place in places.items() if place.turns][::-1]
    figure = Figure(figsize=(8, 0.45 * len(shown) + 1.0))
    axis = figure.subplots()
    colours = ["#1f6fb2" if name.startswith(OURS) else "#bbbbbb" if name == FLOOR else "#e08a3c" for name, _ in shown]
    bars = axis.barh([name for name, _ in shown], [rate / 1000 for _, rate in shown], color=colours)
    axis.bar_label(bars, [f"{rate / 1000:,.0f}" for _, rate in shown], padding=3)
    axis.set_xlabel("thousand events per second, Kafka to durable scores")
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
