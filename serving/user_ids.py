"""The ids by which tables may know a user."""

from __future__ import annotations

import pyarrow as pa

from privacy.pseudonyms import keyed_hash_of
from settings import Settings


def names_of(user_id: str, settings: Settings) -> pa.Array:
    """The id, and the keyed hash that stands for it where tables have no ids."""
    key = settings.pseudonym_key
    if not settings.ingest.pseudonymise or key is None:
        return pa.array([user_id])
    return pa.array([user_id, keyed_hash_of(user_id, key.get_secret_value().encode())])
