"""Pages and pictures of mine_patterns in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from features.errors import EnvironmentProblem

if TYPE_CHECKING:  # whoever removes reports needs none of what draws them
    from patterns.report import Report

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


def pages(folder: Path) -> list[Path]:
    """The pages in ``folder``, in order of their days."""
    return sorted(folder.glob(f"{NAME}*.html"))
