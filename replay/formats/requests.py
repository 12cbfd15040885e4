"""What all formats of access logs share: an event of each request, and a record without an address of what is none."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Sequence
from datetime import timedelta

from features.events import NO_REQUEST, REQUIRED
from replay.access_logs.addresses import redacted
from replay.access_logs.requests import Request, event_of, user_of
from replay.formats.base import LineParser, Record, record_key
from replay.json_objects import object_in
from replay.pseudonyms import Pseudonyms

CLIP = 60
MAX_KEPT = 4096
"""Characters that are kept of a line that is no request."""


class RequestReader(LineParser):
    """Lines of an access log. Users are pseudonyms of client and user agent: no address leaves the file."""

    def learn(self, sample: Sequence[bytes]) -> list[str]:
        self._pseudonyms = Pseudonyms(self.key())
        return super().learn(sample)

    @abstractmethod
    def request(self, line: bytes) -> Request | None:
        """The request in a line; its ``method`` is empty where it is none, its ``client`` where that is not known.

        None: the line has not the format.
        """

    def event(self, line: bytes) -> dict[str, object] | None:
        """See :func:`replay.access_logs.requests.event_of`; None where it is no request, or nobody's."""
        request = self.request(line)
        if request is None or not request.method or not request.client:
            return None
        return event_of(request, self._pseudonyms)

    def record(self, line: bytes, shift: timedelta | None = None, event_id: str | None = None) -> Record:
        found = super().record(line, shift, event_id)
        if found.is_event or not line.strip():
            return found
        return self._of_contract(line) or self._without_address(line)

    def cut(self, line: bytes) -> Record:
        return self._without_address(line[: 4 * MAX_KEPT])

    def nothing_in(self, line: bytes) -> str:
        """Why no event can be made of a line, in words that hold no address."""
        request = self.request(line)
        if request is None:
            return f"{self.title} has other lines"
        if request.method:
            return "the client of the request cannot be told"
        return f"no request: {self._pseudonymous(request.target)[:CLIP] or '-'}"

    def _pseudonymous(self, text: str) -> str:
        return redacted(text, lambda address: self._pseudonyms.of(address.encode("latin-1")))

    @staticmethod
    def _of_contract(line: bytes) -> Record | None:
        """The record of an event among lines of a log, as it is; None where it is none."""
        record = object_in(line) if line.lstrip()[:1] == b"{" else None
        if record is None or not all(name in record for name in REQUIRED):
            return None
        return Record(line, record_key(record["user_id"]), True)

    def _without_address(self, line: bytes) -> Record:
        """The record of a line that is no request: why, and the line with pseudonyms for addresses.

        It is keyed by the same user as the events of who sent it, so that an erasure finds it.
        """
        request = self.request(line)
        text = self._pseudonymous(line[: 4 * MAX_KEPT].decode("latin-1"))
        if request is not None and request.client:  # it may be a name, which is no less theirs
            name = self._pseudonyms.of(request.client.encode("latin-1"))
            text = re.sub(re.escape(request.client), name, text, flags=re.IGNORECASE)
        said = {NO_REQUEST: self.nothing_in(line), "line": text[:MAX_KEPT]}
        if request is None or not request.client:
            return Record(json.dumps(said).encode(), None, False)
        user = user_of(request.client, request.agent, self._pseudonyms)
        return Record(json.dumps({"user_id": user, **said}).encode(), user.encode(), False)
