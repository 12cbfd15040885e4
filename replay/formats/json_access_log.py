"""Access logs of one JSON object a line, as Caddy, Traefik, Envoy and nginx write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from replay.access_logs.objects import is_request, objects_of
from replay.access_logs.requests import Request
from replay.access_logs.wrappers import text_in, unwrapped
from replay.formats.base import BYTE_ORDER_MARK
from replay.formats.requests import RequestReader
from replay.json_objects import object_in


class JsonAccessLogReader(RequestReader):
    """Objects with a time, a request, a status and a client, by the names that servers have for them."""

    title = "an access log of JSON objects"

    def learn(self, sample: Sequence[bytes]) -> list[str]:
        records = [record for line in sample if (record := _record_of(line)) is not None]
        self._objects, notes = objects_of(records, self.options.client_field, self.options.trusted_hops)
        return [*super().learn(sample), *notes]

    @staticmethod
    def recognizes(line: bytes) -> bool:
        record = _record_of(line)
        return record is not None and is_request(record)

    def request(self, line: bytes) -> Request | None:
        record = _record_of(line)
        return None if record is None else self._objects.read(record)


def _record_of(line: bytes) -> dict[str, Any] | None:
    """The object of a line, or the one that a collector's record has as a text."""
    if line[:1] != b"{":
        line = unwrapped(line.removeprefix(BYTE_ORDER_MARK).decode("latin-1").lstrip("\0 ")).encode("latin-1")
    record = object_in(line) if line[:1] == b"{" else None
    inner = None if record is None else text_in(record)
    if inner is not None and inner.lstrip().startswith("{"):
        return object_in(inner.encode("latin-1")) or record
    return record
