"""The simulated forum: other pages, other names of actions and other habits than the shop's.

A visit is no walk from page to page: people look at a list, open some threads of it in tabs one right after the other,
and then read these. How long they stay follows Weibull's law with a shape below 1, as dwell times on pages do (Liu,
White and Dumais, SIGIR 2010). What people do is named by the forum's own words; few of them are clicks or views.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from simulation.population import visit_events
from simulation.site import Acts, Floats, Ints, Population, Site, Step, Visits, draw, zipf_cumulative
from simulation.sites.forum_people import HONEST_BUT_STRANGE, INTRUDER, PERSONAS

BOARDS, THREADS_PER_BOARD, MEMBERS, ANNOUNCEMENTS = 25, 160, 3000, 12
THREADS = BOARDS * THREADS_PER_BOARD
FIXED = ("/", "/search", "/inbox", "/login", "/settings", "/reports", "/new")
BOARD_AT = len(FIXED)
ANNOUNCEMENT_AT = BOARD_AT + BOARDS
THREAD_AT = ANNOUNCEMENT_AT + ANNOUNCEMENTS
MEMBER_AT = THREAD_AT + THREADS
PAGES: tuple[str, ...] = (
    *FIXED,
    *(f"/board/{n}" for n in range(1, BOARDS + 1)),
    *(f"/announcement/{n}" for n in range(1, ANNOUNCEMENTS + 1)),
    *(f"/thread/{n}" for n in range(1, THREADS + 1)),
    *(f"/member/{n}" for n in range(1, MEMBERS + 1)),
)
ACTIONS: tuple[str, ...] = (
    "page_view", "open_tab", "read", "vote", "reply", "thread_created", "message_read", "message_sent", "login",
    "search", "report", "profile_changed", "export",
)  # fmt: skip

BOARD, ANNOUNCEMENT, THREAD, MEMBER = -1, -2, -3, -4
"""Kinds of pages a step leads to; a code of FIXED is its own kind."""

STEPS: tuple[Step, ...] = (
    # What a part of a visit begins with.
    Step("home", "page_view", 0, 6.0, 0.8),
    Step("board", "page_view", BOARD, 7.0, 0.8),
    Step("announcement", "page_view", ANNOUNCEMENT, 25.0, 0.7),
    Step("search", "search", 1, 9.0, 0.9),
    Step("inbox", "page_view", 2, 5.0, 0.9),
    Step("login", "login", 3, 5.0, 1.2),
    Step("forgotten", "login", 3, 7.0, 1.2),
    Step("settings", "page_view", 4, 12.0, 0.8),
    Step("reports", "page_view", 5, 6.0, 0.9),
    Step("new", "page_view", 6, 45.0, 0.8),
    Step("watch", "page_view", THREAD, 25.0, 1.6),
    Step("export", "export", MEMBER, 20.0, 1.0),
    # What follows.
    Step("open", "open_tab", THREAD, 1.1, 1.3),
    Step("read", "read", THREAD, 35.0, 0.6),
    Step("vote", "vote", THREAD, 2.0, 0.9),
    Step("reply", "reply", THREAD, 50.0, 0.7),
    Step("message_read", "message_read", 2, 10.0, 0.8),
    Step("message", "message_sent", MEMBER, 35.0, 0.8),
    Step("member", "page_view", MEMBER, 8.0, 0.8),
    Step("create", "thread_created", BOARD, 10.0, 0.9),
    Step("change", "profile_changed", 4, 9.0, 1.0),
    Step("decide", "report", THREAD, 4.0, 0.9),
)  # fmt: skip
"""``dwell`` is the scale of a Weibull stay in seconds, ``spread`` its shape."""
DWELL = np.array([step.dwell for step in STEPS])
SHAPE = np.array([step.spread for step in STEPS])
STEP = {step.name: code for code, step in enumerate(STEPS)}

BOARD_RANKS = zipf_cumulative(BOARDS, 0.8)
THREAD_RANKS = zipf_cumulative(THREADS_PER_BOARD, 0.9)
LONGEST, AWAY = 1500.0, 0.03
"""Seconds of the longest stay, and the share of steps at which a person turns to something else."""
MOST_TABS = 12


class _Parts:
    """Parts of visits, flat, as they are filled with events: each event has its part and its place in it."""

    def __init__(self, visit: Ints, part: Ints, board: Ints, rng: np.random.Generator) -> None:
        self.visit, self.part, self.board, self.rng = visit, part, board, rng
        self.columns: list[tuple[Ints, Ints, Ints, Ints]] = []

    def of(self, *names: str) -> Ints:
        """The parts that begin with one of these steps."""
        return np.flatnonzero(np.isin(self.part, [STEP[name] for name in names]))

    def times(self, at: Ints, mean: float, least: int = 0) -> tuple[Ints, Ints]:
        """Each of these parts so many times, geometrically distributed, and the number of each in its part."""
        counts = np.minimum(least + self.rng.geometric(1 / (1 + mean), len(at)) - 1, MOST_TABS)
        repeated = np.repeat(at, counts)
        first = np.cumsum(counts) - counts
        return repeated, np.arange(len(repeated)) - np.repeat(first, counts)

    def thread(self, at: Ints) -> Ints:
        """A thread of each part's board."""
        return THREAD_AT + self.board[at] * THREADS_PER_BOARD + draw(THREAD_RANKS, self.rng, len(at))

    def add(self, at: Ints, place: Ints | int, step: str, page: Ints | int) -> None:
        """An event of each of these parts."""
        size = len(at)
        self.columns.append(
            (at, np.broadcast_to(place, size), np.full(size, STEP[step]), np.broadcast_to(page, size)),
        )

    def some(self, share: float, *columns: Ints) -> tuple[Ints, ...]:
        """A share of these events, by chance."""
        chosen = self.rng.random(len(columns[0])) < share
        return tuple(column[chosen] for column in columns)


def people(visits: Visits, population: Population, rng: np.random.Generator) -> Acts:
    """People's visits: parts one after another, and in each what it is made of."""
    counts = np.zeros(len(visits), np.int64)
    for code in np.unique(visits.behaviour):
        at = visits.behaviour == code
        counts[at] = visit_events(FORUM.behaviours[code], rng, int(at.sum()))
    number = counts // 2 + 1
    visit = np.repeat(np.arange(len(visits)), number)
    is_first = np.concatenate(([True], visit[1:] != visit[:-1])) if len(visit) else np.zeros(0, bool)
    behaviour = visits.behaviour[visit]
    odds = np.where(is_first[:, None], FORUM.first_steps[behaviour], _usual_parts()[behaviour])
    part = (odds <= rng.random(len(visit))[:, None]).sum(axis=1)
    own = rng.random(len(visit)) < FORUM.of_behaviours("faithful")[behaviour]
    board = np.where(own, population.favourite[visits.user[visit]], draw(BOARD_RANKS, rng, len(visit)))
    parts = _Parts(visit, part, board, rng)
    _fill(parts, visits, population)
    return _in_time(parts, visits, counts, population)


def _fill(parts: _Parts, visits: Visits, population: Population) -> None:
    """What each part is made of."""
    user = visits.user[parts.visit]
    every = np.arange(len(parts.visit))
    pages = FORUM.step_page[parts.part]
    pages = np.where(pages == BOARD, BOARD_AT + parts.board, pages)
    pages = np.where(pages == ANNOUNCEMENT, ANNOUNCEMENT_AT + visits.campaign[parts.visit], pages)
    watched = THREAD_AT + parts.board * THREADS_PER_BOARD + population.start_item[user] % 20
    pages = np.where(pages == THREAD, watched, pages)
    own = MEMBER_AT + population.start_item[user] % MEMBERS
    pages = np.where(pages == MEMBER, own, pages)
    parts.columns.append((every, np.zeros(len(every), np.int64), parts.part, pages))
    # Lists: tabs opened one right after the other, then read.
    at, tab = parts.times(parts.of("board", "search", "home", "reports", "announcement"), 1.6)
    thread = parts.thread(at)
    parts.add(at, 1 + tab, "open", thread)
    parts.add(at, 100 + 10 * tab, "read", thread)
    some, of_tab, page = parts.some(0.25, at, tab, thread)
    parts.add(some, 102 + 10 * of_tab, "vote", page)
    some, of_tab, page = parts.some(0.1, at, tab, thread)
    parts.add(some, 103 + 10 * of_tab, "reply", page)
    judged = np.flatnonzero(parts.part[at] == STEP["reports"])
    parts.add(at[judged], 101 + 10 * tab[judged], "decide", thread[judged])
    # Messages to few friends.
    at, message = parts.times(parts.of("inbox"), 1.2)
    parts.add(at, 1 + 2 * message, "message_read", 2)
    some, of_message = parts.some(0.5, at, message)
    friend = (population.start_item[user[some]] + 17 * parts.rng.integers(1, 4, len(some))) % MEMBERS
    parts.add(some, 2 + 2 * of_message, "message", MEMBER_AT + friend)
    # A page looked at again and again; a password tried again and again, and then changed.
    at, again = parts.times(parts.of("watch"), 4.0)
    parts.add(at, 1 + again, "watch", watched[at])
    at, again = parts.times(parts.of("forgotten"), 3.0, 2)
    parts.add(at, 1 + again, "forgotten", 3)
    at = np.concatenate([parts.of("forgotten"), parts.some(0.4, parts.of("settings"))[0]])
    parts.add(at, 50, "change", 4)
    (at,) = parts.some(0.7, parts.of("new"))
    parts.add(at, 1, "create", BOARD_AT + parts.board[at])


def _in_time(parts: _Parts, visits: Visits, counts: Ints, population: Population) -> Acts:
    """The events of parts in their order, each visit cut where it has enough, with stays between them."""
    of_part, place, step, page = (np.concatenate(column) for column in zip(*parts.columns, strict=True))
    order = np.lexsort((place, of_part))
    of_part, step, page = of_part[order], step[order], page[order]
    visit = parts.visit[of_part]
    starts = np.searchsorted(visit, np.arange(len(visits)))
    kept = np.arange(len(visit)) - starts[visit] < counts[visit]
    visit, step, page = visit[kept], step[kept], page[kept]
    is_intruder = visits.behaviour == FORUM.intruder_code
    pace = np.where(is_intruder, FORUM.intruder.pace, population.pace[visits.user])
    stay = DWELL[step] * parts.rng.weibull(SHAPE[step]) * pace[visit]
    away = np.flatnonzero(parts.rng.random(len(visit)) < AWAY)
    stay[away] += 300.0 * parts.rng.weibull(0.6, away.size)
    stay = np.clip(stay, 0.1, LONGEST)
    elapsed = np.cumsum(stay) - stay
    first = np.searchsorted(visit, np.arange(len(visits)))
    return Acts(visit, visits.start[visit] + elapsed - elapsed[first][visit], step, page)


def program_pages(
    visits: Visits, population: Population, visit: Ints, place: Ints, step: Ints, rng: np.random.Generator
) -> Ints:
    """Pages of programs: some go through threads or members one by one, some stay where they are."""
    target, size, user = FORUM.step_page[step], len(visit), visits.user[visit]
    walks = FORUM.of_behaviours("walks_catalogue")[visits.behaviour][visit] > 0
    stays = FORUM.of_behaviours("stays_on_page")[visits.behaviour][visit] > 0
    number = population.start_item[user] + place * population.stride[user]
    popular = draw(BOARD_RANKS, rng, size) * THREADS_PER_BOARD + draw(THREAD_RANKS, rng, size)
    thread = np.where(walks, number % THREADS, np.where(stays, population.start_item[user] % THREADS, popular))
    page = np.where(target == THREAD, THREAD_AT + thread, target)
    page = np.where(target == BOARD, BOARD_AT + draw(BOARD_RANKS, rng, size), page)
    return np.where(target == MEMBER, MEMBER_AT + number % MEMBERS, page)


@cache
def _usual_parts() -> Floats:
    """Cumulative odds of the parts of a visit after the first one: (behaviours, steps)."""
    return np.stack([FORUM.shares(one.starts if one.is_program else one.leanings) for one in FORUM.behaviours])


FORUM = Site(
    "forum",
    PAGES,
    ACTIONS,
    STEPS,
    PERSONAS,
    HONEST_BUT_STRANGE,
    INTRUDER,
    ANNOUNCEMENTS,
    THREADS,
    BOARD_RANKS,
    people,
    program_pages,
    ("login", "/login"),
)
