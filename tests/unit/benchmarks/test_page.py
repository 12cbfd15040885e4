"""The benchmarks' command, and its page: a run renews its own sections and leaves the others."""

import pytest
import typer

from benchmarks.__main__ import AT_A_GLANCE, COMPARED, main, names
from benchmarks.report import Table, page


def test_a_run_renews_its_own_sections_and_leaves_the_others() -> None:
    before = page("", {"delay": "old delay", "ingest": "old ingest"})
    after = page(before, {"delay": "new delay", "whole_way": "first"})
    assert [line for line in after.splitlines() if line.startswith("## ")] == ["## whole_way", "## delay", "## ingest"]
    assert "new delay" in after
    assert "old delay" not in after
    assert "old ingest" in after


def test_a_page_written_twice_is_the_same() -> None:
    text = page("", {"kernel": Table("Forests", ("", "rows/s"), (("ours", 1_000_000.0),)).markdown()})
    assert page(text, {}) == text


def test_what_runs_without_names_is_there() -> None:
    assert set(AT_A_GLANCE) < set(COMPARED) < set(names())


def test_an_unknown_name_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as refused:
        main(["whole_way", "speed"])
    assert refused.value.exit_code == 2
    said = capsys.readouterr().err
    assert "no benchmark speed." in said
    assert all(name in said for name in names())
