"""What a run does once all of its input is scored."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.run_options import RunOptions

FILE = (Path("events.jsonl"),)


@pytest.mark.parametrize(
    ("duration", "inputs", "follow", "is_watched", "stays"),
    [
        (None, FILE, False, True, True),
        (None, FILE, False, False, False),  # a script waits for the end
        (60.0, FILE, False, True, False),
        (None, FILE, True, True, False),  # ended by Ctrl-C
        (None, (), False, True, False),
    ],
)
def test_the_page_of_a_file_stays_for_who_looks_on_and_did_not_say_when_to_end(
    duration: float | None, inputs: tuple[Path, ...], follow: bool, is_watched: bool, stays: bool
) -> None:
    options = RunOptions(duration, inputs, None, False, 1, Path(".local"), follow=follow)
    assert options.page_stays(is_watched=is_watched) is stays
