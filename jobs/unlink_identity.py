"""Take a user and an anonymous id apart that an event has linked wrongly, or link them again.

Reads and writes table identities. Needs no Spark, and runs beside the streams.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import pyarrow.compute as pc
import typer

from features.errors import BehaviorError
from features.identities import RESTORED, UNDONE
from features.tables import IDENTITIES
from lake import arrow_tables
from privacy.pseudonyms import keyed_hash_of
from settings import Settings, cli, load_settings


def say(settings: Settings, user_id: str, anonymous_id: str, *, restore: bool = False) -> datetime:
    """Note that both are not the same person (``restore``: that they are); returns the minute of their link.

    Raises:
        BehaviorError: they were never linked.
    """
    users, ids = _names(user_id, settings), _names(anonymous_id, settings)
    is_pair = pc.field("user_id").isin(users) & pc.field("anonymous_id").isin(ids)
    there = arrow_tables.read(settings.storage.root, IDENTITIES, where=is_pair).sort_by("linked_at").to_pylist()
    links = [row for row in there if row["source"] not in (UNDONE, RESTORED)]
    if not links:
        raise BehaviorError(
            f"{user_id} and {anonymous_id} were never linked. Needed: a pair of table identities; GET /identities of "
            "the server names those of a user."
        )
    now, first = datetime.now(UTC), links[0]
    batch = f"unlink:{now.isoformat()}"
    own = {"source": RESTORED if restore else UNDONE, "batch_time": now, "batch_id": batch}
    arrow_tables.append(settings.storage.root, IDENTITIES, [first | own], batch_id=batch)
    minute: datetime = first["linked_at"]
    return minute.astimezone(UTC)


def _names(one: str, settings: Settings) -> list[str]:
    """An id, and what stands for it where ids are pseudonyms."""
    key = settings.pseudonym_key if settings.ingest.pseudonymise else None
    return [one] if key is None else [one, keyed_hash_of(one, key.get_secret_value().encode())]


def main(
    user_id: Annotated[str, typer.Option("--user-id", help="The user.")],
    anonymous_id: Annotated[str, typer.Option("--anonymous-id", help="The id that is not his.")],
    restore: Annotated[bool, typer.Option("--restore", help="Link them again: it was his after all.")] = False,
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
) -> None:
    """Undo a wrong link. Reads and writes identities; rows made from now on are made without it."""
    settings = load_settings(env, overrides or ())
    since = say(settings, user_id, anonymous_id, restore=restore)
    typer.echo(
        f"{user_id} and {anonymous_id} are {'linked again' if restore else 'taken apart'}: rows are made so from now "
        f"on. Those that are there: python -m jobs.backfill_features --since {since:%Y-%m-%dT%H:%M}Z."
    )


if __name__ == "__main__":
    cli.run(main)
