"""Small files of a folder: of a Delta log or of a checkpoint, wherever the folder is and whoever reads it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from pyarrow import fs


@dataclass(frozen=True)
class FileInfo:
    """What is in a folder: its name, when it was last written, and its bytes."""

    name: str
    modified: datetime
    size: int


class Folder(Protocol):
    """A folder that need not be there. Names are relative to it."""

    def read(self, name: str) -> bytes | None:
        """A small file as a whole; None when it is not there."""

    def listing(self, name: str = "") -> list[FileInfo]:
        """What is directly in it, or in its folder ``name``; nothing when that is not there. In no order."""


@dataclass(frozen=True)
class ArrowFolder:
    """A folder read without Spark; :class:`lake.hadoop_files.HadoopFolder` is one that Spark reads."""

    files: fs.FileSystem

    def read(self, name: str) -> bytes | None:
        try:
            with self.files.open_input_stream(name) as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None

    def listing(self, name: str = "") -> list[FileInfo]:
        return [
            FileInfo(file.base_name, file.mtime or datetime.fromtimestamp(0, UTC), file.size or 0)
            for file in self.files.get_file_info(fs.FileSelector(name, allow_not_found=True))
        ]
