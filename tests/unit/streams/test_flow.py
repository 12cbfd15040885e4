"""The list of streams that maintenance and erasure go by."""

from __future__ import annotations

from importlib import import_module

import pytest

from features.tables import REJECTED_EVENTS, TABLES, Table
from streams.flow import ALERTING, FLOW, Stream, personal, reader_of, writer_of


@pytest.mark.parametrize("stream", [*FLOW, ALERTING], ids=lambda stream: stream.query)
def test_a_query_is_a_job_of_its_name(stream: Stream) -> None:
    job = import_module(f"jobs.{stream.query}")
    assert hasattr(job, "start") == (stream is not ALERTING)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_that_names_users_anywhere_in_its_schema_is_one_of_those_that_erasure_empties(table: Table) -> None:
    names_users = '"name":"user_id"' in table.schema.json().replace(" ", "") or table is REJECTED_EVENTS
    assert (table in [*personal(streamed=True), *personal(streamed=False)]) == names_users


def test_what_a_query_reads_another_one_before_it_writes() -> None:
    written: list[Table] = []
    for stream in FLOW:
        assert stream.reads is None or stream.reads in written
        assert stream.result in stream.writes
        written += stream.writes
        assert {writer_of(table) for table in stream.writes} == {stream.query}
        assert stream.reads is None or reader_of(stream.reads) == stream.query
