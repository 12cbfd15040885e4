"""The sinks that ``alerts.sinks`` may name, and how those of a run are made."""

from __future__ import annotations

import importlib

from alerts.sinks.base import AlertSink
from alerts.sinks.jira import JiraSink
from alerts.sinks.kafka import KafkaSink
from alerts.sinks.mail import MailSink
from alerts.sinks.pagerduty import PagerdutySink
from alerts.sinks.security_events import EcsSink, OcsfSink
from alerts.sinks.slack import SlackSink
from alerts.sinks.syslog import SyslogSink
from alerts.sinks.teams import TeamsSink
from alerts.sinks.webhook import WebhookSink
from features.errors import ConfigurationError
from settings import Settings

SINKS: dict[str, type[AlertSink]] = {
    "kafka": KafkaSink,
    "webhook": WebhookSink,
    "slack": SlackSink,
    "teams": TeamsSink,
    "pagerduty": PagerdutySink,
    "jira": JiraSink,
    "mail": MailSink,
    "syslog": SyslogSink,
    "ocsf": OcsfSink,
    "ecs": EcsSink,
}


def sinks_of(settings: Settings) -> dict[str, AlertSink]:
    """The sinks that are switched on, by name; of a class ``package.module:Class`` that is ``package.module.Class``.

    Raises:
        ConfigurationError: a name is unknown, a class cannot be imported or is no sink, or a sink lacks a setting.
    """
    return {name.replace(":", "."): _class(name)(settings) for name in settings.alerts.sink_names}


def _class(name: str) -> type[AlertSink]:
    if name in SINKS:
        return SINKS[name]
    module, colon, class_name = name.partition(":")
    if not colon:
        raise _refused(name, "which is none of these", "Correct the name.")
    try:
        sink_class = getattr(importlib.import_module(module), class_name, None)
    except (ImportError, ValueError) as error:
        raise _refused(
            name, f"which cannot be imported ({error})", "Install its package, or name its folder in PYTHONPATH."
        ) from error
    if not (isinstance(sink_class, type) and issubclass(sink_class, AlertSink)):
        raise _refused(
            name, "which is no such class", "Correct the name, or derive the class from alerts.sinks.base.AlertSink."
        )
    return sink_class


def _refused(name: str, why: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(
        f"Setting alerts.sinks: found {name!r}, {why}; needed: {', '.join(SINKS)}, or a class of AlertSink "
        f"as package.module:Class. {remedy}"
    )
