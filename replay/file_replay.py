"""Sending a recorded file to Kafka, one record for every line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from features.errors import UsageError
from kafka.pacer import Pacer
from kafka.producer import EventProducer
from replay.file_lines import MAX_LINE, lines
from replay.formats.registry import AUTO, format_of
from replay.pseudonyms import pseudonym_key
from replay.survey import survey


@dataclass(frozen=True)
class Replayed:
    """``lines`` records were sent; of these ``raw`` were not understood, and ``cut`` were too long for a record."""

    lines: int
    raw: int
    cut: int


def replay(
    path: Path,
    producer: EventProducer,
    *,
    rate: float | None = None,
    shift_to_now: bool = False,
    event_ids: bool = False,
    format_name: str = AUTO,
    key: Callable[[], bytes] = pseudonym_key,
    stop: threading.Event | None = None,
) -> Replayed:
    """Send each line of a file as one record, at ``rate`` lines per second or as fast as the broker takes them.

    ``format_name`` is one of :data:`replay.formats.registry.NAMES`; ``key`` gives the key of pseudonyms and is only
    asked where one is needed. ``shift_to_now`` moves all times by one span, see :func:`replay.survey.survey`.
    ``event_ids`` gives events that have none an id of content and line number: sent a second time within the window of
    de-duplication they are known as repeated. ``stop`` ends early. Returns when every record is acknowledged.

    Raises:
        UsageError: the file cannot be read or has no format that is known.
        EnvironmentProblem: the broker is away or does not keep up.
    """
    if rate is not None and rate <= 0:
        raise UsageError(f"The rate must be lines per second above 0; {rate:g} was given.")
    reader = format_of(path, format_name)(key)
    known = survey(path, reader, datetime.now(UTC), rate) if shift_to_now or event_ids else None
    shift = known.shift if known and shift_to_now else None
    pacer = Pacer(rate, stop)
    sent = raw = cut = 0
    for number, line in enumerate(lines(path), 1):
        if not pacer.take():
            break
        if line.length > MAX_LINE:
            producer.send_raw(line.text, None, headers=[("cut_from_bytes", str(line.length).encode())])
            raw, cut = raw + 1, cut + 1
        else:
            record = reader.record(line.text, shift, known.event_id(number) if known and event_ids else None)
            producer.send_raw(record.value, record.key)
            raw += not record.is_event
        sent += 1
    producer.flush()
    return Replayed(sent, raw, cut)
