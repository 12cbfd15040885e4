"""Each feature in words, once. Docs, reasons, the API and the page all read this list.

The numbers are computed in :mod:`features.behavior`; a test holds the two lists together.
"Session so far" means from the session's first minute up to and including the row's minute:
a row never looks at later minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

FEATURE_VERSION = "1"
"""Changes whenever a feature's meaning changes. A model is only applied to the version it was trained on."""


@dataclass(frozen=True)
class Feature:
    """A behaviour feature.

    ``noun`` completes the sentence "212 …; usually 4". ``low``/``high`` say what the ends mean.
    ``upper`` is None where there is no natural bound. ``heavy_tail`` features are compared on a log scale.
    """

    name: str
    meaning: str
    unit: str
    noun: str
    low: str
    high: str
    upper: float | None = None
    heavy_tail: bool = True


FEATURES: tuple[Feature, ...] = (
    Feature("clicks_per_minute", "clicks in the minute", "events/min", "clicks per minute", "little or no clicking", "clicking faster than people do"),
    Feature("views_per_minute", "views in the minute", "events/min", "views per minute", "few pages looked at", "pages fetched faster than read"),
    Feature("interactions_per_minute", "interactions (forms, buttons, uploads) in the minute", "events/min", "interactions per minute", "only looking", "forms sent again and again"),
    Feature("events_per_minute", "all events in the minute, whatever the action", "events/min", "events per minute", "quiet", "more activity than a person makes"),
    Feature("active_seconds", "seconds of the minute in which anything happened", "s", "active seconds in the minute", "a few bursts", "no pause in the whole minute", 60.0, heavy_tail=False),
    Feature("pages_per_session", "pages viewed in the session so far (views; pages seen again count again)", "pages", "pages in this session", "a short visit", "reads more than a visitor would"),
    Feature("distinct_pages_per_session", "different pages touched in the session so far", "pages", "different pages in this session", "stays on few pages", "walks through the site"),
    Feature("session_minutes", "minutes from the session's start to the end of this minute", "min", "minutes into the session", "just arrived", "stays for very long"),
    Feature("session_events", "events in the session so far", "events", "events in this session", "little to judge", "a very busy session"),
    Feature("session_rate", "events in the session so far per minute of its length", "events/min", "events per minute over the session", "slow", "fast without rest"),
    Feature("gap_mean_seconds", "mean pause between active seconds of the session so far", "s", "seconds between actions on average", "acts without pause", "long pauses"),
    Feature("gap_std_seconds", "standard deviation of these pauses", "s", "seconds of variation between actions", "as regular as a clock", "bursts and pauses, as people do"),
    Feature("gap_min_seconds", "shortest pause between active seconds of the session so far", "s", "seconds at least between actions", "acts in a rush at times", "never hurries, as if on a timer"),
    Feature("gap_equal_share", "share of pauses in the session so far that equal the pause before", "share", "of pauses equal to the one before", "irregular, as people are", "a timer at work", 1.0, heavy_tail=False),
    Feature("repeat_ratio", "share of the session's events so far on a page already touched in it", "share", "of events on a page seen before", "always something new", "the same page over and over", 1.0, heavy_tail=False),
    Feature("top_page_share", "share of the session's events so far on its most used page", "share", "of events on one page", "spread over pages", "one page only", 1.0, heavy_tail=False),
    Feature("click_share", "share of clicks among the session's events so far", "share", "of events are clicks", "does not click", "only clicks", 1.0, heavy_tail=False),
    Feature("view_share", "share of views among the session's events so far", "share", "of events are views", "does not look at pages", "only fetches pages", 1.0, heavy_tail=False),
    Feature("interaction_share", "share of interactions among the session's events so far", "share", "of events are interactions", "never sends anything", "only sends", 1.0, heavy_tail=False),
    Feature("own_rate_ratio", "events in the minute divided by the user's own mean per active minute in the look-back before it; null without a past", "times", "times the user's own usual pace", "calmer than usual", "far busier than usual for this user"),
    Feature("own_past_minutes", "active minutes of the user in the look-back before this session", "min", "active minutes known before this session", "a new user", "a user we know well"),
)

FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
