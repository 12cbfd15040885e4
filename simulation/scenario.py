"""What can be asked of the simulator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from features.errors import UsageError
from simulation.site import Site
from simulation.sites import SITES


@dataclass(frozen=True)
class Scenario:
    """A population and a span of event time; the same scenario always gives the same events.

    ``rate`` is the mean number of events per second of all users together. ``users`` is the population; left out,
    it follows from the rate. ``duration`` None is endless. ``mix`` are the shares of users by persona, the site's own
    where it is left out. ``site`` is a name of :data:`simulation.sites.SITES`.
    ``daily_rhythm`` makes nights quiet and evenings busy around the mean. The same seed gives the same people
    whatever the start, so a live run continues a history of the same seed; what they do depends on the start too.

    Raises :class:`features.errors.UsageError` for values that make no sense.
    """

    start: datetime
    rate: float = 100.0
    duration: timedelta | None = None
    seed: int = 17
    users: int | None = None
    mix: Mapping[str, float] | None = field(default=None, hash=False)
    daily_rhythm: bool = False
    site: str = "shop"

    def __post_init__(self) -> None:
        if self.start.tzinfo is None:
            raise UsageError(f"A scenario starts at a time with a zone; {self.start.isoformat()} has none.")
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise UsageError(f"The rate must be a number of events per second above 0; {self.rate:g} was given.")
        if self.users is not None and self.users < 1:
            raise UsageError(f"A scenario needs at least 1 user; {self.users} were asked for.")
        if self.duration is not None and self.duration <= timedelta(0):
            raise UsageError(f"The duration must be longer than nothing; {self.duration} was given.")
        if self.seed < 0:
            raise UsageError(f"The seed must be 0 or more; {self.seed} was given.")
        if self.site not in SITES:
            raise UsageError(f"There is no simulated site {self.site}; there are {', '.join(SITES)}.")
        known, shares = self.place.code, self.shares
        unknown = sorted(set(shares) - set(known))
        if unknown:
            raise UsageError(f"There is no persona {', '.join(unknown)}; there are {', '.join(known)}.")
        if not any(share > 0 for share in shares.values()) or min(shares.values()) < 0:
            raise UsageError(f"The mix needs shares of 0 or more, and one above 0; {dict(shares)} was given.")

    @property
    def place(self) -> Site:
        """The site."""
        return SITES[self.site]

    @property
    def shares(self) -> Mapping[str, float]:
        """Shares of users by persona."""
        return self.place.mix if self.mix is None else self.mix

    @property
    def seconds(self) -> float:
        """The duration in seconds; infinite if endless."""
        return math.inf if self.duration is None else self.duration.total_seconds()
