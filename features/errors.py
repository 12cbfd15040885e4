"""The errors of the platform: every one says what was found, what was needed and what to do."""

from __future__ import annotations


class BehaviorError(Exception):
    """Base of all errors a user can cause or mend. Jobs print it as one sentence and exit with :attr:`exit_code`."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the sentence in place of a trace."""
        return [f"{type(self).__name__}: {self}"]


class ConfigurationError(BehaviorError):
    """A setting is unknown, has the wrong type or contradicts another one."""

    exit_code = 2


class UsageError(BehaviorError):
    """A command was called with arguments that cannot be taken."""

    exit_code = 2


class SchemaError(BehaviorError):
    """A frame or table lacks a column, or holds it with another type than :mod:`features.tables` declares."""


class DataLossError(BehaviorError):
    """Going on would lose or double records: Kafka's offsets and our tables do not agree."""


class ModelError(BehaviorError):
    """A model is missing, damaged, of another feature version, or not to be trusted."""


class TooFewRows(ModelError):
    """There is not enough behaviour to learn from yet: later there may be."""


class EnvironmentProblem(BehaviorError):
    """The machine lacks something: Java, a port, disk space, a reachable service."""
