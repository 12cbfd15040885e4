"""CloudEvents in Kafka's binary mode, attributes in headers and data in the value -> one object, as in structured mode.

CloudEvents 1.0, Kafka Protocol Binding, section 3.2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from features.strict_json import BLANKS, first_value

PREFIX = "ce_"
VERSION = "specversion"
Headers = Sequence[Mapping[str, str | bytes | None]]
"""Of a record in Kafka: mappings with ``key`` and ``value``."""


def structured(value: bytes, headers: Headers) -> bytes | None:
    """The event whose attributes are in the ``headers`` and whose data is the ``value``.

    None where the headers are those of no such event, or the value is no JSON.
    """
    attributes = {}
    for header in headers:
        name, written = header["key"], header["value"]
        if isinstance(name, str) and name.startswith(PREFIX) and isinstance(written, bytes):
            attributes[name.removeprefix(PREFIX)] = written.decode("utf-8", "replace")
    if VERSION not in attributes:
        return None
    try:
        text = value.decode()
        _, end = first_value(text)
    except (ValueError, RecursionError):
        return None
    if text[end:].strip(BLANKS):
        return None
    members = [f"{json.dumps(name)}:{json.dumps(one)}" for name, one in attributes.items() if name != "data"]
    return f'{{{",".join(members)},"data":{text}}}'.encode()
