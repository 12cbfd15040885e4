"""Each feature in words, once. Docs, reasons, the API and the page all read this list.

The numbers are computed in :mod:`features.kernel`, in this order. "Session so far" means from the session's
first minute up to and including the row's minute: a row never looks at later minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FEATURE_VERSION = "2"
"""Changes whenever a feature's meaning changes. A model is only applied to the version it was trained on."""


@dataclass(frozen=True)
class Feature:
    """A behaviour feature.

    ``noun`` completes the sentence "212 …; usually 4". ``low`` and ``high`` say what the ends mean.
    ``least`` and ``most`` bound the value; None: no natural bound.
    ``heavy_tail`` features are compared on a log scale.
    ``strange`` is the end that the default model takes as strange, "high" or "low"; values beyond the typical one on
    the other side count as typical (having little to say is not strange). None: both ends.
    """

    name: str
    meaning: str
    unit: str
    noun: str
    low: str
    high: str
    most: float | None = None
    heavy_tail: bool = True
    least: float = 0.0
    strange: Literal["high", "low"] | None = None


def _share(
    name: str, meaning: str, noun: str, low: str, high: str, strange: Literal["high", "low"] | None = None
) -> Feature:
    return Feature(name, meaning, "share", noun, low, high, most=1.0, heavy_tail=False, strange=strange)


FEATURES: tuple[Feature, ...] = (
    Feature(
        "clicks_per_minute",
        "clicks in the minute",
        "events/min",
        "clicks per minute",
        "little or no clicking",
        "clicking faster than people do",
    ),
    Feature(
        "views_per_minute",
        "views in the minute",
        "events/min",
        "views per minute",
        "few pages looked at",
        "pages fetched faster than read",
    ),
    Feature(
        "interactions_per_minute",
        "interactions (forms, buttons, uploads) in the minute",
        "events/min",
        "interactions per minute",
        "only looking",
        "forms sent again and again",
    ),
    Feature(
        "events_per_minute",
        "all events in the minute, whatever the action",
        "events/min",
        "events per minute",
        "quiet",
        "more activity than a person makes",
        least=1.0,
    ),
    Feature(
        "active_seconds",
        "seconds of the minute in which anything happened",
        "s",
        "active seconds in the minute",
        "a few bursts",
        "no pause in the whole minute",
        most=60.0,
        heavy_tail=False,
        least=1.0,
    ),
    Feature(
        "pages_per_session",
        "pages viewed in the session so far; a page seen again counts again",
        "pages",
        "pages viewed in this session",
        "a short visit",
        "reads more than a visitor would",
    ),
    Feature(
        "distinct_pages_per_session",
        "different pages touched in the session so far",
        "pages",
        "different pages in this session",
        "stays on few pages",
        "walks through the whole site",
        least=1.0,
        strange="high",
    ),
    Feature(
        "session_minutes",
        "minutes from the session's first minute to the end of this one",
        "min",
        "minutes into the session",
        "just arrived",
        "stays for very long",
        least=1.0,
        strange="high",
    ),
    Feature(
        "session_events",
        "events in the session so far",
        "events",
        "events in this session",
        "little to judge",
        "a very busy session",
        least=1.0,
    ),
    Feature(
        "session_rate",
        "events in the session so far per minute of its length",
        "events/min",
        "events per minute over the session",
        "slow",
        "fast without rest",
    ),
    Feature(
        "session_peak_rate",
        "events in the busiest minute of the session so far",
        "events/min",
        "events in the busiest minute",
        "calm throughout",
        "at least one burst no person makes",
        least=1.0,
    ),
    Feature(
        "gap_mean_seconds",
        "mean pause between neighbouring active seconds of the session so far",
        "s",
        "seconds between actions on average",
        "acts without pause",
        "long pauses",
    ),
    Feature(
        "gap_std_seconds",
        "standard deviation of these pauses",
        "s",
        "seconds of variation between actions",
        "as regular as a clock",
        "bursts and pauses, as people do",
    ),
    Feature(
        "gap_variation",
        "standard deviation of these pauses divided by their mean",
        "ratio",
        "variation of pauses against their mean",
        "as regular as a clock",
        "bursts and pauses, as people do",
        heavy_tail=False,
        strange="low",
    ),
    Feature(
        "gap_min_seconds",
        "shortest of these pauses",
        "s",
        "seconds between actions at least",
        "acts in a rush at times",
        "never hurries, as if on a timer",
    ),
    _share(
        "gap_equal_share",
        "share of pauses in the session so far that equal the pause before",
        "of pauses equal to the one before",
        "irregular, as people are",
        "a timer at work",
    ),
    _share(
        "repeat_ratio",
        "share of the session's events so far on a page already touched in it",
        "of events on a page seen before",
        "always something new",
        "the same pages over and over",
        strange="low",
    ),
    _share(
        "top_page_share",
        "share of the session's events so far on its most used page",
        "of events on one page",
        "spread over pages",
        "one page only",
    ),
    _share(
        "page_concentration",
        "chance that two events of the session so far, drawn with repetition, are on one page",
        "chance of the same page twice",
        "spread over pages",
        "few pages only",
    ),
    _share(
        "click_share",
        "share of clicks among the session's events so far",
        "of events are clicks",
        "does not click",
        "only clicks",
    ),
    _share(
        "view_share",
        "share of views among the session's events so far",
        "of events are views",
        "does not look at pages",
        "only fetches pages",
    ),
    _share(
        "interaction_share",
        "share of interactions among the session's events so far",
        "of events are interactions",
        "never sends anything",
        "only sends",
    ),
    _share(
        "new_page_share",
        "share of the session's different pages that the user did not touch in the own past",
        "of pages new to this user",
        "goes the usual ways",
        "leaves the usual ways",
    ),
    Feature(
        "own_rate_ratio",
        "events in the minute against the user's own mean per active minute in the own past",
        "times",
        "times the user's own usual pace",
        "calmer than usual",
        "far busier than this user's usual",
    ),
    _share(
        "own_hours_share",
        "share of the user's active minutes before this session within an hour of this time of day",
        "of the user's earlier activity at this time of day",
        "at hours unusual for this user",
        "at the user's usual hours",
    ),
    Feature(
        "own_past_minutes",
        "active minutes of the user in the own past before this session",
        "min",
        "active minutes known before this session",
        "a new user",
        "a user we know well",
    ),
    Feature(
        "session_active_seconds",
        "seconds of the session so far in which anything happened",
        "s",
        "active seconds in this session",
        "little to judge",
        "a very busy session",
        least=1.0,
    ),
    Feature(
        "session_active_rate",
        "active seconds of the session so far per minute of its length; what a page loads at once counts once",
        "s/min",
        "active seconds per minute over the session",
        "slow",
        "fast without rest",
        most=60.0,
    ),
    Feature(
        "recent_events",
        "events in the own past and this minute, over all sessions",
        "events",
        "events in the own past",
        "little to judge",
        "more than a person does in that time",
        least=1.0,
        strange="high",
    ),
    Feature(
        "recent_minutes",
        "active minutes in the own past and this minute, over all sessions",
        "min",
        "active minutes in the own past",
        "little to judge",
        "hardly ever away",
        least=1.0,
        strange="high",
    ),
    Feature(
        "recent_hours",
        "different hours of the day with activity in the own past and this minute",
        "h",
        "different hours of the day with activity",
        "comes at one time of day",
        "no night's rest",
        most=24.0,
        least=1.0,
        strange="high",
    ),
    Feature(
        "form_repeats",
        "interactions in the session so far with a page already interacted with in it",
        "interactions",
        "times a form was sent again in this session",
        "sends each form once",
        "sends the same form again and again",
    ),
    _share(
        "form_repeat_share",
        "share of the session's events so far that are interactions with a page already interacted with in it",
        "of events send a form again",
        "sends each form once",
        "does little but send the same form again",
    ),
    Feature(
        "form_repeats_per_minute",
        "interactions in the session so far with a page already interacted with in it, per minute of its length",
        "events/min",
        "repeated forms per minute over the session",
        "sends each form once",
        "sends the same form again and again, fast",
    ),
    Feature(
        "own_volume_ratio",
        "events in the session so far against the user's own mean per visit in the own past before this session; "
        "a pause longer than a session's gap begins a visit",
        "times",
        "times the events of the user's own usual visit",
        "a short visit for this user",
        "does far more than this user's usual",
    ),
    _share(
        "own_mix_shift",
        "share of the session's events so far whose action would have to be another for clicks, views, interactions "
        "and others to be mixed as in the user's own past before this session",
        "of actions unlike the user's own mix",
        "does what this user usually does",
        "does other things than this user usually does",
    ),
    _share(
        "own_night_share",
        "share of the session's active minutes so far at times of day at which the user was not active, within an "
        "hour, in the own past before this session",
        "of minutes in the user's own night",
        "at the user's waking hours",
        "at hours at which this user is never there",
    ),
)

FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
