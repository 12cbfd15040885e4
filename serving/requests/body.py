"""The body of a request, read within limits of size and time."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from serving.responses.problems import ProblemError

DRAINED_BYTES = 8_388_608
"""Read and dropped before 413 is answered: many clients write before they read."""


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
