"""The folder in which a streaming query keeps how far it has come, read as Spark writes it. Nothing here asks Spark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from features.ledger import Partition
from lake.folders import Folder

NO_BATCH = -1


@dataclass(frozen=True)
class PlannedBatch:
    """What a query plans of a micro-batch before it runs.

    Attributes:
        time: when it was planned: what the query calls the batch's current time.
        ends: where it ends in each source, as that source writes it.
    """

    time: datetime
    ends: tuple[str, ...]

    @property
    def kafka_ends(self) -> dict[Partition, int]:
        """The next offset of each partition after it; none where its source is not Kafka."""
        topics = json.loads(self.ends[-1]) if self.ends and self.ends[-1].startswith("{") else {}
        return _offsets(topics) if all(isinstance(partitions, dict) for partitions in topics.values()) else {}

    @property
    def delta_end(self) -> dict[str, Any] | None:
        """Where it ends in a Delta table; None where none is its source."""
        for end in self.ends:
            if end.startswith("{") and "reservoirVersion" in (offset := json.loads(end)):
                return dict(offset)
        return None

    @property
    def whole_version(self) -> int | None:
        """After it, all rows of its table's Delta versions below this one are read; None where it ends within one."""
        end = self.delta_end
        if end is None or end["index"] >= 0 or end["isStartingVersion"]:
            return None
        return int(end["reservoirVersion"])


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint in ``folder``, which need not be there."""

    folder: Folder

    @property
    def query_id(self) -> str | None:
        """First part of the ids of the query's batches; None when it has never started."""
        metadata = self.folder.read("metadata")
        return None if metadata is None else str(json.loads(metadata)["id"])

    def planned(self) -> Mapping[int, datetime]:
        """The numbers of planned batches, and when they were noted. Old ones are forgotten."""
        return self._numbered("offsets")

    def finished(self) -> Mapping[int, datetime]:
        """The numbers of finished batches, and when they were noted. Old ones are forgotten."""
        return self._numbered("commits")

    def batch(self, number: int) -> PlannedBatch | None:
        """The plan of a batch; None where it is not there (yet, or any more)."""
        lines = [line.decode() for line in (self.folder.read(f"offsets/{number}") or b"").splitlines()]
        if len(lines) < 2:
            return None
        time = datetime.fromtimestamp(json.loads(lines[1])["batchTimestampMs"] / 1000, UTC)
        return PlannedBatch(time, tuple(lines[2:]))

    def kafka_ends(self, number: int) -> dict[Partition, int]:
        """Where a batch ends in Kafka; nothing where that is not known."""
        batch = self.batch(number)
        return {} if batch is None else batch.kafka_ends

    def kafka_begin(self) -> dict[Partition, int] | None:
        """The offsets from which the query first read Kafka; None where it has not."""
        text = self.folder.read("sources/0/0")
        return _offsets(json.loads(text[text.index(b"{") :])) if text else None

    def _numbered(self, name: str) -> dict[int, datetime]:
        return {int(file.name): file.modified for file in self.folder.listing(name) if file.name.isdigit()}


def _offsets(topics: Mapping[str, Mapping[str, int]]) -> dict[Partition, int]:
    """By topic and partition, from Spark's JSON of them."""
    return {
        (topic, int(number)): int(offset)
        for topic, partitions in topics.items()
        for number, offset in partitions.items()
    }
