"""Access logs in the W3C's extended format, as IIS, CloudFront and Tomcat write them."""

from __future__ import annotations

from collections.abc import Sequence

from replay.access_logs.requests import Request
from replay.access_logs.w3c import DIRECTIVE, Extended
from replay.formats.base import BYTE_ORDER_MARK
from replay.formats.requests import RequestReader


class W3cLogReader(RequestReader):
    """Lines whose fields a line ``#Fields:`` names."""

    title = "an access log in the W3C's extended format"

    def learn(self, sample: Sequence[bytes]) -> list[str]:
        self._extended = Extended(self.options.client_field, self.options.trusted_hops)
        for line in sample:
            self.request(line)  # the fields' names: what is wrong with them is said at the start
        return super().learn(sample)

    @staticmethod
    def recognizes(line: bytes) -> bool:
        return DIRECTIVE.match(_text_of(line)) is not None

    def request(self, line: bytes) -> Request | None:
        return self._extended.read(_text_of(line))

    def nothing_in(self, line: bytes) -> str:
        return "a line about the log itself" if line.startswith(b"#") else super().nothing_in(line)


def _text_of(line: bytes) -> str:
    return line.removeprefix(BYTE_ORDER_MARK).decode("latin-1").strip("\0\r ")
