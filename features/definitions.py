"""Each feature in words, once. Docs, reasons, the API and the page all read this list.

The numbers are computed in :mod:`features.kernel`, by these names. "Session so far" means from the session's
first minute up to and including the row's minute: a row never looks at later minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FEATURE_VERSION = "2"
"""Changes whenever a feature's meaning changes. A model is only applied to the version it was trained on."""


@dataclass(frozen=True, kw_only=True)
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
    *, name: str, meaning: str, noun: str, low: str, high: str, strange: Literal["high", "low"] | None = None
) -> Feature:
    return Feature(
        name=name,
        meaning=meaning,
        unit="share",
        noun=noun,
        low=low,
        high=high,
        most=1.0,
        heavy_tail=False,
        strange=strange,
    )


FEATURES: tuple[Feature, ...] = (
    Feature(
        name="clicks_per_minute",
        meaning="clicks in the minute",
        unit="events/min",
        noun="clicks per minute",
        low="little or no clicking",
        high="clicking faster than people do",
    ),
    Feature(
        name="views_per_minute",
        meaning="views in the minute",
        unit="events/min",
        noun="views per minute",
        low="few pages looked at",
        high="pages fetched faster than read",
    ),
    Feature(
        name="interactions_per_minute",
        meaning="interactions (forms, buttons, uploads) in the minute",
        unit="events/min",
        noun="interactions per minute",
        low="only looking",
        high="forms sent again and again",
    ),
    Feature(
        name="events_per_minute",
        meaning="all events in the minute, whatever the action",
        unit="events/min",
        noun="events per minute",
        low="quiet",
        high="more activity than a person makes",
        least=1.0,
    ),
    Feature(
        name="active_seconds",
        meaning="seconds of the minute in which anything happened",
        unit="s",
        noun="active seconds in the minute",
        low="a few bursts",
        high="no pause in the whole minute",
        most=60.0,
        heavy_tail=False,
        least=1.0,
    ),
    Feature(
        name="pages_per_session",
        meaning="pages viewed in the session so far; a page seen again counts again",
        unit="pages",
        noun="pages viewed in this session",
        low="a short visit",
        high="reads more than a visitor would",
    ),
    Feature(
        name="distinct_pages_per_session",
        meaning="different pages touched in the session so far",
        unit="pages",
        noun="different pages in this session",
        low="stays on few pages",
        high="walks through the whole site",
        least=1.0,
        strange="high",
    ),
    Feature(
        name="session_minutes",
        meaning="minutes from the session's first minute to the end of this one",
        unit="min",
        noun="minutes into the session",
        low="just arrived",
        high="stays for very long",
        least=1.0,
        strange="high",
    ),
    Feature(
        name="session_events",
        meaning="events in the session so far",
        unit="events",
        noun="events in this session",
        low="little to judge",
        high="a very busy session",
        least=1.0,
    ),
    Feature(
        name="session_rate",
        meaning="events in the session so far per minute of its length",
        unit="events/min",
        noun="events per minute over the session",
        low="slow",
        high="fast without rest",
    ),
    Feature(
        name="session_peak_rate",
        meaning="events in the busiest minute of the session so far",
        unit="events/min",
        noun="events in the busiest minute",
        low="calm throughout",
        high="at least one burst no person makes",
        least=1.0,
    ),
    Feature(
        name="gap_mean_seconds",
        meaning="mean pause between neighbouring active seconds of the session so far",
        unit="s",
        noun="seconds between actions on average",
        low="acts without pause",
        high="long pauses",
    ),
    Feature(
        name="gap_std_seconds",
        meaning="standard deviation of these pauses",
        unit="s",
        noun="seconds of variation between actions",
        low="as regular as a clock",
        high="bursts and pauses, as people do",
    ),
    Feature(
        name="gap_variation",
        meaning="standard deviation of these pauses divided by their mean",
        unit="ratio",
        noun="variation of pauses against their mean",
        low="as regular as a clock",
        high="bursts and pauses, as people do",
        heavy_tail=False,
        strange="low",
    ),
    Feature(
        name="gap_min_seconds",
        meaning="shortest of these pauses",
        unit="s",
        noun="seconds between actions at least",
        low="acts in a rush at times",
        high="never hurries, as if on a timer",
    ),
    _share(
        name="gap_equal_share",
        meaning="share of pauses in the session so far that equal the pause before",
        noun="of pauses equal to the one before",
        low="irregular, as people are",
        high="a timer at work",
    ),
    _share(
        name="repeat_ratio",
        meaning="share of the session's events so far on a page already touched in it",
        noun="of events on a page seen before",
        low="always something new",
        high="the same pages over and over",
        strange="low",
    ),
    _share(
        name="top_page_share",
        meaning="share of the session's events so far on its most used page",
        noun="of events on one page",
        low="spread over pages",
        high="one page only",
    ),
    _share(
        name="page_concentration",
        meaning="chance that two events of the session so far, drawn with repetition, are on one page",
        noun="chance of the same page twice",
        low="spread over pages",
        high="few pages only",
    ),
    _share(
        name="click_share",
        meaning="share of clicks among the session's events so far",
        noun="of events are clicks",
        low="does not click",
        high="only clicks",
    ),
    _share(
        name="view_share",
        meaning="share of views among the session's events so far",
        noun="of events are views",
        low="does not look at pages",
        high="only fetches pages",
    ),
    _share(
        name="interaction_share",
        meaning="share of interactions among the session's events so far",
        noun="of events are interactions",
        low="never sends anything",
        high="only sends",
    ),
    _share(
        name="new_page_share",
        meaning="share of the session's different pages that the user did not touch in the own past",
        noun="of pages new to this user",
        low="goes the usual ways",
        high="leaves the usual ways",
    ),
    Feature(
        name="own_rate_ratio",
        meaning="events in the minute against the user's own mean per active minute in the own past",
        unit="times",
        noun="times the user's own usual pace",
        low="calmer than usual",
        high="far busier than this user's usual",
    ),
    _share(
        name="own_hours_share",
        meaning="share of the user's active minutes before this session within an hour of this time of day",
        noun="of the user's earlier activity at this time of day",
        low="at hours unusual for this user",
        high="at the user's usual hours",
    ),
    Feature(
        name="own_past_minutes",
        meaning="active minutes of the user in the own past before this session",
        unit="min",
        noun="active minutes known before this session",
        low="a new user",
        high="a user we know well",
    ),
    Feature(
        name="session_active_seconds",
        meaning="seconds of the session so far in which anything happened",
        unit="s",
        noun="active seconds in this session",
        low="little to judge",
        high="a very busy session",
        least=1.0,
    ),
    Feature(
        name="session_active_rate",
        meaning="active seconds of the session so far per minute of its length; what a page loads at once counts once",
        unit="s/min",
        noun="active seconds per minute over the session",
        low="slow",
        high="fast without rest",
        most=60.0,
    ),
    Feature(
        name="recent_events",
        meaning="events in the own past and this minute, over all sessions",
        unit="events",
        noun="events in the own past",
        low="little to judge",
        high="more than a person does in that time",
        least=1.0,
        strange="high",
    ),
    Feature(
        name="recent_minutes",
        meaning="active minutes in the own past and this minute, over all sessions",
        unit="min",
        noun="active minutes in the own past",
        low="little to judge",
        high="hardly ever away",
        least=1.0,
        strange="high",
    ),
    Feature(
        name="recent_hours",
        meaning="different hours of the day with activity in the own past and this minute",
        unit="h",
        noun="different hours of the day with activity",
        low="comes at one time of day",
        high="no night's rest",
        most=24.0,
        least=1.0,
        strange="high",
    ),
    Feature(
        name="form_repeats",
        meaning="interactions in the session so far with a page already interacted with in it",
        unit="interactions",
        noun="times a form was sent again in this session",
        low="sends each form once",
        high="sends the same form again and again",
    ),
    _share(
        name="form_repeat_share",
        meaning="share of the session's events so far that are interactions with a page already interacted with in it",
        noun="of events send a form again",
        low="sends each form once",
        high="does little but send the same form again",
    ),
    Feature(
        name="form_repeats_per_minute",
        meaning="interactions in the session so far with a page already interacted with in it, "
        "per minute of its length",
        unit="events/min",
        noun="repeated forms per minute over the session",
        low="sends each form once",
        high="sends the same form again and again, fast",
    ),
    Feature(
        name="own_volume_ratio",
        meaning=(
            "events in the session so far against the user's own mean per visit in the own past before this session; "
            "a pause longer than a session's gap begins a visit"
        ),
        unit="times",
        noun="times the events of the user's own usual visit",
        low="a short visit for this user",
        high="does far more than this user's usual",
    ),
    _share(
        name="own_mix_shift",
        meaning=(
            "share of the session's events so far whose action would have to be another for clicks, views, "
            "interactions and others to be mixed as in the user's own past before this session"
        ),
        noun="of actions unlike the user's own mix",
        low="does what this user usually does",
        high="does other things than this user usually does",
    ),
    _share(
        name="own_night_share",
        meaning=(
            "share of the session's active minutes so far at times of day at which the user was not active, within an "
            "hour, in the own past before this session"
        ),
        noun="of minutes in the user's own night",
        low="at the user's waking hours",
        high="at hours at which this user is never there",
    ),
    # A new feature goes here; docs/how-to/new-feature.md has the other places.
)

FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
