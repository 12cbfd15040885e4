"""What the tutorial and the guides tell people to type, typed: one sequence, in a clone of its own."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import pytest

from tests import docs_commands
from tests.integration.conftest import lasting_port
from tests.paths import PROJECT

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(5400)]

SEQUENCE = (
    "tutorial/first-run",
    "tutorial/own-log",
    "how-to/event-fields",
    "how-to/identities",
    "how-to/threshold",
    "how-to/rollback",
    "how-to/new-detector",
    "how-to/erase",
)
LINES = 4000


def test_the_tutorial_and_the_guides_work_as_they_are_written(data: Path, tmp_path: Path) -> None:
    root = docs_commands.clone(tmp_path / "my clone")
    with gzip.open(data / "shop_access.log.gz", "rb") as log:
        (root / "access.log").write_bytes(b"".join(itertools.islice(log, LINES)))
    pages = [PROJECT / "docs" / f"{name}.md" for name in SEQUENCE]
    chosen = [block for page in pages for block in docs_commands.blocks(page) if block.mark == "stack"]
    said = docs_commands.run(docs_commands.script(chosen, lasting_port()), root, 5400)
    print(said)
    assert f"{LINES:,}" in said, "the summary counts the log's lines"
    assert '"behavior_prediction"' in said, "the API has answered"
    for job in ("Threshold of version", "is challenger.", "rows removed"):
        assert job in said


def test_every_page_with_commands_for_the_stack_is_in_the_sequence() -> None:
    found = {
        block.page.relative_to(PROJECT / "docs").with_suffix("").as_posix()
        for page in docs_commands.PAGES
        for block in docs_commands.blocks(page)
        if block.mark == "stack"
    }
    assert found == set(SEQUENCE)
