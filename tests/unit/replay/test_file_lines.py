"""What a file holds is read whatever is around it: packed, an array, with a mark or NULs before it."""

from __future__ import annotations

import bz2
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from features.errors import BehaviorError, UsageError
from replay.file_lines import BUFFER, MAX_LINE, lines


def read(folder: Path, content: bytes) -> list[bytes]:
    path = folder / "file"
    path.write_bytes(content)
    return [line.text for line in lines(path)]


def packed(codec: str) -> Callable[[bytes], bytes]:
    return lambda content: pa.compress(content, codec=codec, asbytes=True)


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "zstd": packed("zstd"),
    "lz4": packed("lz4"),
    "zstd in gzip": lambda content: gzip.compress(packed("zstd")(content)),
    "two gzip files joined": lambda content: gzip.compress(content[:5]) + gzip.compress(content[5:]),
    "two zstd files joined": lambda content: packed("zstd")(content[:5]) + packed("zstd")(content[5:]),
}


@pytest.mark.parametrize("pack", PACKINGS.values(), ids=PACKINGS)
def test_lines_and_arrays_are_read_packed_or_not(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert read(tmp_path, pack(b"a line\n\nanother")) == [b"a line", b"", b"another"]
    assert read(tmp_path, pack(b'[{"a": 1},\n {"b": [1, {}]}]')) == [b'{"a": 1}', b'{"b": [1, {}]}']


@pytest.mark.parametrize(
    ("content", "values"),
    [
        (b"[]", []),
        (b" [\n]\n", []),
        (b'\xef\xbb\xbf[{"a":1}]', [b'{"a":1}']),
        (b'[{"a":1},{"b":"]},{"}]', [b'{"a":1}', b'{"b":"]},{"}']),
        (b'[\n{\n"a":1\n}\n,\n{"b":2}\n]\n', [b'{\n"a":1\n}', b'{"b":2}']),
        (b'[{"a":1},{bad},{"c":2}]', [b'{"a":1}', b"{bad}", b'{"c":2}']),
        (b'[{"a":1},{"b":', [b'{"a":1}', b'{"b":']),
        (b'[{"a":1},3,"x"]', [b'{"a":1}', b"3", b'"x"']),
        (b'[{"a":1}]\n[{"b":2}]', [b'{"a":1}', b'{"b":2}']),
        (b'{\n "a":1\n}\n{\n "b":2}\n', [b'{\n "a":1\n}', b'{\n "b":2}']),
        (b"\0" * 4096 + b"203.0.113.5 - -\nb", [b"203.0.113.5 - -", b"b"]),
        (b'\0\0{"a":1}\n', [b'{"a":1}']),
        (b'\0\0\0\n\0\n{"a":1}\n', [b'{"a":1}']),
        (b'\0\0\0\0\x07{"a":1}', [b'\0\0\0\0\x07{"a":1}']),
        (b'\0\0\0\0{{"a":1}', [b'\0\0\0\0{{"a":1}']),
        (b"[15/Oct/2025] x\n[1]\n", [b"[15/Oct/2025] x", b"[1]"]),
    ],
)
def test_what_is_around_the_values_is_left_out_and_nothing_else(
    tmp_path: Path, content: bytes, values: list[bytes]
) -> None:
    assert read(tmp_path, content) == values


def test_a_long_array_is_read_value_by_value(tmp_path: Path) -> None:
    values = [{"n": n, "text": "ü]},[{" * (n % 50)} for n in range(5 * BUFFER // 150)]
    for indent in (None, 1):
        found = read(tmp_path, json.dumps(values, indent=indent, ensure_ascii=False).encode())
        assert [json.loads(value) for value in found] == values


def test_a_value_too_long_for_a_record_is_cut_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b'[{"a":"%s"},{"b":1}]' % (b"x" * 3 * MAX_LINE))
    first, *_, last = lines(path)
    assert (len(first.text), last.text) == (MAX_LINE, b'{"b":1}')


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"PK\x03\x04rest", "is a zip archive: unpack it"), ("[{}]".encode("utf-16"), "is UTF-16: iconv")],
)
def test_what_cannot_be_read_is_refused_with_what_to_do(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read(tmp_path, content)


@pytest.mark.parametrize("codec", ["zstd", "lz4", "gzip"])
def test_a_torn_file_says_how_far_it_was_read(tmp_path: Path, codec: str) -> None:
    text = io.BytesIO()
    for n in range(200_000):
        text.write(b"%d\n" % (n * 7919 % 1_000_003))
    with pytest.raises(BehaviorError, match=r"damaged after line \d+.*lines could be read"):
        read(tmp_path, packed(codec)(text.getvalue())[:-1000])
