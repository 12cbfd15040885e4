"""Builds dist/behavior-jobs.zip, which ``spark-submit --py-files`` ships to the executors (``make zip``).

The same files give the same bytes: names are sorted and every entry has the same time.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from tools.packages import top_level

TARGET = Path("dist/behavior-jobs.zip")


def build(root: Path) -> Path:
    """Path of the archive, which comes into its place by a rename."""
    target = root / TARGET
    target.parent.mkdir(exist_ok=True)
    new = target.with_suffix(".new")
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in (*top_level(), "conf"):
            for path in sorted((root / package).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), date_time=(2020, 1, 1, 0, 0, 0))
                    entry.external_attr = 0o644 << 16
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(entry, path.read_bytes())
    return new.replace(target)


if __name__ == "__main__":
    path = build(Path(__file__).absolute().parent.parent)
    print(f"{TARGET}: {path.stat().st_size / 1000:.0f} kB")
