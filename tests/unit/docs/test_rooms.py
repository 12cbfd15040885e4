"""The rooms of the house: what may import what, that nothing goes in circles, and that one room alone knows Delta."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.imports import BESIDE, files, imported, own_imports, parsed, rooms

TOOLS = ("benchmarks", "tools", *BESIDE)
LAYERS = {
    "features": set[str](),
    "settings": {"features"},
    "lake": {"features", "settings"},
    "telemetry": {"features", "settings"},
    "scoring": {"features"},
    "streams": {"features", "lake", "settings", "telemetry"},
    "kafka": {"features", "lake", "settings", "streams"},
    "registry": {"features", "scoring", "settings", "training"},
}
"""What the rooms at the bottom may import; of all the others a page of the architecture says it."""
ON_TOP = {"jobs": {"jobs"}, "serving": set[str]()}
"""Nobody imports these rooms, but for those named."""

DELTA = ("deltalake", "delta", "pyarrow.fs")
"""Packages that open tables and file systems."""
PEERS = "benchmarks/peers/"
"""Programs of others that write tables as they like."""


def circle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_neither_modules_nor_rooms_import_each_other_in_a_circle() -> None:
    assert circle({name: own_imports(name) for name in files()}) == []
    assert circle(rooms()) == []


@pytest.mark.parametrize("name", LAYERS)
def test_a_room_imports_only_what_is_below_it(name: str) -> None:
    assert rooms()[name] <= LAYERS[name]


@pytest.mark.parametrize("name", ON_TOP)
def test_nobody_imports_what_stands_on_top(name: str) -> None:
    importing = {one for one, others in rooms().items() if name in others and one not in TOOLS}
    assert importing <= ON_TOP[name]


# --- one way into the lake ---


def outside() -> Iterator[Path]:
    for path in files().values():
        if path.parts[0] != "lake" and not str(path).startswith(PEERS):
            yield path


def reaches(module: ast.Module) -> Iterator[str]:
    """What a module does by itself that only the lake may do."""
    documentation = {
        id(node.value)
        for node in ast.walk(module)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(module):
        match node:
            case ast.Attribute(attr="forPath" | "isDeltaTable" | "is_deltatable" as name):
                yield f"line {node.lineno}: .{name}"
            case ast.Constant(value=str(text)) if id(node) not in documentation and (
                "_delta_log" in text or "delta.`" in text
            ):
                yield f"line {node.lineno}: {text!r}"
            case ast.JoinedStr() if is_address(ast.unparse(node)):
                yield f"line {node.lineno}: {ast.unparse(node)}"


def is_address(text: str) -> bool:
    """Whether a formatted text joins a root with a table's name."""
    return "root}/{" in text or "root.rstrip('/')}/{" in text or 'root.rstrip("/")}/{' in text


def test_only_the_lake_opens_tables_and_file_systems() -> None:
    found = {
        f"{path}: {name}"
        for path in outside()
        for name in imported(path)
        if any(name == package or name.startswith(f"{package}.") for package in DELTA)
    }
    assert found == set()


def test_only_the_lake_knows_where_a_table_is_and_what_its_log_is_called() -> None:
    assert {f"{path}, {what}" for path in outside() for what in reaches(parsed(path))} == set()


@pytest.mark.parametrize(
    "text",
    [
        'log = path + "/_delta_log"', "DeltaTable.forPath(spark, path)", 'f"{settings.storage.root}/{table.name}"',
        "f\"{root.rstrip('/')}/{table.name}\"", 'spark.sql(f"VACUUM delta.`{path}`")',
    ],
)  # fmt: skip
def test_a_way_round_the_lake_is_seen(text: str) -> None:
    assert list(reaches(ast.parse(text)))
