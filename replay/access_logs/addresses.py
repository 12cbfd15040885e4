"""Addresses of clients as logs write them, and texts in which none is left."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection
from functools import lru_cache

from features.context import ip_of

_BETWEEN = re.compile(r",\s*")
_FORWARDED_FOR = re.compile(r'(?:^|[;,])\s*for="?([^";,]+)"?', re.IGNORECASE)
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+)(?:%[\w.]+)?\](?::\d{1,5})?")
_WITH_PORT = re.compile(r"(\d{1,3}(?:\.\d{1,3}){3})(?::\d{1,5})?")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9_-]+)*\.?")
_IN_TEXT = re.compile(
    r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)"  # IPv4
    r"|(?<![\w:.])(?=[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:)[0-9A-Fa-f:]{2,39}(?:\.\d{1,3}){0,3}(?![\w:])"  # IPv6, nearly
)
_QUERY = re.compile(r"\?[^\s\"]*", re.ASCII)


@lru_cache(maxsize=65_536)
def address_in(text: str) -> str | None:
    """The IP address that ``text`` is, in its shortest form (RFC 5952), without a port, brackets or a zone.

    An IPv4 address within an IPv6 one is itself. None: it is none.
    """
    match = _WITH_PORT.fullmatch(text) or _BRACKETED.fullmatch(text)
    return ip_of(match[1] if match else text)


@lru_cache(maxsize=65_536)
def addresses_in(text: str) -> tuple[str, ...]:
    """The addresses of a field that is one address or a list of them, as X-Forwarded-For has; empty where it is none.

    ``unknown`` and ``-`` in a list, and its ports, are left out. RFC 7239's ``for=`` is understood.
    """
    if "for=" in text.lower():
        found = [address_in(part.strip()) for part in _FORWARDED_FOR.findall(text)]
        return tuple(address for address in found if address)
    addresses = []
    for part in _BETWEEN.split(text):
        address = address_in(part.strip())
        if address is None and part not in ("unknown", "-", ""):
            return ()
        if address is not None:
            addresses.append(address)
    return tuple(addresses)


def client_of(addresses: tuple[str, ...], trusted_hops: int | None = None) -> str:
    """Who asked, of a list of addresses as X-Forwarded-For has it, the client first and each proxy after it.

    Whatever a client sends in that header stands before what our own proxies add. With ``trusted_hops`` proxies of our
    own, the last of them is not in the list, and the client is as many places from the end. None: the first.
    """
    if trusted_hops is None:
        return addresses[0]
    return addresses[-min(trusted_hops, len(addresses))]


@lru_cache(maxsize=65_536)
def is_private(address: str) -> bool:
    """Whether an address is of an inner network, as those of balancers, and not of the internet."""
    known = ipaddress.ip_address(address)
    return known.is_private and not known.is_unspecified and not _is_documentation(known)


def are_inner(clients: Collection[str]) -> bool:
    """Whether these are clients, and all of them addresses of an inner network: so a balancer's log looks.

    A client's name, where the server looks them up, is no address.
    """
    return bool(clients) and all(address_in(client) is not None and is_private(client) for client in clients)


def _is_documentation(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Addresses that examples have stand for those of the internet (RFC 5737, RFC 3849)."""
    return any(address in network for network in _DOCUMENTATION if network.version == address.version)


_DOCUMENTATION = [
    ipaddress.ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]


@lru_cache(maxsize=65_536)
def is_host_name(text: str) -> bool:
    """Whether a client may be called so where the server looks names up."""
    return _HOST.fullmatch(text) is not None


def redacted(text: str, stands_for: Callable[[str], str]) -> str:
    """``text`` with what ``stands_for`` each address in its place, and without queries, which may hold secrets."""

    def replaced(match: re.Match[str]) -> str:
        address = address_in(match[0])
        return match[0] if address is None else stands_for(address)

    return _IN_TEXT.sub(replaced, _QUERY.sub("", text))
