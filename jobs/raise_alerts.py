"""Raise one alert per user and session that was scored as anomalous, revise it, close it, and send it on.

Reads tables scores, feedback and its own; writes tables alerts and risk, and sends to the sinks of alerts.sinks, among
them Kafka's kafka.alerts_topic and the webhook alerts.webhook. Needs no Spark.
"""

from __future__ import annotations

from alerts.stream import AlertStream, raise_once
from settings import cli, load_settings
from telemetry.logs import to_terminal


def main(env: cli.Environment = "local", overrides: cli.Overrides = None, once: cli.Once = False) -> None:
    """Raise alerts. Reads scores and feedback; writes alerts and risk, and sends to the sinks of alerts.sinks."""
    settings = load_settings(env, overrides or ())
    to_terminal()
    stop = cli.stop_signal()
    if once:
        raise_once(settings)
        return
    stream = AlertStream(settings)
    try:
        stream.start()
        stream.wait(stop)
    finally:
        stream.stop()


if __name__ == "__main__":
    cli.run(main)
