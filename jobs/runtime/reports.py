"""Pages and pictures of mine_patterns in a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import escape

from features.errors import EnvironmentProblem
from features.mentions import People

if TYPE_CHECKING:  # whoever removes reports needs none of what draws them
    from training.patterns.report import Report

NAME = "patterns-"


def write_report(folder: Path, day: str, report: Report) -> Path:
    """Write the page of ``day`` and its pictures, in the place of those that are there; returns the page's path.

    Raises:
        EnvironmentProblem: the folder cannot be written.
    """
    page = folder / f"{NAME}{day}.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page.write_text(report.page, encoding="utf-8")
        for name, image in report.pictures.items():
            folder.joinpath(f"{NAME}{day}-{name}.png").write_bytes(image)
    except OSError as error:
        raise EnvironmentProblem(
            f"The report cannot be written to {folder}: {error.strerror}. Name another folder with --report."
        ) from None
    return page


def remove_reports_naming(folder: Path, users: Iterable[str]) -> list[Path]:
    """Remove the pages that show one of ``users`` as an example; mine_patterns --day makes them again without."""
    people, removed = People((str(escape(user)) for user in users), anywhere=True), []
    for page in sorted(folder.glob(f"{NAME}*.html")):
        if people.named_in([page.read_bytes()])[0]:
            page.unlink()
            removed.append(page)
    return removed
