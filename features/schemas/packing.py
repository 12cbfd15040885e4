"""Values that are packed by gzip, zstd or lz4, as their first bytes say."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

from features.validation import Rejection

CODECS = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "lz4": b"\x04\x22\x4d\x18"}
"""How what each has packed begins (RFC 1952, RFC 8878, lz4's frame format)."""
MOST_SEARCHED = 1_048_576
"""Bytes of what is unpacked that are looked through for names."""
GZIP_FRAME = 31
"""What zlib takes for gzip's frame around what is packed."""
_PIECE = 4_096


def codec_of(value: bytes) -> str | None:
    """What has packed the value; None where nothing has."""
    return next((name for name, begin in CODECS.items() if value.startswith(begin)), None)


def unpacked(value: bytes, codec: str, most: int) -> bytes:
    """The first ``most`` bytes of what is packed.

    Raises:
        ValueError: it is damaged.
    """
    try:
        content: bytes = pa.CompressedInputStream(pa.BufferReader(value), codec).read(most)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from None
    return content


def searchable(value: bytes) -> bytes:
    """The value, or what is packed in it up to where it is damaged, for who looks for names in it."""
    codec = codec_of(value)
    if codec is None:
        return value
    content = bytearray()
    if codec == "gzip":
        unpacking = zlib.decompressobj(GZIP_FRAME)
        with suppress(zlib.error):
            for at in range(0, len(value), _PIECE):
                content += unpacking.decompress(value[at : at + _PIECE], MOST_SEARCHED - len(content))
                if len(content) >= MOST_SEARCHED:
                    break
    else:
        with suppress(pa.ArrowException, OSError):
            stream = pa.CompressedInputStream(pa.BufferReader(value), codec)
            while len(content) < MOST_SEARCHED and (piece := stream.read(_PIECE)):
                content += piece
    return bytes(content) or value


@dataclass(frozen=True)
class Unpacking:
    """Takes records' values that are packed by one of the ``codecs``, up to ``most`` bytes when they are unpacked."""

    codecs: Collection[str]
    most: int

    def __call__(self, value: bytes) -> bytes | Rejection | None:
        """What is packed, or why it cannot be had; None of a value that is not packed so."""
        codec = codec_of(value)
        if codec is None or codec not in self.codecs:
            return None
        try:
            content = unpacked(value, codec, self.most + 1)
        except ValueError:
            return Rejection("undecodable", None, f"{codec} bytes that are damaged")
        if len(content) > self.most:
            return Rejection("too_large", None, f"over {self.most} bytes when {codec} is undone")
        return content
