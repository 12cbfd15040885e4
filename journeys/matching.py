"""Steps as conditions of SQL on the columns of ``acts``, with the values that their parameters take."""

from __future__ import annotations

from journeys.definitions import WILD, Step


def fits(step: Step) -> tuple[str, list[str]]:
    """The condition that :meth:`Step.fits` is; never null."""
    conditions, values = [], list[str]()
    for column, alternatives in (("action", step.actions), ("outcome", step.outcomes)):
        if alternatives:
            conditions.append(f"coalesce({column} IN ({', '.join('?' * len(alternatives))}), false)")
            values += alternatives
    if step.pages:
        conditions.append("(" + " OR ".join(["page LIKE ? ESCAPE '\\'"] * len(step.pages)) + ")")
        values += [_like(pattern) for pattern in step.pages]
    return f"({' AND '.join(conditions)})", values


def _like(pattern: str) -> str:
    """The pattern as SQL has it, whose own signs stand for themselves."""
    for sign in "\\%_":
        pattern = pattern.replace(sign, f"\\{sign}")
    return pattern.replace(WILD, "%")
