"""Links as far as build_features has come: what table identities has beside what the events of some time tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from features.identities import RESTORED, UNDONE, Link, Links, Pair, rows_of, told
from features.lending import Lending
from features.parity import OF_LINKS
from features.tables import IDENTITIES
from jobs.shared.recompute import Span
from lake.link_rows import KEPT, links_in_rows, rows_of_links
from lake.rewrites import replace_keys
from lake.spark_tables import Lake
from settings import Settings
from streams.progress import Position
from streams.rules import session_rules


@dataclass(frozen=True)
class LinksAsOf:
    """Both, compared.

    Attributes:
        lending: what is lent by what is right; None: nothing.
        right: the links of pairs that differ; a pair that has none here has no event that links it.
        report: a row as :func:`features.parity.report` has them.
    """

    lending: Lending | None
    right: Sequence[Link]
    wrong: Sequence[Pair]
    report: Row


def links_as_of(
    lake: Lake, settings: Settings, position: Position, span: Span, events: DataFrame | None = None
) -> LinksAsOf:
    """Compare the links within ``span`` and its look-back; without ``events`` the table is right."""
    if not settings.features.link_identities:
        return LinksAsOf(None, (), (), _report({}, {}))
    lake.create(IDENTITIES)
    rows = lake.read(IDENTITIES).where(position.settled(F.col("batch_id"), position.batch))
    links = links_in_rows(rows.select(*KEPT).toArrow())
    words = [link for link in links if link.source in (UNDONE, RESTORED)]
    written = _earliest([link for link in links if link.source not in (UNDONE, RESTORED)])
    right = written
    if events is not None:
        near = span.with_look_back(session_rules(settings))
        first, last = (int(time.timestamp()) // 60 for time in (near.since, near.until))
        elsewhere = [one for one in written.values() if one.user_id is None or not first <= one.minute < last]
        right = _earliest([*elsewhere, *_told_by(events.where(near.has(F.col("timestamp"))))])
    minutes = [int(time.timestamp()) // 60 for time in (span.since, span.until)]
    loans = frozenset(loan for loan in Links.of([*right.values(), *words]).loans() if loan.bears_on(*minutes))
    wrong = [pair for pair in right.keys() | written.keys() if _minute(right, pair) != _minute(written, pair)]
    return LinksAsOf(
        Lending(loans) if loans else None, [right[pair] for pair in wrong if pair in right], wrong,
        _report(right, written),
    )  # fmt: skip


def replace_links(lake: Lake, linked: LinksAsOf, position: Position, batch_id: str, settings: Settings) -> None:
    """Put the right links in the place of those that differ, in one commit; what people said of them stays."""
    if not linked.wrong:
        return
    spark = lake.spark
    keys = pa.table([pa.array(ids, pa.string()) for ids in zip(*linked.wrong, strict=True)], list(IDENTITIES.keys))
    own = {"batch_time": F.lit(datetime.now(UTC)), "batch_id": F.lit(batch_id)}
    right = spark.createDataFrame(rows_of_links(linked.right)).withColumns(own).select(*IDENTITIES.columns)
    replace_keys(
        lake,
        IDENTITIES,
        spark.createDataFrame(keys),
        lambda _: right,
        settings.maintenance,
        where=position.settled(F.col("batch_id"), position.batch) & ~F.col("source").isin(UNDONE, RESTORED),
        inserts=True,
    )


def _told_by(events: DataFrame) -> list[Link]:
    pairs = (
        events.where("user_id <> anonymous_id")
        .groupBy("user_id", "anonymous_id")
        .agg(F.min(F.unix_micros("timestamp")).alias("micros"), F.min_by("topic", "timestamp").alias("source"))
    )
    return rows_of(told(pairs.toArrow()))


def _earliest(links: Sequence[Link]) -> dict[Pair, Link]:
    found: dict[Pair, Link] = {}
    for link in links:
        known = found.get(link[:2])
        if known is None or link.minute < known.minute:
            found[link[:2]] = link
    return found


def _minute(links: dict[Pair, Link], pair: Pair) -> int | None:
    return links[pair].minute if pair in links else None


def _report(right: dict[Pair, Link], written: dict[Pair, Link]) -> Row:
    both = right.keys() & written.keys()
    return Row(
        feature=OF_LINKS,
        rows=len(right.keys() | written.keys()),
        missing=len(right.keys() - written.keys()),
        extra=len(written.keys() - right.keys()),
        different=sum(right[pair].minute != written[pair].minute for pair in both),
        largest_difference=None,
    )
