"""Small notes beside the checkpoints: how far something that is no Spark stream has come. Read and written whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.fs

from features.errors import EnvironmentProblem


def read(folder: str, name: str) -> dict[str, Any] | None:
    """The note; None when there is none."""
    system, place = _place(folder)
    try:
        with system.open_input_stream(f"{place}/{name}.json") as file:
            found = json.loads(file.read())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EnvironmentProblem(f"The note {folder}/{name}.json cannot be read: {error}") from error
    return found if isinstance(found, dict) else None


def write(folder: str, name: str, note: dict[str, Any]) -> None:
    """Put the note in the place of the one before: a reader sees one or the other."""
    system, place = _place(folder)
    text = json.dumps(note).encode()
    try:
        if isinstance(system, pyarrow.fs.LocalFileSystem):
            target = Path(place, f"{name}.json")
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_suffix(".new")
            draft.write_bytes(text)
            draft.replace(target)
            return
        with system.open_output_stream(f"{place}/{name}.json") as file:
            file.write(text)
    except OSError as error:
        raise EnvironmentProblem(f"The note {folder}/{name}.json cannot be written: {error}") from error


def _place(folder: str) -> tuple[pyarrow.fs.FileSystem, str]:
    if "://" not in folder:
        return pyarrow.fs.LocalFileSystem(), str(Path(folder).resolve())
    address = f"s3://{folder.removeprefix('s3a://')}" if folder.startswith("s3a://") else folder
    system, place = pyarrow.fs.FileSystem.from_uri(address)
    return system, place
