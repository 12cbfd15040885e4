"""Where the online view is kept: with the tables that it is of."""

from __future__ import annotations

from pathlib import Path

import pytest

from settings import load_settings, local_overrides


@pytest.mark.parametrize(
    ("root", "place"),
    [
        (".local/lake", ".local/online.db"),
        ("own/lake", "own/online.db"),
        ("/srv/lake/", "/srv/online.db"),
        ("file:///srv/lake", "/srv/online.db"),
        ("s3a://bucket/lake", ".local/online.db"),
    ],
)
def test_it_lies_beside_the_tables_whatever_names_them(root: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEHAVIOR_STORAGE__ROOT", root)
    assert load_settings("local").online_path == place
    assert load_settings("local", ["online.path=/elsewhere/view.db"]).online_path == "/elsewhere/view.db"


def test_that_of_make_run_is_in_the_runs_folder(tmp_path: Path) -> None:
    assert load_settings("local", local_overrides(tmp_path)).online_path == str(tmp_path / "online.db")
