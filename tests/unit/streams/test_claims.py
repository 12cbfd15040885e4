"""Claims keep other processes of the machine away from a query's checkpoint."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from features.errors import BehaviorError
from streams import claims

CLAIM = "import sys; from streams import claims; claims.claim(sys.argv[1]); print('claimed')"
LOOK = "import sys; from streams import claims\nprint('looks', flush=True)\nwhile True: claims.claimed(sys.argv[1])"


def others_may(folder: Path) -> bool:
    """Whether another process can claim it."""
    done = subprocess.run([sys.executable, "-c", CLAIM, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "is being run by another process" in done.stderr
    return done.returncode == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ingest_events"


def test_a_claim_keeps_others_away_until_it_is_let_go(folder: Path) -> None:
    claims.claim(str(folder))
    assert not others_may(folder)
    claims.let_go(str(folder))
    assert others_may(folder)


def test_one_that_is_kept_outlasts_the_queries_that_begin_and_end_meanwhile(folder: Path) -> None:
    with claims.kept([str(folder)]):
        claims.claim(str(folder))
        claims.let_go(str(folder))
        assert not others_may(folder)
    assert not others_may(folder), "whoever was begun last has it"
    claims.let_go(str(folder))
    assert others_may(folder)


def test_where_the_block_fails_it_is_let_go(folder: Path) -> None:
    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError), claims.kept([str(folder)]):
        fail()
    assert others_may(folder)


def test_who_only_looks_keeps_nobody_away(folder: Path) -> None:
    claims.claim(str(folder))
    claims.let_go(str(folder))
    command = [sys.executable, "-c", LOOK, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as looking:
        assert looking.stdout is not None
        assert looking.stdout.readline() == "looks\n"
        try:
            assert _often(lambda: claims.claim(str(folder)), str(folder)) == 0
        finally:
            looking.kill()


def _often(claim: Callable[[], None], folder: str) -> int:
    """How often the claim is refused."""
    refused = 0
    for _ in range(1000):
        try:
            claim()
        except BehaviorError:
            refused += 1
        claims.let_go(folder)
    return refused
