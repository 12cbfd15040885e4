"""The body of a request, read within limits of size and time."""

from __future__ import annotations

import asyncio
import zlib
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from features.schemas.packing import GZIP_FRAME
from serving.responses.problems import ProblemError

DRAINED_BYTES = 8_388_608
"""Read and dropped before 413 is answered: many clients write before they read."""


def unpacked(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """The body without its packing (``gzip``, or ``identity``), at most so many bytes, however small it is packed.

    Raises:
        ProblemError: it is packed otherwise, is damaged, or is longer.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):
        detail = f"A body packed as {encoding[:40]} is not taken; send gzip, or unpacked."
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
    unpacking = zlib.decompressobj(GZIP_FRAME)
    try:
        content = unpacking.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"The body is said to be gzip, and is not: {error}.") from None
    if len(content) > max_bytes:
        detail = f"The body has more than {max_bytes} bytes when it is unpacked. Send smaller batches."
        raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    if not unpacking.eof:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "The packed body is cut off.")
    return content


def media_type(request: Request) -> str:
    """The type that the request says its body has, in lower case and without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def declared_size(request: Request) -> int:
    """Bytes of the body as its header says; 0 where it does not."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0


async def read_body(request: Request, max_bytes: int, seconds: float) -> bytes:
    """The whole body, at most so many bytes, counted as they come: the server itself has no limit.

    Raises:
        ProblemError: it is longer, or takes longer than so many seconds.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size <= max_bytes:
                    parts.append(part)
                else:
                    parts.clear()
                    if size > max(max_bytes, DRAINED_BYTES):
                        break
    except TimeoutError:
        detail = f"The request did not arrive within {seconds:g} s."
        raise ProblemError(HTTPStatus.REQUEST_TIMEOUT, detail) from None
    except ClientDisconnect:  # nobody is there to be answered
        raise ProblemError(HTTPStatus.BAD_REQUEST, "The connection ended before the request.") from None
    if size > max_bytes:
        detail = f"The body has more than {max_bytes} bytes. Send smaller batches."
        raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    return b"".join(parts)
