"""What a schema registry says of the values that its serializers have written, asked over HTTP.

The answers of Confluent's registry and of those that answer alike (Karapace, Apicurio's ``/apis/ccompat/v7``). A
schema is asked for once in each worker: what an id stands for never changes.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from features.errors import EnvironmentProblem
from features.schemas.encodings import Reader, Schema, reader_of
from features.validation import Rejection, schema_id_in

TYPES = "application/vnd.schemaregistry.v1+json, application/json"
UNKNOWN_SECONDS = 60
"""So long an id that was not known is not asked for again."""
MOST_UNKNOWN = 10_000
HIGHEST_ID = 2**31 - 1
"""Registries count in Java's integers."""
DEEPEST = 20
"""Schemas that refer to schemas."""
REQUEST_SECONDS = 10
LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True)
class SchemaRegistry:
    """Takes values that begin with a registry's frame: a NUL, and the schema's id in four bytes.

    Attributes:
        url: of the registry.
        username: its login, where it wants one.
        authorities: certificates (PEM) of those that are trusted; None: those of the machine.
        away_seconds: how long it is waited for, when it does not answer.
    """

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    authorities: str | None = None
    away_seconds: float = 600

    def __call__(self, value: bytes) -> bytes | Rejection | None:
        """The value as JSON, or why it cannot be read; None of one without a frame.

        Raises:
            EnvironmentProblem: the registry does not answer, or refuses the login.
        """
        number = schema_id_in(value)
        if number is None:
            return None
        if number > HIGHEST_ID:
            return Rejection("undecodable", None, f"schema {number} is no number that a registry gives")
        read = _readers(self).of(number)
        if isinstance(read, Rejection):
            return read
        try:
            return read(value)
        except ValueError as error:
            return Rejection("undecodable", None, f"does not fit its schema {number}: {str(error)[:100]}")


class _Away(Exception):
    """No answer, or one that says that there may be one later."""


class _Readers:
    """Of the schemas that were asked for in this process."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry
        login = None if registry.username is None else (registry.username, registry.password or "")
        trusted: Any = True if registry.authorities is None else ssl.create_default_context(cadata=registry.authorities)
        self._client = httpx.Client(auth=login, verify=trusted, timeout=REQUEST_SECONDS, headers={"Accept": TYPES})
        self._known: dict[int, Reader | Rejection] = {}
        self._unknown: dict[int, float] = {}

    def of(self, number: int) -> Reader | Rejection:
        """What reads values of the schema with this id, or why nothing can."""
        if number in self._known:
            return self._known[number]
        refused = Rejection("undecodable", None, f"schema {number} is not in the registry")
        if time.monotonic() < self._unknown.get(number, 0):
            return refused
        answer = self._get(f"/schemas/ids/{number}")
        if answer is None:
            if len(self._unknown) >= MOST_UNKNOWN:
                self._unknown.clear()
            self._unknown[number] = time.monotonic() + UNKNOWN_SECONDS
            return refused
        try:
            found: Reader | Rejection = reader_of(self._schema(answer))
        except ValueError as error:
            found = Rejection("undecodable", None, f"schema {number} of the registry: {str(error)[:150]}")
        self._known[number] = found
        return found

    def _schema(self, answer: dict[str, Any]) -> Schema:
        references: dict[str, str] = {}
        self._collect(answer, references, 0)
        return Schema(str(answer.get("schemaType") or "AVRO").upper(), str(answer["schema"]), references)

    def _collect(self, answer: dict[str, Any], found: dict[str, str], depth: int) -> None:
        """What a schema refers to, those first to which that refers."""
        if depth > DEEPEST:
            raise ValueError("its references go round in a circle")
        for one in answer.get("references") or ():
            place = f"/subjects/{quote(str(one['subject']), safe='')}/versions/{int(one['version'])}"
            there = self._get(place)
            if there is None:
                raise ValueError(f"it refers to {one['subject']} version {one['version']}, which is not there")
            self._collect(there, found, depth + 1)
            found[str(one["name"])] = str(there["schema"])

    def _get(self, place: str) -> dict[str, Any] | None:
        """The answer; None where there is no such thing."""
        attempts = Retrying(
            retry=retry_if_exception_type(_Away),
            stop=stop_after_delay(self._registry.away_seconds),
            wait=wait_exponential(0.2, max=10),
        )
        try:
            return attempts(self._ask, place)
        except RetryError as error:
            why = error.last_attempt.exception()
            raise EnvironmentProblem(
                f"The schema registry at {self._registry.url} does not answer ({why}), and records wait for it. "
                "See that it runs there (ingest.schema_registry_url). Nothing is lost: start again."
            ) from None

    def _ask(self, place: str) -> dict[str, Any] | None:
        try:
            answer = self._client.get(f"{self._registry.url.rstrip('/')}{place}")
        except httpx.TransportError as error:
            raise _Away(str(error) or type(error).__name__) from None
        if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise EnvironmentProblem(
                f"The schema registry at {self._registry.url} refuses the login ({answer.status_code}). Set "
                "ingest.schema_registry_username and BEHAVIOR_INGEST__SCHEMA_REGISTRY_PASSWORD."
            )
        if answer.is_redirect:
            raise EnvironmentProblem(
                f"What answers at {self._registry.url} sends elsewhere ({answer.status_code}): see that "
                "ingest.schema_registry_url is the registry's own address."
            )
        if answer.is_client_error and answer.status_code not in LATER:
            return None  # it has none, or does not take the number for one
        try:
            found = answer.json() if answer.is_success else None
        except ValueError:
            found = None
        if not isinstance(found, dict) or "schema" not in found:
            raise _Away(f"status {answer.status_code}")
        return found


@cache
def _readers(registry: SchemaRegistry) -> _Readers:
    return _Readers(registry)
