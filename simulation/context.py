"""From where simulated people come, and how their attempts to sign in end.

Most people have a network at home and another on the way, some sit in an office behind one address; who takes an
account over comes from elsewhere, on another device. Programs come from data centres, and not all say what they are.
Some apps send no context at all.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from simulation.engine import Columns
from simulation.population import PLATFORMS
from simulation.site import Bools, Floats, Population, Site, draw, zipf_cumulative

COUNTRIES = ("DE", "FR", "GB", "IT", "ES", "NL", "PL", "AT", "SE", "CH", "US", "TR", "BR", "IN", "VN")
AGENTS = {
    "web": (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141 Safari/537.36",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/605.1.15",
        "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    ),
    "android": ("shop-app/7.4 (Android 16; Pixel 9)", "shop-app/7.3 (Android 15; SM-S921B)"),
    "ios": ("shop-app/7.4 (iOS 26.1; iPhone17,1)", "shop-app/7.4 (iOS 18.7; iPhone14,5)"),
}
DECLARED = ("python-requests/2.32.5", "curl/8.14.1", "Go-http-client/2.0")
SENDS, IN_OFFICE, DECLARES = 0.7, 0.12, 0.4
"""Shares of people whose app sends context, who sit in an office; of programs that say what they are."""
OFFICE_SIZE = 40
BLOCK_MILLIS = 3 * 3_600_000
"""People stay in one network for so long."""
FAILS = {"login_brute_force": 0.98, "forgot_password": 0.8, "intruder": 0.3}
USUALLY_FAILS = 0.07
AT_HOME, ON_THE_WAY, DATA_CENTRE, ELSEWHERE = 85, 109, 45, 185
"""First numbers of addresses."""


class Place(TypedDict):
    """What an app says of where it is."""

    ip: str
    user_agent: str
    device_id: str
    country: str


class Contexts:
    """The context of a scenario's events. Drawn from streams of its own: it changes nothing of what people do."""

    def __init__(self, population: Population, site: Site, seed: int) -> None:
        self.site, self.population = site, population
        size = len(population.names)
        chance = np.random.default_rng([seed, 100])
        self.sends: Bools = chance.random(size) < SENDS
        self.country = draw(zipf_cumulative(len(COUNTRIES), 1.1), chance, size)
        office = chance.integers(0, max(1, size // OFFICE_SIZE), size)
        in_office = chance.random(size) < IN_OFFICE
        self.networks = chance.integers(0, 2**24, (size, 3))
        self.devices = chance.bytes(16 * size)
        self.agent, self.declares = chance.integers(0, 6, size), chance.random(size) < DECLARES
        self.is_program: Bools = site.of_behaviours("is_program")[population.persona] > 0
        at_office = in_office & ~self.is_program
        self.networks[at_office, 0] = office[at_office]
        self.places: dict[int, tuple[Place, Place, Place]] = {}
        self.chance = np.random.default_rng([seed, 101])

    def _places_of(self, user: int) -> tuple[Place, Place, Place]:
        """Where a user is usually, on the way, and where the intruder is; made when the user first acts."""
        own, number = AGENTS[PLATFORMS[self.population.platform[user]]], int(self.agent[user])
        is_program, networks = bool(self.is_program[user]), self.networks[user].tolist()
        name = DECLARED[number % 3] if is_program and self.declares[user] else own[number % len(own)]
        device, other = (self.devices[16 * user + at : 16 * user + at + 8].hex() for at in (0, 8))
        where = COUNTRIES[self.country[user]]
        usual, away = (DATA_CENTRE, DATA_CENTRE) if is_program else (AT_HOME, ON_THE_WAY)
        return (
            Place(ip=_address(usual, networks[0]), user_agent=name, device_id=device, country=where),
            Place(ip=_address(away, networks[1]), user_agent=name, device_id=device, country=where),
            Place(
                ip=_address(ELSEWHERE, networks[2]), user_agent=AGENTS["web"][number % 3], device_id=other,
                country=COUNTRIES[-1 - networks[2] % 5],
            ),
        )  # fmt: skip

    def of(self, columns: Columns) -> list[Place | None]:
        """Where each event comes from; None where the app does not say."""
        away = (columns.millis // BLOCK_MILLIS * 2654435761 + columns.user * 40503) % 7 < 2
        which = np.where(self._is_intruder(columns), 2, away.astype(np.int64))
        says = self.sends[columns.user]
        for user in np.unique(columns.user[says]).tolist():
            if user not in self.places:
                self.places[user] = self._places_of(user)
        rows = zip(columns.user.tolist(), which.tolist(), says.tolist(), strict=True)
        return [self.places[user][place] if sends else None for user, place, sends in rows]

    def _is_intruder(self, columns: Columns) -> Bools:
        found: Bools = columns.strange & (self.population.persona[columns.user] == self.site.with_role("victim"))
        return found

    def outcomes(self, columns: Columns) -> list[str | None]:
        """How attempts to sign in end, where the app says it; None of what is no attempt."""
        fails: Floats = np.array([FAILS.get(one.name, USUALLY_FAILS) for one in self.site.personas])
        chance = fails[self.population.persona[columns.user]]
        chance[self._is_intruder(columns)] = FAILS["intruder"]
        failed = self.chance.random(len(columns)) < chance
        said = self.sends[columns.user] & self.site.is_attempt(columns.action, columns.page)
        ended = np.where(said, np.where(failed, "failed", "ok"), "")
        return [text or None for text in ended.tolist()]


def _address(network: int, number: int) -> str:
    return f"{network}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
