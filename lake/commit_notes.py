"""What a commit says of itself in its ``userMetadata``: the batch that made it, and where that ends in its source.

``BATCH_ID`` or ``BATCH_ID ENDS``; the ends are the source's own JSON. Batch jobs have none.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    batch_id: str
    ends: str = ""


def note(batch_id: str, ends: str = "") -> str:
    """The text of a note."""
    return f"{batch_id} {ends}" if ends else batch_id


def read(text: str) -> Note:
    """The note that a text is."""
    batch_id, brace, rest = text.partition(" {")
    return Note(batch_id, brace.strip() + rest)
