"""Small notes beside the checkpoints: how far something that is no Spark stream has come. Read and written whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from features.errors import EnvironmentProblem
from lake.folders import ArrowFolder
from lake.location import address_of, file_system, is_local


def read(folder: str, name: str) -> dict[str, Any] | None:
    """The note; None when there is none."""
    try:
        text = ArrowFolder(file_system(address_of(folder))).read(f"{name}.json")
        note = None if text is None else json.loads(text)
    except (OSError, ValueError) as error:
        raise EnvironmentProblem(f"The note {folder}/{name}.json cannot be read: {error}") from error
    return note if isinstance(note, dict) else None


def write(folder: str, name: str, note: dict[str, Any]) -> None:
    """Put the note in the place of the one before: a reader sees one or the other."""
    text, address = json.dumps(note).encode(), address_of(folder)
    try:
        if is_local(address):
            target = Path(address, f"{name}.json")
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_suffix(".new")
            draft.write_bytes(text)
            draft.replace(target)
            return
        # Unbuffered, Arrow would hand over a kind of bytes that deltalake does not take.
        with file_system(address).open_output_stream(f"{name}.json", buffer_size=len(text) + 1) as file:
            file.write(text)
    except OSError as error:
        raise EnvironmentProblem(f"The note {folder}/{name}.json cannot be written: {error}") from error
