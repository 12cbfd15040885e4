"""Rows of table identities as links, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from features.identities import LINKS, Link, Links, rows_of
from features.merging import MINUTE_MICROS, instants
from features.tables import IDENTITIES
from lake import arrow_tables

if TYPE_CHECKING:
    from lake.spark_tables import Lake

KEPT = ("user_id", "anonymous_id", "linked_at", "source", "batch_time")
"""Columns of which links are made."""


def read_links(lake: Lake) -> Links:
    """All links in table identities."""
    if lake.takes_files:
        rows = arrow_tables.read(lake.root, IDENTITIES, KEPT)
    else:
        rows = lake.read(IDENTITIES).select(*KEPT).toArrow()
    return Links.of(links_in_rows(rows))


def links_in_rows(rows: pa.Table) -> list[Link]:
    """The links in ``rows`` of table identities (columns :data:`KEPT`), in the order in which they were written."""
    rows = rows.sort_by("batch_time")
    minutes = pa.array(rows["linked_at"].cast(pa.int64()).to_numpy() // MINUTE_MICROS)
    columns = {**{name: rows[name] for name in ("user_id", "anonymous_id", "source")}, "minute": minutes}
    return rows_of(pa.table([columns[name] for name in LINKS.names], schema=LINKS))


def rows_of_links(links: Sequence[Link]) -> pa.Table:
    """``links`` as rows of table identities, but for the batch's columns."""
    table = pa.Table.from_pylist([link._asdict() for link in links], LINKS)
    at = instants(table["minute"].to_numpy() * MINUTE_MICROS)
    return pa.table(
        {name: table[name] for name in ("user_id", "anonymous_id")} | {"linked_at": at, "source": table["source"]}
    )
