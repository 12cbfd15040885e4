"""Values of Avro, Protobuf and JSON Schema, as the serializers of a schema registry write them -> JSON.

Numbers and texts are written as they are; times that the schema calls so are ISO 8601 in UTC, bytes are base64.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

from features.validation import FRAME

KINDS = ("AVRO", "PROTOBUF", "JSON")
MOST_NESTED = 16
"""Levels of messages within messages that a value of Protobuf may be of."""
PROTOC_SECONDS = 60

Reader = Callable[[bytes], bytes]
"""A value with its frame -> JSON; raises ValueError where it does not fit the schema."""


@dataclass(frozen=True)
class Schema:
    """A schema as a registry has it.

    Attributes:
        kind: one of :data:`KINDS`.
        text: what it says.
        references: names and texts of the schemas that it refers to, each after those that it refers to itself.
    """

    kind: str
    text: str
    references: Mapping[str, str] = field(default_factory=dict)


def reader_of(schema: Schema) -> Reader:
    """What reads values of a schema.

    Raises:
        ValueError: the schema is of another kind, or cannot be understood.
    """
    makers = {"AVRO": _avro, "PROTOBUF": _protobuf, "JSON": _json}
    if schema.kind not in makers:
        raise ValueError(f"schemas of kind {schema.kind} are not known; those of {', '.join(KINDS)} are")
    return makers[schema.kind](schema)


def _json(_: Schema) -> Reader:
    """The validation of events says what is wrong with them: the schema itself is not looked at."""
    return lambda value: value[FRAME:]


# --- Avro --------------------------------------------------------------------------------------------------------


def _avro(schema: Schema) -> Reader:
    from fastavro import parse_schema, schemaless_reader  # noqa: PLC0415 - only where there is Avro
    from fastavro.schema import SchemaParseException, UnknownType  # noqa: PLC0415

    named: dict[str, Any] = {}
    try:
        for text in schema.references.values():
            parse_schema(json.loads(text), named_schemas=named)
        parsed = parse_schema(json.loads(schema.text), named_schemas=named, expand=True)  # readers know no names
    except UnknownType as error:
        raise ValueError(f"the schema is no Avro schema: type {error.name} is not known") from None
    except (SchemaParseException, ValueError, KeyError) as error:
        raise ValueError(f"the schema is no Avro schema: {error}") from None
    _least_size(parsed, named, ())

    def read(value: bytes) -> bytes:
        body = BytesIO(value[FRAME:])
        try:
            record = schemaless_reader(body, parsed, None)
            text = json.dumps(record, default=_plain, ensure_ascii=False)
        except EOFError:
            raise ValueError("it ends too soon") from None
        except UnicodeDecodeError:
            raise ValueError("a text in it is no UTF-8") from None
        except Exception:  # noqa: BLE001 - whatever a library makes of bytes that strangers choose
            raise ValueError("its bytes are none of this schema") from None
        if body.read(1):
            raise ValueError("more follows it")
        return text.encode()

    return read


def _least_size(schema: Any, named: Mapping[str, Any], inside: tuple[str, ...]) -> int:
    """Fewest bytes that a value takes, of those that count: 0 or 1.

    Raises:
        ValueError: a type holds itself, which a value could do deeper than any stack; or a list is of what takes no
            bytes, so that a few bytes could say that there are billions.
    """
    if isinstance(schema, list):
        for branch in schema:
            _least_size(branch, named, inside)
        return 1
    kind = schema["type"] if isinstance(schema, dict) else schema
    name = str(schema.get("name", "")) if isinstance(schema, dict) else str(schema)
    if name in inside:
        raise ValueError(f"the schema's type {name} holds itself, which is not read")
    if not isinstance(schema, dict):
        return _least_size(named[name], named, inside) if name in named else int(name != "null")
    if isinstance(kind, dict | list):
        return _least_size(kind, named, inside)
    if kind in ("record", "error"):
        sizes = [_least_size(one["type"], named, (*inside, name)) for one in schema["fields"]]
        return max(sizes, default=0)
    if kind in ("array", "map"):
        if not _least_size(schema["items" if kind == "array" else "values"], named, inside) and kind == "array":
            raise ValueError("the schema has a list of what takes no bytes, which is not read")
        return 1
    if kind == "fixed":
        return int(schema["size"] > 0)
    return _least_size(kind, named, inside) if kind in named else int(kind != "null")


def _plain(value: Any) -> Any:
    """What Avro's logical types and bytes are in JSON."""
    if isinstance(value, datetime):  # one without a zone is of a local clock: nobody knows which
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal | UUID):
        return str(value)
    raise ValueError(f"a value of type {type(value).__name__}")


# --- Protobuf ----------------------------------------------------------------------------------------------------


def _protobuf(schema: Schema) -> Reader:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: PLC0415 - only where there is Protobuf
    from google.protobuf.descriptor_pool import DescriptorPool  # noqa: PLC0415
    from google.protobuf.json_format import MessageToJson  # noqa: PLC0415
    from google.protobuf.message import DecodeError  # noqa: PLC0415
    from google.protobuf.message_factory import GetMessageClass  # noqa: PLC0415

    main = "behavior_main.proto"
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(_compiled({**schema.references, main: schema.text}, main)).file:
        pool.Add(file)
    messages = list(pool.FindFileByName(main).message_types_by_name.values())

    def message_at(path: list[int]) -> Any:
        try:
            found = messages[path[0]]
            for place in path[1:]:
                found = found.nested_types[place]
        except IndexError:
            raise ValueError("its schema has no such message") from None
        return GetMessageClass(found)

    def read(value: bytes) -> bytes:
        path, at = _message_path(value, FRAME)
        message = message_at(path)()
        try:
            message.ParseFromString(value[at:])
            text: str = MessageToJson(message, preserving_proto_field_name=True, indent=None, ensure_ascii=False)
        except DecodeError:
            raise ValueError("its bytes are no such message") from None
        except Exception:  # noqa: BLE001 - whatever a library makes of bytes that strangers choose
            raise ValueError("a value in it is none that JSON has, such as a time beyond all calendars") from None
        return text.encode()

    return read


def _compiled(files: Mapping[str, str], main: str) -> bytes:
    """``files`` as a set of descriptors, with those that come with Protobuf itself.

    Raises:
        ValueError: the compiler does not understand them.
    """
    with TemporaryDirectory(prefix="behavior-proto-") as folder:
        for name, text in files.items():  # -P below: Python imports nothing from this folder
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not name.endswith(".proto"):
                raise ValueError(f"a schema is referred to as {name[:100]!r}, which is no name of a file")
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        out = Path(folder, "descriptors")
        command = [sys.executable, "-P", "-m", "grpc_tools.protoc", "-I.", "--include_imports"]
        done = subprocess.run(
            [*command, f"-I{_well_known()}", f"--descriptor_set_out={out}", main],
            cwd=folder, capture_output=True, text=True, timeout=PROTOC_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            said = next((line for line in done.stderr.splitlines() if ".proto:" in line), "no reason given")
            raise ValueError(f"the schema is no Protobuf schema: {said}")
        return out.read_bytes()


def _well_known() -> Path:
    """The folder of google/protobuf/timestamp.proto and its like."""
    found = find_spec("grpc_tools")
    assert found is not None
    return Path(next(iter(found.submodule_search_locations or ())), "_proto")


def _message_path(value: bytes, at: int) -> tuple[list[int], int]:
    """Which message of the schema it is, as numbers by level, and where the message begins.

    A count and so many numbers, as zigzag integers of variable length; 0 stands for the first message.
    """
    count, at = _number(value, at)
    if count == 0:
        return [0], at
    if not 0 < count <= MOST_NESTED:
        raise ValueError("no message is named before it")
    path = []
    for _ in range(count):
        place, at = _number(value, at)
        if place < 0:
            raise ValueError("no message is named before it")
        path.append(place)
    return path, at


def _number(value: bytes, at: int) -> tuple[int, int]:
    bits = shift = 0
    while shift < 64:
        if at >= len(value):
            break
        byte = value[at]
        bits |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return (bits >> 1) ^ -(bits & 1), at
    raise ValueError("it ends too soon")
