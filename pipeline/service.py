"""The one pass as a service on an engine that is there: the query, its alerts and the online view, until stopped."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from time import monotonic

from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession

from alerts.stream import AlertStream, raise_once
from features.errors import BehaviorError
from kafka.guard import KafkaGuard
from lake.spark_tables import Lake
from online.stream import stream_of
from pipeline import one_pass
from settings import Settings
from streams import queries
from streams.flow import INGEST

log = logging.getLogger(__name__)

PAUSE_SECONDS = 30.0
"""Until alerts that have failed are tried again."""


def run(spark: SparkSession, lake: Lake, settings: Settings, *, once: bool = False) -> None:
    """Run it; ``once`` takes all that is there, does what is owed, and ends.

    Raises:
        BehaviorError: the query failed, or, with ``once``, alerts could not be raised.
    """
    with ExitStack() as stack:
        online, alerts = stream_of(settings), Alerts(settings) if settings.alerts.by_pipeline and not once else None
        for beside in (online, alerts):
            if beside is not None:
                stack.callback(beside.stop)
        running = one_pass.start(spark, lake, settings, once=once)
        stack.callback(running.stop)  # the first to be stopped: the others take in what it has left
        for beside in (online, alerts):
            if beside is not None:
                running.when_scored(beside.wake)
        if online is not None:
            online.start()
        _await(running, alerts, spark, lake, settings)
        if once:
            if (left := running.catch_up()) is not None:
                log.error("%s", left)
            if settings.alerts.by_pipeline:
                raise_once(settings)


def _await(running: one_pass.Run, alerts: Alerts | None, spark: SparkSession, lake: Lake, settings: Settings) -> None:
    """Until the query ends."""
    try:
        while not running.query.awaitTermination(1):
            if alerts is not None:
                alerts.look_after()
    except StreamingQueryException as error:
        if any(sign in str(error) for sign in queries.NO_RECORDS):
            KafkaGuard(spark, lake, settings, INGEST.query).check()
        raise queries.failure_of(error, settings) from None


class Alerts:
    """Alerts beside the query, which goes on when they fail: they are tried again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stream: AlertStream | None = None
        self._again_at = float("-inf")

    def wake(self) -> None:
        stream = self._stream
        if stream is not None:
            stream.wake()

    def look_after(self) -> None:
        """Start them, also after a failure and a pause."""
        if self._stream is not None and self._stream.failure is not None:
            self._failed(self._stream.failure)
            self.stop()
        if self._stream is None and monotonic() >= self._again_at:
            try:
                self._stream = AlertStream(self.settings)
                self._stream.start()
            except BehaviorError as error:
                self._failed(error)
                self.stop()

    def stop(self) -> None:
        if self._stream is not None:
            self._stream.stop()
            self._stream = None

    def _failed(self, why: BehaviorError) -> None:
        self._again_at = monotonic() + PAUSE_SECONDS
        log.error("alerts wait: %s", why)
