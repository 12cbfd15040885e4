"""Keep a table's files few: how large it is, and when small files are joined."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

from features.tables import Table
from lake.rewrites import patiently
from lake.spark_tables import Lake
from settings import MaintenanceSettings

UNDER_WAY = timedelta(minutes=1)
"""A commit of a job that is no streaming query (raise_alerts, say) is made, or fails, within this time."""


@dataclass(frozen=True)
class Size:
    rows: int
    files: int
    bytes: int
    on_disk: int


def size_of(lake: Lake, table: Table) -> Size:
    size = lake.size(table)
    return Size(lake.read(table).count(), size.files, size.bytes, size.on_disk)


def compact(lake: Lake, chosen: MaintenanceSettings, table: Table) -> str | None:
    """Join small files; lay the table out anew by its ``cluster_by`` when small files are most of it."""
    size = lake.size(table)
    fewest = max(1, math.ceil(size.bytes / (chosen.target_file_mb * 1_000_000)))
    if size.files <= fewest:
        return None
    by = table.cluster_by if size.files > 2 * fewest else ()
    patiently(lambda: lake.compact(table, chosen.target_file_mb * 1_000_000, by), chosen.conflict_retries)
    return None
