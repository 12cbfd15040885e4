"""How much a client may send: a token bucket per address.

A token is a request, an event, or :data:`BYTES_OF_A_TOKEN` of a body, whatever is more.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address

BYTES_OF_A_TOKEN = 4_096
"""Several events of the usual length, or a row of all features: only who sends much pays by bytes."""


def tokens_of(size: int) -> int:
    """What a body of so many bytes costs."""
    return size // BYTES_OF_A_TOKEN


class Buckets:
    """A bucket of ``burst`` tokens per client, filled again with ``rate`` tokens per second.

    At most ``clients`` buckets are kept; a client not seen for longest starts anew with a full one.
    """

    def __init__(
        self, rate: float, burst: float, *, clients: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate = rate
        self.burst = burst
        self.clients = clients
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, tokens: float) -> float:
        """Take tokens, all or none. Returns 0 where they were taken, else the seconds until they can be.

        More than a full bucket cannot be had: then a full one is enough.
        """
        now, tokens = self._clock(), min(tokens, self.burst)
        left, since = self._left.pop(client, (self.burst, now))
        left = min(self.burst, left + self.rate * (now - since))
        missing = tokens - left
        self._left[client] = (left if missing > 0 else left - tokens, now)
        if len(self._left) > self.clients:
            self._left.popitem(last=False)
        return max(0.0, missing / self.rate)


def client_of(host: str) -> str:
    """Whose bucket an address has: an IPv6 network of 64 bits is one client, as it is one line or one host."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(IPv6Network((address, 64), strict=False))
    return str(address)
