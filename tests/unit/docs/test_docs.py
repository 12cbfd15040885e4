"""The documentation: the site is whole and says all that the code has; what it tells people to type exists."""

from __future__ import annotations

import html
import re
import subprocess
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from prometheus_client import REGISTRY

from features.definitions import FEATURE_NAMES
from features.events import REASONS
from features.tables import TABLES
from serving.routes.metrics import Metrics
from settings import Settings, load_settings
from telemetry import metrics
from tests import docs_commands
from tests.docs_commands import PAGES, Block, Call
from tests.imports import rooms
from tests.paths import PROJECT
from tools import reference

CALLS = [call for page in PAGES for call in docs_commands.calls(page)]
DECISIONS = PROJECT / "docs" / "decisions"
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a link that leads nowhere, or a page without a place, is an error."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(PROJECT)
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        build(load_config(str(PROJECT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


def page(site: Path, name: str) -> str:
    """A page of the reference, without entities."""
    return html.unescape((site / "reference" / f"{name}.html").read_text(encoding="utf-8"))


def section(text: str, name: str) -> str:
    """What stands under the heading ``name``."""
    found = re.search(rf'<h2 id="{re.escape(name)}">.*?(?=<h2 |</article>)', text, re.DOTALL)
    assert found, f"no heading {name}"
    return found[0]


def test_every_setting_has_a_row_and_a_meaning(site: Path) -> None:
    text = page(site, "settings")
    for name in reference.setting_names():
        row = re.search(rf"<td><code>{re.escape(name)}</code></td>\s*<td>(.*?)</td>", text)
        assert row, f"{name} is not in the reference"
        assert row[1], f"{name}: say in conf/base.yaml, or in the field's description, what it is"


def test_every_column_of_every_table_and_every_reason_stands_in_the_reference(site: Path) -> None:
    text = page(site, "tables")
    for table in TABLES.values():
        told = section(text, table.name)
        missing = [name for name in table.columns if f"<td><code>{name}</code></td>" not in told]
        assert not missing, table.name
    assert all(f"<code>{reason}</code>" in page(site, "events") for reason in REASONS)


def test_every_feature_stands_in_the_reference(site: Path) -> None:
    text = page(site, "features")
    assert [name for name in FEATURE_NAMES if f"<td><code>{name}</code></td>" not in text] == []


def test_every_job_stands_in_the_reference_with_all_its_options(site: Path) -> None:
    text = page(site, "jobs")
    runnable = [path.stem for path in (PROJECT / "jobs").glob("*.py") if "cli.run(main)" in path.read_text("utf-8")]
    assert sorted(runnable) == reference.job_names()
    for name in runnable:
        told = section(text, name)
        wanted = [one.opts[0] for one in reference.options_of(f"jobs.{name}")]
        assert "--env" in wanted
        assert [one for one in wanted if one.startswith("-") and f"<code>{one}" not in told] == [], name


def test_every_endpoint_stands_in_the_reference(site: Path) -> None:
    text = page(site, "endpoints")
    paths = reference.openapi()["paths"]
    assert "/predict_behavior" in paths
    for path, operations in paths.items():
        for method in operations:
            assert f">{method.upper()} {path}<a" in text


def test_every_metric_stands_in_the_reference(site: Path) -> None:
    assert metrics.DELAY is not None
    text = page(site, "metrics")
    families = [*REGISTRY.collect(), *Metrics().registry.collect()]
    names = {family.name for family in families if family.name.startswith("behavior_")}
    assert "behavior_http_requests" in names
    assert sorted(name for name in names if f"<code>{name}</code>" not in text) == []


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    loads = re.compile(r'<(?:script|img|iframe|source)[^>]*\ssrc="?(?:https?:)?//|<link[^>]*\shref="?(?:https?:)?//')
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES) // 2
    for file in pages:
        text = file.read_text(encoding="utf-8")
        assert not loads.search(text), file.name
        assert 'class="mermaid"' not in text, f"{file.name}: the theme would fetch mermaid's script"
    for style in site.rglob("*.css"):
        assert not re.search(r"@import|url\(['\"]?https?:", style.read_text(encoding="utf-8")), style.name


def test_each_decision_has_its_place_in_the_site(site: Path) -> None:
    start = (site / "architecture.html").read_text(encoding="utf-8")
    for record in DECISIONS.rglob("*.md"):
        assert str(record.relative_to(DECISIONS.parent).with_suffix(".html")) in start


@pytest.mark.parametrize("record", sorted(DECISIONS.glob("*.md")), ids=lambda record: record.stem)
def test_each_decision_has_a_status_its_parts_and_at_most_60_lines_of_100_columns(record: Path) -> None:
    lines = record.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(f"# {record.stem.partition('-')[0]} ")
    assert re.match(r"Status: (accepted|superseded by \[\d{3}\])", lines[2])
    assert [part for part in ("Context", "Decision", "Consequences") if f"## {part}" not in lines] == []
    assert len(lines) <= 60, f"{len(lines)} lines: figures belong in decisions/measurements/{record.name}"
    assert [line for line in lines if len(line) > 100 and not line.startswith("|")] == []


@pytest.mark.parametrize("page", sorted((DECISIONS / "measurements").glob("*.md")), ids=lambda page: page.stem)
def test_each_page_of_measurements_belongs_to_a_decision_that_links_to_it(page: Path) -> None:
    record = DECISIONS / page.name
    assert f"(measurements/{page.name})" in record.read_text(encoding="utf-8")
    assert f"(../{page.name})" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.place)
def test_jobs_options_and_settings_that_pages_name_exist(call: Call) -> None:
    if call.module == "jobs.NAME":
        return
    known = {name for one in reference.options_of(call.module) for name in (*one.opts, *one.secondary_opts)}
    given = [word.partition("=")[0] for word in call.words if word.startswith("--")]
    assert [name for name in given if name not in {*known, "--help"}] == []
    after = dict(zip(call.words, call.words[1:], strict=False))
    overrides = [value for word, value in zip(call.words, call.words[1:], strict=False) if word == "--set"]
    load_settings(after.get("--env", "local"), overrides)


def code_of(path: Path) -> list[str]:
    return CODE.findall(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_settings_variables_and_targets_that_pages_name_exist(path: Path) -> None:
    code = "\n".join(code_of(path))
    names = set(reference.setting_names())
    sections = "|".join({name.partition(".")[0] for name in names} - {"spark"})
    for spoken in re.findall(rf"(?<![\w./])(?:{sections})\.[a-z_]+\b(?![\w(./])", code):
        is_module = any((PROJECT / spoken.replace(".", "/")).with_suffix(end).exists() for end in (".py", ""))
        is_file = spoken.rpartition(".")[2] in ("md", "py", "yaml", "json", "parquet")
        is_new = re.search(rf"^ +{spoken.rpartition('.')[2]}: \S+ +# ", code, re.MULTILINE)  # a guide adds it
        assert spoken in names or is_module or is_file or is_new, f"there is no setting {spoken}"
    variables = {f"BEHAVIOR_{name.upper().replace('.', '__')}" for name in names}
    variables |= {f"BEHAVIOR_{name.upper()}" for name in Settings.model_fields}
    for spoken in re.findall(r"\bBEHAVIOR_[A-Z_]+[A-Z]\b", code):
        assert spoken in variables or spoken in CODE_TEXT, f"nothing reads {spoken}"
    targets = set(re.findall(r"^([a-z0-9-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for spoken in re.findall(r"(?:^|`|; )make ([a-z0-9-]+)", code, re.MULTILINE):
        assert spoken in targets, f"there is no make {spoken}"


CODE_TEXT = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("jobs", "tests", "tools")
    for path in (PROJECT / folder).rglob("*.py")
)


def test_files_of_the_documentation_that_are_named_anywhere_exist() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if not name.endswith((".py", ".md", ".yaml", ".js", ".cfg", "Makefile")):
            continue
        for spoken in re.findall(r"docs/[\w/.-]+\.(?:md|yaml|svg)\b", (PROJECT / name).read_text(encoding="utf-8")):
            made = spoken.startswith("docs/reference/")
            assert made or (PROJECT / spoken).exists(), f"{name} names {spoken}"


def test_the_architecture_says_what_really_imports_what() -> None:
    text = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("| package | imports |")[2].partition("\n\n")[0]
    told = {row[0]: set(row[1:]) for row in (re.findall(r"`([\w.]+)`", line) for line in table.splitlines()) if row}
    assert told == rooms()


def test_commands_that_need_no_stack_run(tmp_path: Path) -> None:
    chosen: list[Block] = [block for path in PAGES for block in docs_commands.blocks(path) if block.mark == "run"]
    assert chosen
    said = docs_commands.run(docs_commands.script(chosen, 0), docs_commands.clone(tmp_path / "my clone"), 300)
    assert all(f"### {block.place}" in said for block in chosen)
