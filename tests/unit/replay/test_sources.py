"""Several files in the order of their times, streams that are long in coming, and logs that grow and are rotated."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from features.errors import BehaviorError, UsageError
from replay.file_lines import Line
from replay.sources import Ahead, Followed, files_in, is_stream

PATIENCE = 20.0


def test_files_of_a_folder_and_of_a_pattern_come_oldest_first(tmp_path: Path) -> None:
    for age, name in enumerate(("access.log", "access.log.1", "access.log.2.gz", ".hidden")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    (tmp_path / "folder").mkdir()
    expected = ["access.log.2.gz", "access.log.1", "access.log"]
    assert [path.name for path in files_in([tmp_path])] == expected
    assert [path.name for path in files_in([tmp_path / "access.log*"])] == expected
    assert [path.name for path in files_in([tmp_path / "access.log", tmp_path / "access.log.1"])] == [
        "access.log",
        "access.log.1",
    ]


@pytest.mark.parametrize(("name", "why"), [("none*", "no such file"), ("none", "no such file"), ("", "without files")])
def test_where_there_is_no_file_a_sentence_says_so(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        files_in([tmp_path / name])


def test_a_pipe_is_a_stream_and_a_file_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    assert is_stream(Path("-"))
    assert is_stream(tmp_path / "pipe")
    assert not is_stream(tmp_path / "file")
    assert files_in([tmp_path / "pipe"]) == [tmp_path / "pipe"]


class Follower:
    """Follows a file in a thread."""

    def __init__(self, path: Path) -> None:
        self.stop = threading.Event()
        self.lines: list[bytes] = []
        self._thread = threading.Thread(target=self._follow, args=(path,))
        self._thread.start()

    def _follow(self, path: Path) -> None:
        for line in Followed(path, self.stop):
            self.lines.append(line.text)

    def until(self, lines: list[bytes]) -> None:
        end = time.monotonic() + PATIENCE
        while self.lines != lines and time.monotonic() < end:
            time.sleep(0.01)
        assert self.lines == lines

    def end(self) -> list[bytes]:
        self.stop.set()
        self._thread.join(PATIENCE)
        return self.lines


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Callable[[Path], Follower]]:
    started: list[Follower] = []

    def begin(path: Path) -> Follower:
        started.append(Follower(path))
        return started[-1]

    yield begin
    for one in started:
        one.end()


def test_a_log_is_followed_as_it_grows_and_half_a_line_waits(
    tmp_path: Path, follow: Callable[[Path], Follower]
) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"one\n")
    follower = follow(path)
    follower.until([b"one"])
    with path.open("ab", 0) as file:
        file.write(b"tw")
        file.write(b"o\nthree\nhal")
        follower.until([b"one", b"two", b"three"])
    assert follower.end() == [b"one", b"two", b"three", b"hal"]


def test_a_rotated_log_is_read_to_its_end_and_then_the_new_one(
    tmp_path: Path, follow: Callable[[Path], Follower]
) -> None:
    path = tmp_path / "access.log"
    old = path.open("ab", 0)
    with old:
        old.write(b"one\n")
        follower = follow(path)
        follower.until([b"one"])
        path.rename(tmp_path / "access.log.1")
        old.write(b"two\n")  # a server writes on until it is told to open the new file
        follower.until([b"one", b"two"])
        path.write_bytes(b"three\n")
        old.write(b"late\n")
    follower.until([b"one", b"two", b"late", b"three"])


def test_a_log_that_was_emptied_in_place_is_read_from_its_start(
    tmp_path: Path, follow: Callable[[Path], Follower]
) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"one, and long\n")
    follower = follow(path)
    follower.until([b"one, and long"])
    path.write_bytes(b"two\n")
    follower.until([b"one, and long", b"two"])


def test_a_log_that_is_not_there_yet_is_waited_for(tmp_path: Path, follow: Callable[[Path], Follower]) -> None:
    follower = follow(tmp_path / "access.log")
    (tmp_path / "access.log").write_bytes(b"one\n")
    follower.until([b"one"])


def test_what_comes_first_of_a_stream_is_seen_before_the_rest_has_come() -> None:
    more = threading.Event()

    def content() -> Iterator[Line]:
        yield Line(b"one", 3)
        yield Line(b"two", 3)
        assert more.wait(PATIENCE)
        yield Line(b"three", 5)

    ahead = Ahead(content())
    assert [line.text for line in ahead.first(200, 0.2)] == [b"one", b"two"]
    more.set()
    assert [line.text for line in ahead] == [b"one", b"two", b"three"]


def test_a_stream_that_fails_says_so_where_it_is_read() -> None:
    def content() -> Iterator[Line]:
        yield Line(b"one", 3)
        raise BehaviorError("torn")

    ahead = Ahead(content())
    with pytest.raises(BehaviorError, match="torn"):
        list(ahead)


def test_an_empty_stream_has_no_lines() -> None:
    ahead = Ahead(iter(()))
    assert ahead.first(200, 0.2) == []
    assert list(ahead) == []
