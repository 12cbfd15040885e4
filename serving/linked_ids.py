"""Who belongs together by the links of table identities, for the API and the time line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from features.identities import FOREVER, RESTORED, UNDONE, Link, Links
from features.tables import IDENTITIES
from lake.link_rows import KEPT, links_in_rows
from lake.reader import LakeReader

MINUTE_SECONDS = 60


def links_with(lake: LakeReader, names: pa.Array) -> list[dict[str, Any]]:
    """The links in which one of the ``names`` is the user, or the anonymous id, the newest first. Blocks.

    ``lent_from`` and ``lent_until`` say in which minutes rows of the user are made of what the anonymous id did, too;
    both are null where none are: somebody else was linked to it before, or a person has undone it.
    """
    known = _rows(lake, _either(names, names))
    if not known.num_rows:
        return []
    # What is lent depends on who else was linked to these ids, and on how many ids a user was linked to.
    ids = pc.unique(known["anonymous_id"])
    users = pc.unique(_rows(lake, pc.field("anonymous_id").isin(ids))["user_id"])
    all_links = links_in_rows(_rows(lake, _either(users, ids)))
    links = Links.of(all_links)
    wanted = set(names.to_pylist())
    first: dict[tuple[str, str], Link] = {}
    for link in sorted(all_links, key=lambda one: one.minute):
        is_event = link.source not in (UNDONE, RESTORED)
        if link.user_id is not None and is_event and not wanted.isdisjoint(link[:2]):
            first.setdefault((link.user_id, link.anonymous_id), link)
    return [_told(link, links) for link in reversed(list(first.values()))]


def _either(users: pa.Array, ids: pa.Array) -> pc.Expression:
    return pc.field("user_id").isin(users) | pc.field("anonymous_id").isin(ids)


def _rows(lake: LakeReader, where: pc.Expression) -> pa.Table:
    return lake.rows(IDENTITIES, columns=KEPT, where=where)


def _told(link: Link, links: Links) -> dict[str, Any]:
    loan = links.loan(link.anonymous_id)
    is_lent = loan is not None and loan.user == link.user_id
    return {
        "user_id": link.user_id,
        "anonymous_id": link.anonymous_id,
        "linked_at": _time(link.minute),
        "source": link.source,
        "is_undone": link[:2] in links.undone,
        "lent_from": _time(loan.since) if loan is not None and is_lent else None,
        "lent_until": _time(loan.until) if loan is not None and is_lent and loan.until < FOREVER else None,
    }


def _time(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * MINUTE_SECONDS, UTC)
