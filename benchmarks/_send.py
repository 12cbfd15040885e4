"""Live load, in a process of its own: ``python -m benchmarks._send SERVERS TOPIC RATE SECONDS USERS``.

Sends so many events per second, evenly, for so long; each carries the time at which it is sent.
"""

from __future__ import annotations

import random
import sys
import time
from datetime import UTC, datetime

from confluent_kafka import Producer

TICK = 0.01
ACTIONS = ("view", "view", "view", "click", "click", "interaction")


def main(servers: str, topic: str, rate: float, seconds: float, users: int) -> None:
    """Send, then wait until all is acknowledged."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 5, "partitioner": "murmur2_random"})
    chance, began, sent = random.Random(3), time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds:
        while sent < rate * spent:
            user = f"user-{chance.randrange(users)}"
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            value = (
                f'{{"user_id":"{user}","action":"{chance.choice(ACTIONS)}","page":"/p/{chance.randrange(200)}",'
                f'"timestamp":"{now}","event_id":"{began:.6f}-{sent}"}}'
            )
            producer.produce(topic, value.encode(), user.encode())
            sent += 1
        producer.poll(0)
        time.sleep(TICK)
    producer.flush(30)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
