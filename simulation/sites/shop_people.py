"""Who visits the simulated shop, and how each kind of visitor behaves.

People walk the shop's page graph with heavy-tailed stays; programs act on a timer of their own with jitter.
The figures are wide on purpose: slow floods and fast shoppers overlap, patient bots read as slowly as readers,
and people who forgot their password try again and again.
"""

from __future__ import annotations

from simulation.site import Persona

ARRIVALS = {"home": 4.0, "category": 2.0, "product": 4.0, "search": 1.0, "article": 0.5}

ORDINARY: tuple[Persona, ...] = (
    Persona("browser", 0.46, 1.0, ARRIVALS, leanings={"add": 0.5, "checkout": 0.3, "login": 0.4}, bounces=0.3),
    Persona(
        "buyer",
        0.14,
        0.8,
        ARRIVALS,
        leanings={"add": 3.0, "cart": 1.5, "checkout": 2.0, "login": 1.5},
        events=17.0,
        events_spread=0.8,
        bounces=0.03,
    ),
    Persona(
        "reader",
        0.14,
        0.9,
        {"article": 6.0, "home": 1.0, "help": 1.0},
        leanings={"article": 6.0, "help": 3.0, "product": 0.3, "category": 0.4, "search": 0.5},
        events=7.0,
        bounces=0.25,
        pace=1.2,
    ),
    Persona(
        "returning",
        0.21,
        2.5,
        {"home": 5.0, "login": 3.0, "account": 2.0, "category": 2.0},
        leanings={"login": 1.5, "account": 2.0, "add": 1.2},
        events=10.0,
        events_spread=0.8,
        bounces=0.1,
        own_hours=6.0,
        faithful=0.85,
    ),
)

HONEST_BUT_STRANGE: tuple[Persona, ...] = (
    Persona(
        "flash_crowd",
        0.02,
        0.0,
        {"campaign": 1.0},
        role="crowd",
        leanings={"campaign": 1.5, "add": 2.0, "category": 0.5},
        events=5.0,
        events_spread=0.8,
        bounces=0.25,
        pace=0.8,
    ),
    Persona(
        "power_user",
        0.003,
        2.0,
        {"login": 2.0, "home": 1.0, "search": 2.0},
        role="joins",
        leanings={"filter": 1.5, "gallery": 1.5, "add": 2.5, "search": 2.0, "quantity": 3.0},
        events=140.0,
        events_spread=0.6,
        longest=600,
        bounces=0.0,
        pace=0.3,
        pace_spread=0.25,
    ),
)

STRANGE: tuple[Persona, ...] = (
    Persona(
        "click_flood",
        0.005,
        0.5,
        {"banner": 6.0, "gallery": 85.0, "product": 5.0, "add": 3.0},
        is_anomalous=True,
        is_program=True,
        per_minute=45.0,
        per_minute_spread=0.8,
        minutes=1.5,
        minutes_spread=0.9,
        jitter=0.35,
        jitter_spread=0.7,
        stays_on_page=True,
    ),
    Persona(
        "scraper",
        0.005,
        0.5,
        {"product": 84.0, "category": 12.0, "search": 3.0, "home": 1.0},
        is_anomalous=True,
        is_program=True,
        per_minute=11.0,
        per_minute_spread=0.9,
        minutes=5.0,
        minutes_spread=1.1,
        jitter=0.5,
        jitter_spread=0.7,
        walks_catalogue=True,
    ),
    Persona(
        "login_brute_force",
        0.005,
        0.5,
        {"sign_in": 70.0, "login": 28.0, "account": 2.0},
        is_anomalous=True,
        is_program=True,
        per_minute=10.0,
        per_minute_spread=0.8,
        minutes=3.0,
        minutes_spread=1.0,
        jitter=0.45,
        jitter_spread=0.7,
    ),
    Persona(
        "low_and_slow_bot",
        0.004,
        0.25,
        {"product": 60.0, "category": 25.0, "article": 8.0, "gallery": 4.0, "search": 3.0},
        is_anomalous=True,
        is_program=True,
        per_minute=1.5,
        per_minute_spread=0.6,
        minutes=40.0,
        minutes_spread=0.9,
        jitter=0.2,
        jitter_spread=1.1,
    ),
    Persona(
        "account_takeover",
        0.003,
        2.5,
        {"home": 5.0, "login": 3.0, "account": 2.0, "category": 2.0},
        is_anomalous=True,
        role="victim",
        leanings={"login": 1.5, "account": 2.0, "add": 1.2},
        events=10.0,
        events_spread=0.8,
        bounces=0.1,
        own_hours=6.0,
        faithful=0.85,
    ),
)

INTRUDER = Persona(
    "intruder",
    0.0,
    0.0,
    {"login": 3.0, "sign_in": 2.0, "account": 1.0},
    is_anomalous=True,
    leanings={
        "sign_in": 1.5,
        "account": 3.0,
        "edit": 5.0,
        "add": 4.0,
        "checkout": 4.0,
        "pay": 2.0,
        "home": 0.3,
        "gallery": 0.2,
        "filter": 0.4,
        "help": 0.1,
        "article": 0.05,
    },
    events=45.0,
    events_spread=0.6,
    longest=400,
    bounces=0.0,
    pace=0.4,
    pace_spread=0.35,
    faithful=0.1,
)
"""Who acts in the name of a taken-over account; not a user of its own, and never a label."""

PERSONAS: tuple[Persona, ...] = (*ORDINARY, *HONEST_BUT_STRANGE, *STRANGE)
