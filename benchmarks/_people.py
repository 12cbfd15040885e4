"""Simulated people as what tells people apart sees them: traits, counts of acts, and who they really are."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from patterns.acts import REST, Act
from patterns.segments import Floats, Ints
from patterns.traits import TRAITS
from simulation import Scenario, labels, simulate_columns
from simulation.sites import SITES

NAMES = [trait.name for trait in TRAITS["user"]]


def acts_of(site_name: str, action: Ints, page: Ints) -> tuple[list[Act], Ints]:
    """The acts of events, the kind of a page being the first part of it, and which of them each event is."""
    site = SITES[site_name]
    kinds = [f"/{text.strip('/').split('/')[0]}" for text in site.pages]
    done = [(site.actions[one], kinds[other]) for one, other in zip(action.tolist(), page.tolist(), strict=True)]
    names = sorted(set(done))
    number = {name: place for place, name in enumerate(names)}
    return names, np.array([number[act] for act in done])


def measured(scenario: Scenario) -> tuple[Floats, csr_array, tuple[Act, ...], np.ndarray]:
    """Traits (of those told apart by), counts of acts, the acts, and the persona of each user who acts."""
    parts = list(simulate_columns(scenario)[1])
    user, action, page, seconds = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("user", "action", "page", "millis")
    )
    seconds = seconds / 1000
    names, act = acts_of(scenario.site, action, page)
    users, row = np.unique(user, return_inverse=True)
    counts = csr_array((np.ones(len(row)), (row, act)), shape=(len(users), len(names) + 1))
    counts.sum_duplicates()
    order = np.lexsort((seconds, row))
    row, when = row[order], seconds[order]
    pause = np.diff(when, prepend=np.nan)
    pause[np.diff(row, prepend=-1) > 0] = np.nan
    goes_on = pause <= 1800
    events = np.bincount(row)
    values = np.full((len(users), len(NAMES)), np.nan)
    values[:, NAMES.index("events")] = events
    values[:, NAMES.index("sessions")] = np.bincount(row[~goes_on], minlength=len(users))
    own = np.bincount(row[goes_on], weights=pause[goes_on], minlength=len(users))
    pauses = np.bincount(row[goes_on], minlength=len(users))
    values[:, NAMES.index("pause_seconds")] = np.where(pauses > 0, own / np.maximum(pauses, 1), np.nan)
    hours = np.unique(np.column_stack([row, when // 3600]), axis=0)
    values[:, NAMES.index("hours")] = np.bincount(hours[:, 0].astype(int), minlength=len(users))
    night = np.bincount(row, weights=(when // 3600 % 24 < 6), minlength=len(users))
    values[:, NAMES.index("night_share")] = night / events
    persona = np.array([label.persona for label in labels(scenario)])[users]
    return values, counts, (*names, REST), persona
