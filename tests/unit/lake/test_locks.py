"""One holder at a time, between real processes: in a folder, and on an S3 API. Whoever is killed gives the lock up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SECONDS = 4.0
PROGRAM = """
import sys
from pathlib import Path
from features.errors import BehaviorError
from lake import locks
place, who, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
held = locks.leased(place, who, seconds) if place.startswith("s3://") else locks.in_folder(Path(place), who)
print("ready", flush=True)
sys.stdin.readline()
try:
    with held as check:
        print("held", flush=True)
        while sys.stdin.readline().strip() == "check":
            try:
                check()
                print("still held", flush=True)
            except BehaviorError as error:
                print(error, flush=True)
    print("freed", flush=True)
except BehaviorError as error:
    print(error, flush=True)
"""


@dataclass
class Holder:
    """A process that asks for the lock when it is told to."""

    process: subprocess.Popen[str]

    def say(self, word: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, word: str = "") -> str:
        self.say(word)
        return self.hear()


@dataclass
class Machine:
    """Processes that reach the same ``place``."""

    place: str
    env: dict[str, str]
    started: list[Holder]

    def holder(self, name: str) -> Holder:
        command = [sys.executable, "-c", PROGRAM, self.place, name, str(SECONDS)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=os.environ | self.env, stdin=pipe, stdout=pipe, text=True)
        self.started.append(Holder(process))
        return self.started[-1]

    def ready(self, *names: str) -> list[Holder]:
        holders = [self.holder(name) for name in names]
        assert [one.hear() for one in holders] == ["ready"] * len(names)
        return holders


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    is_s3 = request.param == "s3"
    place = f"s3://locks/{tmp_path.name}/lock" if is_s3 else f"{tmp_path}/checkpoints/lock"
    machine = Machine(place, request.getfixturevalue("s3") if is_s3 else {}, [])
    yield machine
    for one in machine.started:
        one.process.kill()
        one.process.wait()


def test_of_processes_that_ask_at_once_one_holds_the_lock_and_the_others_are_told_which(machine: Machine) -> None:
    holders = machine.ready("ada", "bob", "cyd")
    for one in holders:
        one.say()
    answers = [one.hear() for one in holders]
    assert answers.count("held") == 1
    who = ("ada", "bob", "cyd")[answers.index("held")]
    assert {text for text in answers if text != "held"} == {
        f"{who}, is at work on the tables. Wait for it, or stop it."
    }


def test_a_lock_is_free_when_its_holder_ends_and_after_a_kill(machine: Machine) -> None:
    first, second, third = machine.ready("first", "second", "third")
    assert first.ask() == "held"
    assert first.ask("end") == "freed"
    assert second.ask() == "held"
    assert second.ask("check") == "still held"
    second.process.kill()
    second.process.wait()
    began = time.monotonic()
    assert third.ask() == "held"
    if machine.env:
        assert time.monotonic() - began > SECONDS / 2


@pytest.mark.slow
def test_a_holder_that_was_suspended_for_longer_than_its_lease_is_told_that_it_lost_it(
    s3: dict[str, str], tmp_path: Path
) -> None:
    machine = Machine(f"s3://locks/{tmp_path.name}/lock", s3, [])
    try:
        asleep, other = machine.ready("asleep", "other")
        assert asleep.ask() == "held"
        asleep.process.send_signal(signal.SIGSTOP)
        assert other.ask() == "held"
        asleep.process.send_signal(signal.SIGCONT)
        assert "was lost" in asleep.ask("check")
        assert asleep.ask("end") == "freed"
        assert other.ask("check") == "still held"
    finally:
        for one in machine.started:
            one.process.kill()
            one.process.wait()
