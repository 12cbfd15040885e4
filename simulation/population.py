"""The users of a scenario: who they are, before anything happens.

Every attribute is drawn from a stream of its own, so the first n users of a seed are the same in a larger
population, and the same people come back in every run with that seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from simulation.site import Floats, Ints, Persona, Population, Site

PLATFORMS = ("web", "android", "ios")
MAX_PROGRAM_VISIT = 3000
"""Most events of one visit of a program."""

NAMES, PERSONA_DRAW, PACE, JITTER, VISITS, FAVOURITE, HOUR, PLATFORM, SESSIONS, MOMENT, STRIDE = range(11)


def rhythm(hours: Floats) -> Floats:
    """Traffic by hour of the day (UTC) against the day's mean: quiet at night, busiest in the evening."""
    curve: Floats = 1.0 + 0.6 * np.cos(2 * np.pi * (hours - 19.5) / 24)
    return curve


def persona_codes(draws: Floats, mix: Mapping[str, float], site: Site) -> Ints:
    """A persona for each draw in [0, 1); the first users are one of each, so that none is missing."""
    weights = np.array([max(mix.get(persona.name, 0.0), 0.0) for persona in site.personas])
    codes = np.searchsorted(np.cumsum(weights / weights.sum()), draws, side="right").astype(np.int64)
    present = np.flatnonzero(weights)
    guaranteed = min(len(present), len(codes))
    codes[:guaranteed] = present[::-1][:guaranteed]
    return np.minimum(codes, len(site.personas) - 1)


def visit_events(persona: Persona, rng: np.random.Generator, size: int) -> Ints:
    """How many events visits of people of this kind have."""
    counts = 1 + np.floor(rng.lognormal(np.log(persona.events), persona.events_spread, size)).astype(np.int64)
    bounced = rng.random(size) < persona.bounces
    counts[bounced] = 1 + (rng.random(int(bounced.sum())) < 0.4)
    return np.minimum(counts, persona.longest)


def visit_seconds(persona: Persona, rng: np.random.Generator, size: int) -> Floats:
    """How long visits of a program of this kind last."""
    return 60.0 * rng.lognormal(np.log(persona.minutes), persona.minutes_spread, size)


@cache
def mean_events(site: Site, code: int) -> float:
    """Mean number of events of a visit of a behaviour, over its users."""
    persona = site.behaviours[code]
    rng = np.random.default_rng(code)
    if not persona.is_program:
        return float(visit_events(persona, rng, 20_000).mean())
    rates = rng.lognormal(np.log(persona.per_minute / 60), persona.per_minute_spread, 20_000)
    return float(np.clip(rates * visit_seconds(persona, rng, 20_000), 1, MAX_PROGRAM_VISIT).mean())


def mean_events_of(mix: Mapping[str, float], site: Site) -> float:
    """Mean number of events of a visit, over all visits of a mix."""
    weights = np.array([mix.get(persona.name, 0.0) * persona.visits for persona in site.personas])
    if not weights.any():
        return mean_events(site, 0)
    return float(np.average([mean_events(site, code) for code in range(len(site.personas))], weights=weights))


def populate(users: int, seed: int, mix: Mapping[str, float], site: Site) -> Population:
    """Draw ``users`` users; the same seed and mix give the same first users whatever their number."""

    def stream(attribute: int) -> np.random.Generator:
        return np.random.default_rng([seed, attribute])

    personas, sections = site.personas, site.section_ranks
    codes = persona_codes(stream(PERSONA_DRAW).random(users), mix, site)

    def of(values: list[float]) -> Floats:
        return np.array(values, dtype=np.float64)[codes]

    programs = of([persona.is_program for persona in personas]) > 0
    centre = [60 / persona.per_minute if persona.is_program else persona.pace for persona in personas]
    spread = [persona.per_minute_spread if persona.is_program else persona.pace_spread for persona in personas]
    pace = of(centre) * np.exp(of(spread) * stream(PACE).standard_normal(users))
    jitter_spread = of([persona.jitter_spread for persona in personas])
    jitter = of([persona.jitter for persona in personas])
    jitter = jitter * np.exp(jitter_spread * stream(JITTER).standard_normal(users))
    usual_events = of([0.0 if persona.is_program else mean_events(site, code) for code, persona in enumerate(personas)])
    usual_seconds = of([60 * p.minutes * np.exp(p.minutes_spread**2 / 2) if p.is_program else 0.0 for p in personas])
    grid = np.arange(0, 24, 0.25)
    hours = np.interp(stream(HOUR).random(users), np.cumsum(rhythm(grid)) / rhythm(grid).sum(), grid)
    names = stream(NAMES).bytes(8 * users).hex()
    strides = stream(STRIDE)
    return Population(
        names=[f"u{names[at : at + 16]}" for at in range(0, 16 * users, 16)],
        persona=codes,
        pace=pace,
        jitter=np.minimum(jitter, 1.0),
        visits=of([p.visits for p in personas]) * np.exp(0.7 * stream(VISITS).standard_normal(users)),
        events=np.where(programs, np.clip(usual_seconds / pace, 1, MAX_PROGRAM_VISIT), usual_events),
        favourite=np.minimum(np.searchsorted(sections, stream(FAVOURITE).random(users)), len(sections) - 1),
        hour=hours,
        own_hours=np.where(programs, 0.0, of([p.own_hours for p in personas])),
        platform=stream(PLATFORM).integers(0, len(PLATFORMS), users),
        sends_session=(stream(SESSIONS).random(users) < 0.6).astype(np.int64),
        moment=stream(MOMENT).random(users),
        start_item=strides.integers(0, site.items, users),
        stride=np.array([1, 1, 7, 37])[stream(STRIDE + 1).integers(0, 4, users)],
    )
