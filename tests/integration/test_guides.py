"""Each guide that changes the code works as it is written, in a copy of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.guides import PAGES, Edit, follow, guide, write

pytestmark = [pytest.mark.integration, pytest.mark.timeout(4000)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_guide_adds_what_its_check_looks_for(page: Path, tmp_path: Path) -> None:
    follow(page, tmp_path / "my clone")


@pytest.mark.parametrize(
    ("where", "expected"),
    [("after", "one\ntwo\nNEW\nthree\n"), ("before", "one\nNEW\ntwo\nthree\n"), ("replace", "one\nNEW\nthree\n")],
)
def test_lines_are_written_where_the_anchor_says(where: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n")
    write(Edit(1, "a.txt", where, "tw", "NEW\n"), tmp_path)
    assert (tmp_path / "a.txt").read_text() == expected


@pytest.mark.parametrize(("anchor", "count"), [("zero", 0), ("e", 2)])
def test_an_anchor_that_names_no_line_or_several_is_refused(anchor: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n")
    with pytest.raises(ValueError, match=f'"{anchor}" is in {count} lines of a.txt, not in one'):
        write(Edit(1, "a.txt", "after", anchor, "NEW\n"), tmp_path)


def test_a_new_file_takes_the_place_of_none(tmp_path: Path) -> None:
    write(Edit(1, "new/a.txt", "", "", "one\n"), tmp_path)
    assert (tmp_path / "new" / "a.txt").read_text() == "one\n"
    with pytest.raises(ValueError, match="is there already"):
        write(Edit(1, "new/a.txt", "", "", "two\n"), tmp_path)


CHECK = "<!-- guide: run -->\n```sh\ntrue\n```\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<!-- guide: a.txt create -->\n```\none\n```\n", "no block `guide: run`"),
        (f"{CHECK}<!-- guide: a.txt create -->\n```\none\n```\n", "is not the last block"),
        (f"<!-- guide: a.txt above 'x' -->\n```\none\n```\n{CHECK}", "is neither run nor a file"),
        (f"<!-- guide: a.txt create -->\n\n```\none\n```\n{CHECK}", "2 comments of a guide, 1 of them before a block"),
    ],
)
def test_a_page_that_is_no_guide_is_refused(text: str, why: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match=why):
        guide(page)


def test_a_block_in_a_list_loses_the_indent_of_its_fence(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"1. First\n\n   <!-- guide: a.txt create -->\n   ```\n   one\n     two\n   ```\n{CHECK}")
    assert guide(page).edits == (Edit(3, "a.txt", "", "", "one\n  two\n"),)
