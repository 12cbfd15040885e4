"""Sends the alerts of a lake to all sinks of the settings until none is left: ``python -m tests.integration.sending``.

Arguments: the lake, the folder of the places, and settings. It says so when it has begun.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

from alerts.delivery import Delivery
from alerts.sinks.registry import sinks_of
from features.tables import ALERTS
from lake import arrow_tables
from settings import load_settings


def main(root: str, folder: str, *chosen: str) -> None:
    deliveries = [Delivery(name, sink, root, folder) for name, sink in sinks_of(load_settings("local", chosen)).items()]
    for delivery in deliveries:
        delivery.start()
    print("sending", flush=True)
    newest: datetime = max(arrow_tables.read(root, ALERTS, ["batch_time"])["batch_time"].to_pylist())
    end = time.monotonic() + 300
    for delivery in deliveries:
        delivery.drain(newest.astimezone(UTC), end - time.monotonic())
    for delivery in deliveries:  # a thread that still reads a table when Python ends can end it with a signal
        delivery.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
