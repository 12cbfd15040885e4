"""Who visits the simulated forum, and what a visit of each kind is made of.

People do one thing after another, in several tabs: odds are of parts of a visit, named by the step they begin with.
Programs act on a timer; their odds are of single steps.
"""

from __future__ import annotations

from simulation.site import Persona

ARRIVALS = {"home": 3.0, "board": 5.0, "search": 1.0, "watch": 0.5}

ORDINARY: tuple[Persona, ...] = (
    Persona(
        "lurker", 0.5, 1.0, ARRIVALS, leanings={"board": 7.0, "home": 1.0, "search": 1.0, "watch": 0.3}, bounces=0.3,
        own_hours=1.5,
    ),
    Persona(
        "member", 0.3, 1.5, {"login": 2.0, "home": 3.0, "board": 4.0},
        leanings={"board": 6.0, "inbox": 1.5, "home": 1.0, "new": 0.4, "settings": 0.15, "watch": 0.5, "login": 0.1},
        events=14.0, events_spread=0.9, bounces=0.1, own_hours=3.0, faithful=0.75,
    ),
    Persona(
        "writer", 0.13, 1.2, {"login": 2.0, "inbox": 2.0, "board": 2.0},
        leanings={"board": 3.0, "inbox": 3.0, "new": 1.2, "search": 1.0, "settings": 0.2, "watch": 1.0},
        events=20.0, events_spread=0.8, bounces=0.03, pace=1.3, own_hours=4.0, faithful=0.85,
    ),
)  # fmt: skip

HONEST_BUT_STRANGE: tuple[Persona, ...] = (
    Persona(
        "announcement_crowd", 0.02, 0.0, {"announcement": 1.0}, role="crowd",
        leanings={"announcement": 2.0, "board": 1.0, "watch": 0.7}, events=6.0, events_spread=0.8, bounces=0.3,
        pace=0.8,
    ),
    Persona(
        "newcomer", 0.005, 1.0, {"new": 1.0, "settings": 2.0}, role="joins",
        leanings={"settings": 2.0, "board": 3.0, "search": 2.0, "new": 1.0}, events=40.0, events_spread=0.6,
        bounces=0.0, pace=0.7,
    ),
    Persona(
        "moderator", 0.004, 2.5, {"login": 1.0, "reports": 3.0}, leanings={"reports": 7.0, "inbox": 1.5, "board": 1.0},
        events=110.0, events_spread=0.6, longest=600, bounces=0.0, pace=0.35, pace_spread=0.3, own_hours=3.0,
    ),
    Persona(
        "watcher", 0.01, 1.0, {"watch": 1.0}, leanings={"watch": 6.0, "board": 1.0}, events=45.0, events_spread=0.6,
        bounces=0.0, faithful=0.9,
    ),
    Persona(
        "forgot_password", 0.008, 0.6, {"forgotten": 1.0},
        leanings={"forgotten": 1.0, "settings": 1.0, "board": 2.0, "inbox": 1.0}, events=22.0, events_spread=0.5,
        bounces=0.0,
    ),
)  # fmt: skip

STRANGE: tuple[Persona, ...] = (
    Persona(
        "vote_flood", 0.004, 0.5, {"vote": 94.0, "read": 6.0}, is_anomalous=True, is_program=True, per_minute=35.0,
        per_minute_spread=0.8, minutes=1.5, minutes_spread=0.9, jitter=0.35, jitter_spread=0.7, stays_on_page=True,
    ),
    Persona(
        "scraper", 0.004, 0.5, {"read": 80.0, "board": 12.0, "member": 8.0}, is_anomalous=True, is_program=True,
        per_minute=11.0, per_minute_spread=0.9, minutes=5.0, minutes_spread=1.1, jitter=0.5, jitter_spread=0.7,
        walks_catalogue=True,
    ),
    Persona(
        "login_brute_force", 0.004, 0.5, {"login": 98.0, "home": 2.0}, is_anomalous=True, is_program=True,
        per_minute=10.0, per_minute_spread=0.8, minutes=3.0, minutes_spread=1.0, jitter=0.45, jitter_spread=0.7,
    ),
    Persona(
        "message_spam", 0.004, 0.5, {"message": 80.0, "member": 15.0, "inbox": 5.0}, is_anomalous=True,
        is_program=True, per_minute=7.0, per_minute_spread=0.8, minutes=4.0, minutes_spread=0.9, jitter=0.45,
        jitter_spread=0.7, walks_catalogue=True,
    ),
    Persona(
        "mass_export", 0.003, 0.4, {"export": 75.0, "member": 20.0, "settings": 5.0}, is_anomalous=True,
        is_program=True, per_minute=6.0, per_minute_spread=0.7, minutes=6.0, minutes_spread=0.9, jitter=0.4,
        jitter_spread=0.7, walks_catalogue=True,
    ),
    Persona(
        "low_and_slow_bot", 0.003, 0.25, {"read": 75.0, "board": 20.0, "search": 5.0}, is_anomalous=True,
        is_program=True, per_minute=1.5, per_minute_spread=0.6, minutes=40.0, minutes_spread=0.9, jitter=0.2,
        jitter_spread=1.1,
    ),
    Persona(
        "account_takeover", 0.004, 2.0, {"login": 2.0, "home": 3.0, "board": 4.0}, is_anomalous=True, role="victim",
        leanings={"board": 6.0, "inbox": 1.5, "home": 1.0, "new": 0.4, "settings": 0.15, "watch": 0.5, "login": 0.1},
        events=14.0, events_spread=0.9, bounces=0.1, own_hours=3.0, faithful=0.75,
    ),
)  # fmt: skip

INTRUDER = Persona(
    "intruder", 0.0, 0.0, {"login": 3.0, "forgotten": 1.0}, is_anomalous=True,
    leanings={"settings": 4.0, "inbox": 5.0, "export": 0.7, "new": 1.0, "board": 0.7}, events=40.0, events_spread=0.6,
    longest=400, bounces=0.0, pace=0.5, pace_spread=0.35, faithful=0.1,
)  # fmt: skip

PERSONAS: tuple[Persona, ...] = (*ORDINARY, *HONEST_BUT_STRANGE, *STRANGE)
