"""Guides that change the code, done as they are written: each block put where its comment says, in a copy.

A comment right before a fenced block says what the block is::

    <!-- guide: features/new.py create -->                               a new file
    <!-- guide: features/definitions.py after "FEATURES: tuple" -->      lines below that line
    <!-- guide: features/definitions.py before "FEATURE_NAMES: " -->     lines above that line
    <!-- guide: features/definitions.py replace "FEATURE_VERSION =" -->  lines in place of that line
    <!-- guide: run -->                                                  shell commands: the check at the end

A line is named by an anchor: a piece of it that stands in no other line of the file. Blocks are written as
they are indented in the file; a block in a list loses the indent of its fence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests import docs_commands
from tests.paths import PROJECT

MARK = "<!-- guide: "
BLOCK = re.compile(
    r"^(?P<indent> *)<!-- guide: (?P<order>[^\n]+) -->\n(?P=indent)```\w*\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
EDIT = re.compile(r'(?P<file>\S+) (?:create|(?P<where>after|before|replace) "(?P<anchor>.+)")')
PAGES = sorted(page for page in (PROJECT / "docs" / "how-to").glob("*.md") if MARK in page.read_text(encoding="utf-8"))
SECONDS = 1800
"""Of patience with a check; each takes less than a minute on a machine that has nothing else to do."""


@dataclass(frozen=True)
class Edit:
    """Lines of a file. ``where`` is after, before, replace, or empty for a new file; ``line`` is the comment's."""

    line: int
    file: str
    where: str
    anchor: str
    text: str


@dataclass(frozen=True)
class Guide:
    """What a page tells people to write, in its order, and the shell commands that check it."""

    page: Path
    edits: tuple[Edit, ...]
    check: str


def guide(page: Path) -> Guide:
    """The guide of a page.

    Raises:
        ValueError: a comment is not understood, or there is not one check, at the end.
    """
    whole = page.read_text(encoding="utf-8")
    edits, checks = list[Edit](), list[str]()
    found = list(BLOCK.finditer(whole))
    if len(found) != whole.count(MARK):
        raise ValueError(f"{page.name}: {whole.count(MARK)} comments of a guide, {len(found)} of them before a block.")
    for block in found:
        line = whole[: block.start()].count("\n") + 1
        indent = block["indent"]
        text = "".join(one.removeprefix(indent) for one in block["text"].splitlines(keepends=True))
        if checks:
            raise ValueError(f"{page.name}:{line}: the check, `guide: run`, is not the last block.")
        if block["order"] == "run":
            checks.append(text)
        elif order := EDIT.fullmatch(block["order"]):
            edits.append(Edit(line, order["file"], order["where"] or "", order["anchor"] or "", text))
        else:
            raise ValueError(f"{page.name}:{line}: `{block['order']}` is neither run nor a file and where in it.")
    if not checks:
        raise ValueError(f"{page.name}: no block `guide: run` checks what was added.")
    return Guide(page, tuple(edits), checks[0])


def write(edit: Edit, root: Path) -> None:
    """Make one edit in the project's copy ``root``.

    Raises:
        ValueError: the anchor is in no line, or in several; a new file is there already.
    """
    path = root / edit.file
    if not edit.where:
        if path.exists():
            raise ValueError(f"Line {edit.line}: {edit.file} is there already.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(edit.text, encoding="utf-8")
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    at = [number for number, line in enumerate(lines) if edit.anchor in line]
    if len(at) != 1:
        raise ValueError(f'Line {edit.line}: "{edit.anchor}" is in {len(at)} lines of {edit.file}, not in one.')
    first = at[0] + (edit.where == "after")
    lines[first : at[0] + (edit.where != "before")] = [edit.text]
    path.write_text("".join(lines), encoding="utf-8")


def follow(page: Path, root: Path) -> str:
    """Do what a page says in a copy of the project, made in ``root``; the output of its check.

    Raises:
        ValueError: see :func:`guide` and :func:`write`.
        AssertionError: the check failed before anything was written: it does not see what is added. Or it failed after.
    """
    told = guide(page)
    copy = docs_commands.clone(root)
    try:
        docs_commands.run(told.check, copy, SECONDS)
    except AssertionError:
        pass
    else:
        raise AssertionError(f"{page.name}: its check passes before anything was added.")
    for edit in told.edits:
        write(edit, copy)
    return docs_commands.run(told.check, copy, SECONDS)
