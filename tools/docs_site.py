"""MkDocs' hooks of the documentation site: the reference written from the code, and a place for every page."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from tools import reference

DECISIONS, MEASUREMENTS, DEPLOY = "Decisions", "Measurements", "On a cluster"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give pages that ``nav`` of mkdocs.yml does not name a place: decisions under Explanation, others as guides."""
    nav: list[dict[str, list[Any]]] = config.nav or []
    guides = next(part["How-to guides"] for part in nav if "How-to guides" in part)
    explanation = next(part["Explanation"] for part in nav if "Explanation" in part)
    named, left = set(_named(nav)), dict[str, list[str]]()
    for path in sorted(Path(config.docs_dir).rglob("*.md")):
        page = PurePosixPath(path.relative_to(config.docs_dir).as_posix())
        if str(page) not in named:
            left.setdefault(page.parts[0] if len(page.parts) > 1 else "", []).append(str(page))
    decisions = left.pop("decisions", [])
    measured = [page for page in decisions if "/measurements/" in page]
    records = [page for page in decisions if page not in measured]
    explanation += [{DECISIONS: [*records, {MEASUREMENTS: measured}]}]
    deploy = sorted(left.pop("deploy", []), key=lambda page: (not page.endswith(("index.md", "README.md")), page))
    guides += [{DEPLOY: deploy}] if deploy else []
    guides += [page for pages in left.values() for page in pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the reference."""
    for path, text in reference.pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def _named(node: Any) -> list[str]:
    if isinstance(node, str):
        return [node]
    parts = node.values() if isinstance(node, dict) else node
    return [page for part in parts for page in _named(part)]
