"""The one pass as a service: alerts that fail are tried again, and end nothing."""

from __future__ import annotations

import pytest

from features.errors import BehaviorError, EnvironmentProblem
from pipeline import service
from settings import Settings, load_settings


class Stream:
    """Stands for the thread that raises alerts."""

    made: list[Stream]

    def __init__(self, _: Settings) -> None:
        self.failure: BehaviorError | None = None
        self.started = self.stopped = False
        self.woken = 0
        self.made.append(self)

    def start(self) -> None:
        self.started = True
        if len(self.made) == 3:
            raise EnvironmentProblem("the storage is away")

    def wake(self) -> None:
        self.woken += 1

    def stop(self) -> None:
        self.stopped = True


def test_alerts_that_failed_are_raised_again_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    Stream.made, now = [], 0.0
    monkeypatch.setattr(service, "monotonic", lambda: now)
    monkeypatch.setattr(service, "AlertStream", Stream)
    alerts = service.Alerts(load_settings("local"))
    alerts.wake()  # before there are any
    alerts.look_after()
    alerts.look_after()
    assert len(Stream.made) == 1
    Stream.made[0].failure = BehaviorError("another process raises alerts, too")
    alerts.look_after()
    alerts.look_after()
    assert len(Stream.made) == 1
    assert Stream.made[0].stopped
    now += service.PAUSE_SECONDS
    alerts.look_after()
    alerts.wake()
    assert (len(Stream.made), Stream.made[1].woken) == (2, 1)
    Stream.made[1].failure = BehaviorError("again")
    alerts.look_after()
    now += service.PAUSE_SECONDS
    alerts.look_after()  # the third cannot start
    assert Stream.made[2].stopped
    now += service.PAUSE_SECONDS
    alerts.look_after()
    assert [len(Stream.made), Stream.made[3].started] == [4, True]
