"""Which span is counted."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from features.errors import UsageError
from features.tables import EVENTS
from journeys.configured import span_of
from lake.reader import LakeReader
from tests.unit.serving.samples import append

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
LAST = NOON + timedelta(milliseconds=1)
MIDNIGHT = NOON.replace(hour=0)


@pytest.fixture
def lake(tmp_path: Path) -> LakeReader:
    row = {"user_id": "a", "action": "view", "page": "/", "timestamp": NOON, "topic": "t", "partition": 0, "offset": 0}
    append(tmp_path, EVENTS, [row | {"ingested_at": NOON, "ingest_id": "q:1"}])
    return LakeReader(str(tmp_path))


@pytest.mark.parametrize(
    ("since", "until", "span"),
    [
        (None, None, (MIDNIGHT - timedelta(days=1), LAST)),
        (date(2026, 3, 1), date(2026, 3, 2), (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC))),
        (date(1, 1, 1), date.max, (datetime(1970, 1, 1, tzinfo=UTC), LAST)),
    ],
)
def test_a_span_ends_where_events_end_whatever_is_asked_for(
    lake: LakeReader, since: date | None, until: date | None, span: tuple[datetime, datetime]
) -> None:
    assert span_of(lake, 2, since, until) == span


@pytest.mark.parametrize(("since", "until"), [(date.max, None), (None, date.min), (date(2026, 3, 2), date(2026, 3, 1))])
def test_a_span_of_nothing_is_refused(lake: LakeReader, since: date | None, until: date | None) -> None:
    with pytest.raises(UsageError, match="needed: an earlier since, or a later until"):
        span_of(lake, 2, since, until)


def test_where_there_are_no_events_there_is_no_span(tmp_path: Path) -> None:
    assert span_of(LakeReader(str(tmp_path)), 2, None, None) is None
