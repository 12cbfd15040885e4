"""What is made of a schema registry's answers; with a real one: tests/integration/test_schema_registry.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from features.errors import ConfigurationError, EnvironmentProblem
from features.validation import Rejection
from settings import load_settings
from streams import schema_registry
from streams.rules import validation_rules
from streams.schema_registry import SchemaRegistry

Answer = Callable[[httpx.Request], httpx.Response]
AVRO = {"schema": '"string"'}
VALUE = b"\0\0\0\0\x07\x04ab"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths that were asked for; ``answer`` of the class below says what comes back."""
    paths: list[str] = []
    client = httpx.Client

    def respond(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return Answers.now(request)

    monkeypatch.setattr(httpx, "Client", lambda **options: client(**options, transport=httpx.MockTransport(respond)))
    schema_registry._readers.cache_clear()  # noqa: SLF001 - as a new process has it
    yield paths
    schema_registry._readers.cache_clear()  # noqa: SLF001


class Answers:
    now: Answer = staticmethod(lambda _: httpx.Response(200, json=AVRO))


def answering(answer: Answer) -> SchemaRegistry:
    Answers.now = staticmethod(answer)
    return SchemaRegistry("http://registry.example/", away_seconds=0.3)


def test_a_schema_is_asked_for_once_and_a_value_without_a_frame_never(asked: list[str]) -> None:
    registry = answering(lambda _: httpx.Response(200, json=AVRO))
    assert [registry(VALUE), registry(VALUE), registry(b"{}")] == [b'"ab"', b'"ab"', None]
    assert asked == ["/schemas/ids/7"]


@pytest.mark.parametrize("status", [400, 404, 406, 422])
def test_what_the_registry_does_not_know_is_rejected_and_asked_for_again_after_a_while(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    registry = answering(lambda _: httpx.Response(status, json={"message": "?"}))
    refused = Rejection("undecodable", None, "schema 7 is not in the registry")
    assert [registry(VALUE), registry(VALUE)] == [refused, refused]
    assert len(asked) == 1
    monkeypatch.setattr(schema_registry, "UNKNOWN_SECONDS", 0)
    schema_registry._readers.cache_clear()  # noqa: SLF001
    assert [registry(VALUE), registry(VALUE)] == [refused, refused]
    assert len(asked) == 3


def test_a_number_that_no_registry_gives_is_not_asked_for(asked: list[str]) -> None:
    found = answering(lambda _: httpx.Response(500))(b"\0\xff\xff\xff\xffx")
    assert isinstance(found, Rejection)
    assert asked == []


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (httpx.Response(401), r"refuses the login \(401\)\. Set ingest\.schema_registry_username"),
        (httpx.Response(302, headers={"location": "/sign-in"}), r"sends elsewhere \(302\)"),
        (httpx.Response(503), r"does not answer \(status 503\), and records wait for it"),
        (httpx.Response(200, text="<html>"), "does not answer"),
        (httpx.Response(429), "does not answer"),
    ],
)
def test_what_is_no_answer_ends_in_a_sentence(asked: list[str], answer: httpx.Response, sentence: str) -> None:
    with pytest.raises(EnvironmentProblem, match=sentence):
        answering(lambda _: answer)(VALUE)
    assert asked


def test_one_that_comes_back_is_asked_again(asked: list[str]) -> None:
    answers = iter([httpx.Response(503), httpx.Response(200, json=AVRO)])
    assert answering(lambda _: next(answers))(VALUE) == b'"ab"'
    assert len(asked) == 2


def test_references_are_followed_and_a_circle_of_them_is_refused(asked: list[str]) -> None:
    place = {"type": "record", "name": "Place", "fields": [{"name": "path", "type": "string"}]}
    reference = {"name": "Place", "subject": "a/b", "version": 2}
    registry = answering(
        lambda request: httpx.Response(
            200,
            json={"schema": json.dumps(place)}
            if "subjects" in request.url.path
            else {"schema": '"Place"', "references": [reference]},
        )
    )
    assert registry(VALUE) == b'{"path": "ab"}'
    circle = {"schema": '"Place"', "references": [reference]}
    schema_registry._readers.cache_clear()  # noqa: SLF001
    found = answering(lambda _: httpx.Response(200, json=circle))(VALUE)
    assert found == Rejection("undecodable", None, "schema 7 of the registry: its references go round in a circle")


@pytest.mark.parametrize("address", ["registry:8081", "ftp://registry", "http://reader:secret@registry:8081"])
def test_an_address_that_is_none_or_holds_a_login_is_refused(address: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"ingest\.schema_registry_url: .*needed an address such as"
    ) as refused:
        load_settings("local", [f"ingest.schema_registry_url={address}"])
    assert "secret" not in str(refused.value)


def test_certificates_are_read_where_the_job_starts_and_a_password_is_in_no_text() -> None:
    chosen = ["ingest.schema_registry_url=https://registry", "ingest.schema_registry_password=s3cret-word"]
    rules = validation_rules(load_settings("local", chosen).ingest)
    assert "s3cret-word" not in repr(rules)
    with pytest.raises(ConfigurationError, match="no-such-file, which has no certificates"):
        validation_rules(load_settings("local", [*chosen, "ingest.schema_registry_ca_file=no-such-file"]).ingest)
