"""Every table once: schema, key and clustering. Jobs create tables from here; docs and tests read it.

All times are UTC. Revised tables (``features``, ``scores``) are append-only: a key may have several
rows, and the one with the greatest ``(batch_time, batch_id)`` is the valid one (:func:`features.revisions.latest`).
"""

from __future__ import annotations

from features.tables.alerts import ALERTS, FEEDBACK, RISK
from features.tables.audit import AUDIT, ERASURES
from features.tables.events import COORDINATES, EVENT_FIELDS, EVENTS, LEDGER_GAPS, REJECTED_EVENTS
from features.tables.identities import IDENTITIES
from features.tables.patterns import PATTERN_DAYS, PATTERN_MEMBERS, PATTERNS, PROFILE, SEGMENTS, TRANSITIONS
from features.tables.reports import DRIFT_REPORTS, PARITY_REPORTS
from features.tables.scores import REASON, SCORES, SHADOW_SCORES
from features.tables.table import BATCH, Table
from features.tables.tiles_and_features import FEATURE_ROW, FEATURE_TABLE, TILE_KEYS, TILES

__all__ = [
    "ALERTS",
    "AUDIT",
    "BATCH",
    "COORDINATES",
    "DRIFT_REPORTS",
    "ERASURES",
    "EVENTS",
    "EVENT_FIELDS",
    "FEATURE_ROW",
    "FEATURE_TABLE",
    "FEEDBACK",
    "IDENTITIES",
    "LEDGER_GAPS",
    "PARITY_REPORTS",
    "PATTERNS",
    "PATTERN_DAYS",
    "PATTERN_MEMBERS",
    "PROFILE",
    "REASON",
    "REJECTED_EVENTS",
    "RISK",
    "SCORES",
    "SEGMENTS",
    "SHADOW_SCORES",
    "TABLES",
    "TILES",
    "TILE_KEYS",
    "TRANSITIONS",
    "Table",
]

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        EVENTS,
        REJECTED_EVENTS,
        TILES,
        FEATURE_TABLE,
        IDENTITIES,
        SCORES,
        ALERTS,
        PARITY_REPORTS,
        ERASURES,
        FEEDBACK,
        RISK,
        SHADOW_SCORES,
        PATTERN_DAYS,
        PATTERNS,
        SEGMENTS,
        TRANSITIONS,
        PATTERN_MEMBERS,
        DRIFT_REPORTS,
        LEDGER_GAPS,
        AUDIT,
    )
}
