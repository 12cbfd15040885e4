"""From visits to events: many visits at once, as columns. People walk as their site says; programs have a timer."""

from __future__ import annotations

from functools import partial

import numpy as np

from simulation.population import MAX_PROGRAM_VISIT, visit_seconds
from simulation.site import Acts, Population, Site, Visits


def programs(site: Site, visits: Visits, population: Population, rng: np.random.Generator) -> Acts:
    """Run programs' visits on their timers."""
    user, size = visits.user, len(visits)
    seconds = np.zeros(size)
    for code in np.unique(visits.behaviour):
        at = visits.behaviour == code
        seconds[at] = visit_seconds(site.behaviours[code], rng, int(at.sum()))
    period = population.pace[user]
    counts = np.clip(np.round(seconds / period), 1, MAX_PROGRAM_VISIT).astype(np.int64)
    visit = np.repeat(np.arange(size), counts)
    first = np.cumsum(counts) - counts
    place = np.arange(len(visit)) - first[visit]
    jitter = population.jitter[user][visit]
    pause = period[visit] * np.exp(jitter * rng.standard_normal(len(visit)) - jitter**2 / 2)
    rests = np.flatnonzero(rng.random(len(visit)) < 0.01)
    pause[rests] += rng.exponential(30.0, rests.size)
    elapsed = np.cumsum(pause) - pause
    when = visits.start[visit] + elapsed - elapsed[first][visit]
    step = (site.first_steps[visits.behaviour][visit] <= rng.random(len(visit))[:, None]).sum(axis=1)
    return Acts(visit, when, step, site.program_pages(visits, population, visit, place, step, rng))


def act(site: Site, visits: Visits, population: Population, rng: np.random.Generator) -> Acts:
    """All events of these visits."""
    is_program = site.of_behaviours("is_program")[visits.behaviour] > 0
    parts = []
    for at, run in ((np.flatnonzero(~is_program), site.walk), (np.flatnonzero(is_program), partial(programs, site))):
        if at.size:
            acts = run(visits.take(at), population, rng)
            parts.append(Acts(at[acts.visit], acts.seconds, acts.step, acts.page))
    return Acts.together(parts)
