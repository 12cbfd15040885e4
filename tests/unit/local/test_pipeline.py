"""The stages of `make run`, with everything around them made up."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from features.errors import BehaviorError
from local import pipeline
from local.pipeline import Parts, Pipeline
from local.run_options import RunOptions
from settings import load_settings, local_overrides


@dataclass
class Made:
    """A query, the alerts or the sender, which notes what is asked of it."""

    name: str
    calls: list[str]
    isActive: bool = True
    failure: BehaviorError | None = None
    ended: bool = True
    sends: bool = True

    def start(self) -> None:
        self.calls.append(f"start {self.name}")

    def stop(self) -> None:
        self.calls.append(f"stop {self.name}")

    def wake(self) -> None:
        """Nothing is raised here."""

    def when_scored(self, call: Callable[[], None]) -> None:
        call()

    def drain(self, seconds: float) -> None:
        self.calls.append(f"drain {self.name}")

    @property
    def query(self) -> Made:
        return self

    def processAllAvailable(self) -> None:  # noqa: N802
        self.calls.append(f"drain {self.name}")

    def catch_up(self) -> str | None:
        self.calls.append("catch up")
        return None


@dataclass
class Run:
    """A run of a file that is sent already."""

    folder: Path
    has_champion: bool
    calls: list[str] = field(default_factory=list)

    def pipeline(self) -> Pipeline:
        def start() -> Any:
            query = Made("query", self.calls)
            query.start()
            return query

        parts = Parts(
            start, lambda: self.has_champion, lambda: self.calls.append("train"), lambda: Made("alerts", self.calls)
        )
        settings = load_settings("local", local_overrides(self.folder))
        options = RunOptions(None, (self.folder / "events.jsonl",), None, False, 1, self.folder)
        source: Any = Made("source", self.calls)
        lake: Any = None
        return Pipeline(options, settings, lake, Console(file=io.StringIO()), source, parts, 0.0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "REFRESH_SECONDS", 0.01)


@pytest.mark.parametrize("has_champion", [True, False])
def test_the_query_is_started_and_a_first_model_is_trained_before_alerts_are_raised(
    tmp_path: Path, has_champion: bool
) -> None:
    run = Run(tmp_path, has_champion)
    made = run.pipeline()
    made.run()
    drained = ["drain query", "catch up"]
    learns = [] if has_champion else [*drained, "train"]
    assert run.calls == ["start query", *learns, "start alerts", "stop source", *drained, "drain alerts"]


def test_a_query_that_ends_by_itself_ends_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, has_champion=True)
    made = run.pipeline()
    made.source.ended = False  # type: ignore[misc]
    stopped: Any = Made("run_pipeline", run.calls, isActive=False)
    stopped.exception = lambda: None
    made.parts = Parts(lambda: stopped, *list(vars(made.parts).values())[1:])
    with pytest.raises(BehaviorError, match="Query run_pipeline has stopped"):
        made.run()
    made.stop()
    assert {"stop source", "stop alerts", "stop run_pipeline"} <= set(run.calls)
