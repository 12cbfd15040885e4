"""Pages of mine_patterns that show erased people as examples."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from markupsafe import escape

from patterns.report_files import pages
from privacy.mentions import People


def remove_reports_naming(folder: Path, users: Iterable[str]) -> list[Path]:
    """Remove the pages that show one of ``users`` as an example; mine_patterns --day makes them again without."""
    people, removed = People((str(escape(user)) for user in users), anywhere=True), []
    for page in pages(folder):
        if people.named_in([page.read_bytes()])[0]:
            page.unlink()
            removed.append(page)
    return removed
