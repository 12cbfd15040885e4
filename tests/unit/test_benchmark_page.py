"""The page of benchmarks: a run renews its own sections and leaves the others."""

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
