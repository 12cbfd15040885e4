"""Live load, in a process of its own: ``python -m benchmarks._send SERVERS TOPIC RATE SECONDS USERS [past]``.

Sends so many events per second, evenly, for so long; each carries the time at which it is sent. With ``past`` these
seconds are those before now, and are sent as fast as that goes.
"""

from __future__ import annotations

import random
import sys
import time
from datetime import UTC, datetime, timedelta

from confluent_kafka import Producer

TICK = 0.01
ACTIONS = ("view", "view", "view", "click", "click", "interaction")


def main(servers: str, topic: str, rate: float, seconds: float, users: int, past: bool) -> None:
    """Send, then wait until all is acknowledged."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 5, "partitioner": "murmur2_random"})
    chance, began, sent = random.Random(3), time.perf_counter(), 0
    since = datetime.now(UTC) - timedelta(seconds=seconds)
    while (spent := sent / rate if past else time.perf_counter() - began) < seconds:
        while sent < min(rate * seconds, rate * spent + 1):
            user = f"user-{chance.randrange(users)}"
            now = since + timedelta(seconds=sent / rate) if past else datetime.now(UTC)
            value = (
                f'{{"user_id":"{user}","action":"{chance.choice(ACTIONS)}","page":"/p/{chance.randrange(200)}",'
                f'"timestamp":"{now.isoformat(timespec="milliseconds")}","event_id":"{began:.6f}-{sent}"}}'
            )
            producer.produce(topic, value.encode(), user.encode())
            sent += 1
        producer.poll(0)
        if not past:
            time.sleep(TICK)
    producer.flush(30)


if __name__ == "__main__":
    servers, topic, rate, seconds, users, *when = sys.argv[1:]
    main(servers, topic, float(rate), float(seconds), int(users), when == ["past"])
