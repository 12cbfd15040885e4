"""Compiled code is found again where it can be, and never used for other sources."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from features.compiled import SourceTree, config, digest


def function() -> None: ...


def archive(folder: Path, text: str) -> str:
    """A zip with one module, as Spark unpacks it somewhere; the module's file."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "jobs.zip", "w") as made:
        made.writestr(zipfile.ZipInfo("features/kernel.py"), text)
    return str(folder / "jobs.zip" / "features" / "kernel.py")


def test_the_same_zip_at_another_place_finds_its_compiled_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    places = [archive(tmp_path / name, text) for name, text in (("a", "x = 1"), ("b", "x = 1"), ("c", "x = 2"))]
    one, same, other = (SourceTree.from_function(function, place) for place in places)
    assert one is not None
    assert same is not None
    assert other is not None
    assert (one.get_cache_path(), one.get_source_stamp()) == (same.get_cache_path(), same.get_source_stamp())
    assert one.get_source_stamp() != other.get_source_stamp()
    assert Path(one.get_cache_path()).is_relative_to(tmp_path / "cache")


def test_a_changed_constant_of_another_module_is_another_source(tmp_path: Path) -> None:
    for package in ("features", "scoring"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "module.py").write_text("x = 1", encoding="utf-8")
    before = digest.__wrapped__(tmp_path)
    (tmp_path / "scoring" / "module.py").write_text("x = 2", encoding="utf-8")
    assert digest.__wrapped__(tmp_path) != before


def test_beside_the_source_where_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", "")
    source = tmp_path / "features" / "kernel.py"
    source.parent.mkdir()
    source.write_text("x = 1", encoding="utf-8")
    found = SourceTree.from_function(function, str(source))
    assert found is not None
    assert found.get_cache_path() == str(source.parent / "__pycache__")


def test_nowhere_to_write_is_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "file"))
    assert SourceTree.from_function(function, archive(tmp_path / "a", "x = 1")) is None
