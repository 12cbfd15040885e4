"""How tests call every job of the README's table, and what each must answer on the tables of a real run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.paths import PROJECT

TRACES = re.compile(
    r"Traceback \(most recent call last\)|^\s+at [\w.$]+\(|AnalysisException|Py4JJavaError", re.MULTILINE
)
"""What nobody may see in a terminal: a trace of Python, or one of Java."""


@dataclass(frozen=True)
class Call:
    """One way in which a guide calls a job.

    Attributes:
        job: its name in the README.
        words: what follows on the command line.
        code: the exit code it must have; ``beside``: the one beside running streams, which keep their own checkpoints.
        says: must be in what it prints.
    """

    job: str
    words: tuple[str, ...] = ()
    code: int = 0
    beside: int | None = None
    says: str = ""

    @property
    def code_beside(self) -> int:
        return self.code if self.beside is None else self.beside


@dataclass
class Called:
    """What a job's call has printed, and the code it has left with."""

    call: Call
    code: int
    text: str = field(repr=False)

    def complaints(self, code: int) -> list[str]:
        """What is wrong with it, in sentences."""
        command = " ".join(("python -m", f"jobs.{self.call.job}", *self.call.words))
        found = []
        if self.code != code:
            found.append(f"{command}: exit code {self.code}, needed {code}")
        if TRACES.search(self.text):
            found.append(f"{command}: a trace on the terminal")
        if self.call.says not in self.text:
            found.append(f"{command}: does not say {self.call.says!r}")
        return [f"{one}. It said:\n{self.text[-3000:]}" for one in found]


ONCE = ("--once",)
CALLS = (
    # In the order in which the guides use them.
    Call("simulate_events", ("--rate", "20", "--duration", "3", "--labels", "{folder}/labels.csv")),
    Call("replay_file", ("{folder}/bad.jsonl", "--key-file", "{folder}/key")),
    Call("try_mapping", ("--input", "{folder}/bad.jsonl"), says="records are events"),
    Call("change_flow", ("--to", "three-queries"), beside=1),
    Call("ingest_events", ONCE, beside=1),
    Call("build_features", ONCE, beside=1),
    Call("train_model"),
    Call("promote_model", ("--force", "--why", "a test")),
    Call("set_threshold", ("--percentile", "99")),
    Call("score_features", ONCE, beside=1),
    Call("raise_alerts", ONCE, beside=1),
    Call("fill_online", ("--anew", "--once"), beside=1),
    Call("set_threshold", ("--alerts-per-day", "5", "--preview")),
    Call("promote_model", ("--rollback",)),
    Call("change_flow", ("--to", "one-pass")),
    Call("check_drift"),
    Call("check_ledger", says="difference 0 of"),
    Call("check_parity", ("--all",), says=" 0 differences"),
    Call("check_parity", ("--repair",), says=" 0 differences"),
    Call("replay_rejected", ("--reason", "too_large")),
    Call("rebuild_events"),
    Call("backfill_features", ("--slices", "2")),
    # No event of the run has both ids.
    Call("unlink_identity", ("--user-id", "{user}", "--anonymous-id", "nobody"), code=1, says="were never linked"),
    # Nobody has scored what the back-fill wrote.
    Call("erase_user", ("--user-id", "{user}")),
    Call("maintain_tables"),
    Call("mine_patterns"),
    Call("count_journeys", ("--step", "view", "--step", "click"), says="of the step before"),
    Call("count_journeys", ("--traffic", "all"), says="ho comes back"),
    Call("print_views", says="CREATE OR REPLACE VIEW sessions"),
    # The one job that needs another server than Kafka: without its password it says so in a sentence.
    Call("bridge_rabbitmq", ONCE, code=2),
)
ELSEWHERE = {"run_pipeline": "it makes the tables of the slow test, and runs beside the jobs there"}


def jobs_of_the_readme() -> list[str]:
    """The names in the README's table of jobs."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    rows = text.partition("| job | does |\n|---|---|\n")[2].partition("\n\n")[0].splitlines()
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def strangers(jobs: Iterable[str]) -> list[str]:
    """A sentence for each job that no test knows how to call."""
    known = {call.job for call in CALLS} | set(ELSEWHERE)
    return [
        f"{job} is in the README's table of jobs, and no test runs it on the tables of a run: add to CALLS of "
        f"{Path(__file__).relative_to(PROJECT)} how a guide calls it."
        for job in jobs
        if job not in known
    ]


def bad_lines(folder: Path) -> None:
    """The file that replay_file sends: records that are rejected, for several reasons."""
    lines = ["not json", "{}", '{"user_id": 5}', '{"user_id":"u","action":"click","page":"/a","timestamp":"never"}']
    folder.joinpath("bad.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def words_of(call: Call, folder: Path, user: str, settings: Iterable[str]) -> list[str]:
    """The command line of ``call`` after the job's name."""
    words = [word.format(folder=folder, user=user) for word in call.words]
    return [*words, "--env", "local", *[word for one in settings for word in ("--set", one)]]
