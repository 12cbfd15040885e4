"""Splitting bodies into the texts of their events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.requests.event_texts import split

TEXTS = st.recursive(
    st.sampled_from([b'"a,]}[{"', rb'"\"]\\"', b"1.50", b"null", '"\u00e9\U0001f600"'.encode(), b'"\xff"']),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: b"[" + b" , ".join(parts) + b"]"),
)
OBJECTS = st.lists(TEXTS, max_size=3).map(lambda parts: b"{" + b",\t".join(b'"k":' + part for part in parts) + b"}")


@given(st.lists(OBJECTS, min_size=1, max_size=4), st.sampled_from([b"", b" ", b"\n", b"\r\n "]))
def test_an_array_is_split_into_the_texts_it_was_made_of(texts: list[bytes], blanks: bytes) -> None:
    assert split(blanks + b"[" + (blanks + b"," + blanks).join(texts) + blanks + b"]" + blanks) == texts


@given(st.lists(OBJECTS, min_size=1, max_size=4), st.sampled_from([b"\n", b"\r\n", b"\n \n"]))
def test_lines_are_split_into_the_texts_they_were_made_of(texts: list[bytes], end: bytes) -> None:
    assert split(end.join(texts)) == split(end.join([*texts, b""])) == texts


@given(
    st.lists(st.sampled_from([b"[", b"]", b"{", b"}", b",", b'"', b"\\", b"\n", b" ", b"1", b"\xff"])).map(b"".join),
    st.sampled_from([b"", b"[", b"{", b'["']),
)
def test_splitting_loses_nothing_but_blanks_commas_and_the_arrays_brackets(body: bytes, start: bytes) -> None:
    left = bytes(byte for byte in start + body if byte not in b" \t\r\n,[]")
    assert bytes(byte for byte in b"".join(split(start + body)) if byte not in b" \t\r\n,[]") == left


@pytest.mark.parametrize(
    ("body", "media", "texts"),
    [
        (b"", "", []),
        (b"[ ]", "", []),
        (b'{"a":\n1}', "", [b'{"a":\n1}']),
        (b'{"a":\n1}', "application/x-ndjson", [b'{"a":', b"1}"]),
        (b'{"a": "b\n{"c": 1}', "", [b'{"a": "b', b'{"c": 1}']),
        (b"{}{}", "", [b"{}{}"]),
        (b"[{},\n{}", "", [b"[{},\n{}"]),
        (b"[{}],{}]", "", [b"[{}],{}]"]),
        (b"[{}]", "application/x-ndjson", [b"[{}]"]),
        (b"[{}}", "", [b"[{}}"]),
        (b"[}", "", [b"[}"]),
        (b"[,]", "", [b"", b""]),
        (b"\xff\xfe{\n", "", [b"\xff\xfe{"]),
    ],
)
def test_corners_of_splitting(body: bytes, media: str, texts: list[bytes]) -> None:
    assert split(body, media) == texts
