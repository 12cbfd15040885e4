"""Where nearly all that came was rejected, the reason, one record and what to do are told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from features.events import REASONS
from features.tables import REJECTED_EVENTS
from lake import arrow_tables
from local.refusals import ADVICE, why_nothing

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def reject(root: Path, reason: str, detail: str, raw: bytes, count: int) -> None:
    row = dict.fromkeys(REJECTED_EVENTS.columns) | {"reason": reason, "detail": detail, "raw": raw, "topic": "t"}
    row |= {"partition": 0, "ingested_at": NOW, "ingest_id": "b:0"}
    arrow_tables.append(str(root), REJECTED_EVENTS, [{**row, "offset": number} for number in range(count)])


def test_the_commonest_reason_is_told_with_one_record_and_what_to_do(tmp_path: Path) -> None:
    reject(tmp_path, "empty", "0 bytes", b"", 2)
    reject(tmp_path, "missing_field", "not there", b'{"foo": 1}', 5)
    said = why_nothing(str(tmp_path))
    assert said is not None
    assert said.startswith("7 records were rejected, most of them (5) as missing_field (not there): ")
    assert """One of them: '{"foo": 1}'. Events have user_id, action, page and timestamp; for records""" in said


def test_where_nothing_was_rejected_nothing_is_said(tmp_path: Path) -> None:
    assert why_nothing(str(tmp_path)) is None


@pytest.mark.parametrize("reason", ADVICE)
def test_advice_is_about_reasons_that_there_are(reason: str) -> None:
    assert reason in REASONS
