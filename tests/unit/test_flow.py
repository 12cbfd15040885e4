"""The list of streams that maintenance and erasure go by."""

from __future__ import annotations

import pytest

from features.tables import REJECTED_EVENTS, TABLES, Table
from jobs import build_features, ingest_events, score_features
from jobs.runtime.flow import FLOW, personal, reader_of, writer_of


def test_the_streams_have_the_names_under_which_they_run() -> None:
    names = [stream.query for stream in FLOW]
    assert names == [ingest_events.QUERY, build_features.QUERY, score_features.QUERY]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_that_names_users_anywhere_in_its_schema_is_one_of_those_that_erasure_empties(table: Table) -> None:
    names_users = '"name":"user_id"' in table.schema.json().replace(" ", "") or table is REJECTED_EVENTS
    assert (table in [*personal(streamed=True), *personal(streamed=False)]) == names_users


def test_what_a_query_reads_another_one_before_it_writes() -> None:
    written: list[Table] = []
    for stream in FLOW:
        assert stream.reads is None or stream.reads in written
        written += stream.writes
        assert {writer_of(table) for table in stream.writes} == {stream.query}
        assert stream.reads is None or reader_of(stream.reads) == stream.query
