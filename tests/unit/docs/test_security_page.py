"""The threat model names a test in every row, and each of them exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.paths import PROJECT

PAGE = PROJECT / "docs" / "explanation" / "security.md"
HEAD = ("who wants what", "where it is stopped", "shown by", "what is left")


def rows() -> Iterator[tuple[str, ...]]:
    """The rows of every table of the page, without head and line."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
        if line.startswith("|") and cells != HEAD and set(line) - set("|-"):
            yield cells


def known() -> set[str]:
    """The names of all tests that pytest takes up."""
    return {
        node.name
        for file in (PROJECT / "tests").rglob("test_*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_threat_has_a_place_where_it_is_stopped_and_a_test_that_shows_it() -> None:
    found = list(rows())
    assert len(found) >= 20
    for cells in found:
        assert len(cells) == len(HEAD), cells[0]
        assert all(cells[:2]), cells
        assert re.fullmatch(r"`test_\w+`(, `test_\w+`)*", cells[2]), f"{cells[0]}: name the tests that show it"


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    assert sorted(named - known()) == []
