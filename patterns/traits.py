"""What sessions and users are compared by, in numbers and in words.

A trait's value is computed from the last feature row of a session, which knows all of it; a user's from those of the
user's sessions of the day. Means of users are weighted by events, so that a glance counts less than a visit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

NIGHT = (0, 6)
"""Hours of the local night, the first included."""


@dataclass(frozen=True)
class Trait:
    """One thing sessions (users) differ in.

    ``more`` and ``less`` say what a high and a low value mean, as they stand before a noun ("slow", "night") or, in a
    description, with the number (``said``, with ``{}`` for the amount). ``logarithmic`` traits are compared on a log
    scale; shares are not. ``clusters`` is false where the trait follows from others and only helps to describe.
    """

    name: str
    unit: str
    more: str
    less: str
    said: str
    logarithmic: bool = True
    clusters: bool = True
    rank: int = 5
    """Which of two equally telling traits is named first: the smaller."""


def _share(name: str, more: str, less: str, said: str, rank: int = 5) -> Trait:
    return Trait(name, "share", more, less, said, logarithmic=False, rank=rank)


COMMON: tuple[Trait, ...] = (
    Trait("events", "events", "busy", "short", "{} events", rank=3),
    Trait("minutes", "min", "long", "brief", "{} minutes", clusters=False, rank=6),
    Trait("pages", "pages", "wide-ranging", "few-page", "{} pages", clusters=False, rank=7),
    Trait("pause_seconds", "s", "slow", "quick", "{} s between actions", rank=1),
    Trait(
        "variation", "ratio", "restless", "clockwork", "pauses varying {} times their mean", logarithmic=False, rank=2
    ),
    _share("repeat_share", "circling", "ever-moving", "{} of events on a page seen before", rank=4),
    _share("view_share", "looking", "not looking", "{} views"),
    _share("click_share", "clicking", "not clicking", "{} clicks"),
    _share("interaction_share", "form-filling", "never sending", "{} interactions"),
    _share("night_share", "night", "daytime", "{} at night", rank=0),
)
SESSION_TRAITS = COMMON
USER_TRAITS: tuple[Trait, ...] = (
    Trait("sessions", "sessions", "returning", "one-visit", "{} sessions", rank=2),
    *COMMON,
    Trait("hours", "h", "many-hour", "one-hour", "{} active hours of the day", rank=3),
)

TRAITS: Mapping[str, tuple[Trait, ...]] = {"session": SESSION_TRAITS, "user": USER_TRAITS}
"""By unit, in the order in which values, centres and profiles have them."""

MIN_PAUSES = 2
"""With fewer pauses between active seconds nothing can be said of their regularity."""


def session_traits(rows: DataFrame, zone: str) -> DataFrame:
    """One row per session of feature ``rows``: user_id, session_start, and the traits of sessions.

    Args:
        rows: the newest feature row per user and minute; those of whole sessions.
        zone: name of the time zone whose nights are meant, such as ``Europe/Berlin``.
    """
    last = F.max_by(F.struct(*[name for name in rows.columns if name not in KEYS]), F.col("window_start"))
    whole = rows.groupBy(*KEYS).agg(last.alias("last")).select(*KEYS, "last.*")
    local = F.hour(F.from_utc_timestamp(F.col("session_start"), zone))
    enough = F.col("session_active_seconds") > MIN_PAUSES
    values = {
        "events": F.col("session_events"),
        "minutes": F.col("session_minutes"),
        "pages": F.col("distinct_pages_per_session"),
        "pause_seconds": F.col("gap_mean_seconds"),
        "variation": F.when(enough, F.col("gap_variation")),
        "repeat_share": F.when(F.col("session_events") > 1, F.col("repeat_ratio")),
        "view_share": F.col("view_share"),
        "click_share": F.col("click_share"),
        "interaction_share": F.col("interaction_share"),
        "night_share": F.when((local >= NIGHT[0]) & (local < NIGHT[1]), 1.0).otherwise(0.0),
    }
    return whole.select(*KEYS, *[values[trait.name].cast("double").alias(trait.name) for trait in SESSION_TRAITS])


def user_traits(sessions: DataFrame) -> DataFrame:
    """One row per user: user_id and the traits of users, from those of the user's sessions."""

    def weighted(name: str) -> Column:
        known = F.when(F.col(name).isNotNull(), F.col("events"))
        return (F.sum(F.col(name) * F.col("events")) / F.sum(known)).alias(name)

    begin = F.unix_seconds("session_start") / 3600
    through = F.sequence(F.floor(begin), F.floor(begin + (F.col("minutes") - 1) / 60))
    hours = F.flatten(F.collect_list(F.transform(through, lambda hour: F.pmod(hour, F.lit(24)))))
    sums = ("events", "minutes", "pages")
    values = {
        "sessions": F.count("*"),
        **{name: F.sum(name) for name in sums},
        **{trait.name: weighted(trait.name) for trait in COMMON if trait.name not in sums},
        "hours": F.size(F.array_distinct(hours)),
    }
    columns = [values[trait.name].cast("double").alias(trait.name) for trait in USER_TRAITS]
    return sessions.groupBy("user_id").agg(*columns).select("user_id", *[trait.name for trait in USER_TRAITS])


KEYS = ("user_id", "session_start")
