"""The W3C's extended log format, as IIS, CloudFront and Tomcat write it: its own lines say which field is what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from features.errors import UsageError
from replay.access_logs.addresses import addresses_in, client_of
from replay.access_logs.requests import Request
from replay.access_logs.times import log_time

DIRECTIVE = re.compile(r"#(?:Version|Software|Date|Start-Date|End-Date|Fields|Remark|GMT-Offset)\s*:", re.IGNORECASE)
_FIELDS = re.compile(r"#Fields\s*:\s*", re.IGNORECASE)
_FIELD = re.compile(r'"(?:[^"]|"")*"|\S+', re.ASCII)
_NAMES = {
    "method": ("cs-method",),
    "target": ("cs-uri-stem", "cs-uri", "cs-uri-path"),
    "status": ("sc-status",),
    "size": ("sc-bytes", "bytes"),
    "agent": ("cs(user-agent)",),
    "client": ("c-ip", "c-dns"),
    "forwarded": ("x-forwarded-for", "cs(x-forwarded-for)"),
}


@dataclass
class Extended:
    """Reads the lines of one file; ``#Fields:`` may come again, with others.

    Attributes:
        client_field: the field that says who asked; None: ``c-ip``.
        hops: proxies of our own.
    """

    client_field: str | None = None
    hops: int | None = None
    _places: dict[str, int] = field(default_factory=dict)

    def read(self, text: str) -> Request | None:
        """The request in a line; ``client`` is empty where it is no address. None: a directive, or no request."""
        if text.startswith("#"):
            if match := _FIELDS.match(text):
                self._learn(text[match.end() :].lower().split())
            return None
        values = text.split("\t") if "\t" in text else _FIELD.findall(text)
        if not self._places or len(values) != self._places["count"]:
            return None
        when = log_time(self._when(values))
        method, target = self._of("method", values), self._of("target", values)
        if when is None or not method or not target:
            return None
        status, size, agent = (self._of(name, values) for name in ("status", "size", "agent"))
        return Request(
            self._client(values),
            when,
            method.upper(),
            target,
            status.zfill(3) if status.isdecimal() else "",
            size if size.isdecimal() else "",
            unquote_to_bytes(agent.replace("+", " ")).decode("latin-1"),
        )

    def _learn(self, names: Sequence[str]) -> None:
        places = {name: at for at, name in enumerate(names)}
        found = {
            meaning: next(places[name] for name in choices if name in places)
            for meaning, choices in _NAMES.items()
            if any(name in places for name in choices)
        }
        if self.client_field is not None:
            wanted = self.client_field.lower()
            named = next((name for name in (wanted, f"cs({wanted})") if name in places), None)
            if named is None and not (wanted == "forwarded" and "forwarded" in found):
                raise UsageError(f"--client-field {self.client_field}: the log has the fields {' '.join(names)}.")
            found["asked"] = found["forwarded"] if named is None else places[named]
        for name in ("date", "time", "time-taken"):
            if name in places:
                found[name] = places[name]
        lacks = [name for name in ("time", "method", "target") if name not in found]
        if "client" not in found and "asked" not in found:
            lacks.append("client (c-ip)")
        if lacks:
            raise UsageError(
                f"The log's #Fields have no {' and no '.join(lacks)}, without which no event can be made: "
                f"{' '.join(names)}. Let the server log them."
            )
        self._places = {**found, "count": len(names)}

    def _of(self, name: str, values: Sequence[str]) -> str:
        at = self._places.get(name)
        text = "" if at is None else values[at].strip('"')
        return "" if text == "-" else text

    def _when(self, values: Sequence[str]) -> str:
        date = self._of("date", values)
        return f"{date} {self._of('time', values)}" if date else self._of("time", values)

    def _client(self, values: Sequence[str]) -> str:
        for name in ("asked", "client"):
            if found := addresses_in(self._of(name, values).replace("%20", " ").replace("+", " ")):
                return client_of(found, self.hops)
        return ""
