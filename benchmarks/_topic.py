"""A topic of behaviour to catch up with: visits of many users over some hours, in the order in which they are sent."""

from __future__ import annotations

import numpy as np
from confluent_kafka import Producer

START = 1_772_352_000
"""2026-03-01 08:00 UTC."""
PAUSE_SECONDS, EVENTS_A_VISIT = 35.0, 33
LATE, MAX_LATE_SECONDS, BROKEN = 0.01, 600, 0.001
PAGES = 400
ACTIONS = np.array(["view", "view", "view", "view", "view", "view", "click", "click", "click", "interaction"])


def fill(servers: str, topic: str, events: int, users: int, hours: int = 8) -> float:
    """Send records, a thousandth no events, a hundredth up to ten minutes late; returns their mean length in bytes."""
    chance = np.random.default_rng(7)
    visits = -(-events // EVENTS_A_VISIT)
    begins = START + chance.random(visits) * 3600 * hours
    whose = chance.permutation(np.arange(visits) % users)
    pauses = chance.exponential(PAUSE_SECONDS, (visits, EVENTS_A_VISIT)) * (0.3 + chance.random((visits, 1)) * 1.4)
    pauses[:, 0] = 0
    when = (begins[:, None] + np.cumsum(pauses, axis=1)).ravel()[:events]
    who = np.repeat(whose, EVENTS_A_VISIT)[:events]
    what = ACTIONS[chance.integers(0, len(ACTIONS), events)]
    where = (PAGES * chance.random(events) ** 2).astype(int)
    sent = when + chance.random(events)
    sent += np.where(chance.random(events) < LATE, chance.random(events) * MAX_LATE_SECONDS, 0.0)
    order = np.argsort(sent)
    stamps = np.datetime_as_string((when * 1000).astype("datetime64[ms]"), timezone="UTC")
    broken = chance.random(events) < BROKEN
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "linger.ms": 50,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 200_000,
            "partitioner": "murmur2_random",
        }
    )
    size = 0
    for number, at in enumerate(order):
        user = f"user-{who[at] * 7919 % 1_000_003:06d}"
        value = (
            f'{{"user_id":"{user}","action":"{what[at]}","page":"/shop/{where[at]}",'
            f'"timestamp":"{stamps[at]}","event_id":"{number:032x}"}}'
        ).encode()
        value = value[:-9] if broken[at] else value
        size += len(value)
        while True:
            try:
                producer.produce(topic, value, user.encode())
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush(120)
    return size / events
