"""Lines of text of a web server, proxy or balancer: each request an event."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from replay.access_logs.fields import fields_of, line_of
from replay.access_logs.format_strings import compiled_format
from replay.access_logs.known import known_format
from replay.access_logs.requests import Request, method_and_target
from replay.access_logs.wrappers import text_in, unwrapped
from replay.formats.base import BYTE_ORDER_MARK
from replay.formats.requests import RequestReader
from replay.json_objects import object_in


class AccessLogReader(RequestReader):
    """Lines of an access log in any of the formats that servers have, told from what is in them.

    What collectors put around a line (syslog, containers, JSON with the line in it) is taken off. See
    :mod:`replay.access_logs`.
    """

    title = "an access log"

    def learn(self, sample: Sequence[bytes]) -> list[str]:
        self.read, notes = self._reading(sample)
        return [*super().learn(sample), *notes]

    def _reading(self, sample: Sequence[bytes]) -> tuple[Callable[[str], Request | None], list[str]]:
        """What reads the lines of a log that begins so, and what a person should know of it."""
        options = self.options
        if options.log_format is not None:
            whole = [_own_text(line) for line in sample]
            found, notes = compiled_format(options.log_format, whole, options.client_field, options.trusted_hops)
            return found.read, notes
        lines = [text for line in sample if (text := _text_of(line)) is not None]
        known = None if options.client_field is not None else known_format(lines, options.trusted_hops)
        if known is not None:
            return known.read, []
        learned, notes = fields_of(lines, options.client_field, options.trusted_hops)
        return learned.read, notes

    @staticmethod
    def recognizes(line: bytes) -> bool:
        """Whether a line has a time and what may be a request, whatever that says."""
        text = _text_of(line)
        found = None if text is None else line_of(text)
        if found is None:
            return text is not None and known_format([text]) is not None
        return method_and_target(found.fields[found.request].text) is not None or bool(found.before)

    def request(self, line: bytes) -> Request | None:
        text = _text_of(line) if self.options.log_format is None else _own_text(line)
        return None if text is None else self.read(text)


def _own_text(line: bytes) -> str:
    """A line without what collectors put before it."""
    return unwrapped(line.removeprefix(BYTE_ORDER_MARK).decode("latin-1").lstrip("\0"))


def _text_of(line: bytes) -> str | None:
    """A server's own line, of a line as a collector wrote it; None where a record of JSON has no text in it."""
    text = _own_text(line)
    if text.startswith("{"):
        record = object_in(text.encode("latin-1"))
        inner = None if record is None else text_in(record)
        return None if inner is None else unwrapped(inner)
    return text
