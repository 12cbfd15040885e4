"""The model in force, as the page tells it; MLflow is imported (eight seconds) only when somebody looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from features.errors import ModelError
from registry.sqlite_file import may_hold
from settings import Settings

NO_MODEL = (
    "No model is champion yet, so rows wait to be scored. make run trains the first one by itself; "
    "else: python -m jobs.train_model, then python -m jobs.promote_model."
)


@dataclass(frozen=True)
class ModelFacts:
    """The champion and who stands beside it; ``trouble`` is a sentence where there is no champion to tell of."""

    version: str | None = None
    preset: str = ""
    feature_version: str = ""
    registered_at: datetime | None = None
    promoted_at: datetime | None = None
    promoted_why: str = ""
    threshold: float | None = None
    rows: int | None = None
    users: int | None = None
    days: float | None = None
    source: str = ""
    challenger: str | None = None
    previous: str | None = None
    trouble: str | None = None


def facts_of(settings: Settings) -> ModelFacts:
    """Ask the registry; blocks for as long as it takes."""
    if not may_hold(settings.model.tracking_uri, settings.model.name):  # else MLflow would make its tables, amid others
        return ModelFacts(trouble=NO_MODEL)
    from registry.configured import registry_of  # noqa: PLC0415
    from registry.mlflow_registry import CHALLENGER, PREVIOUS  # noqa: PLC0415

    registry = registry_of(settings)
    try:
        champion = registry.describe()
        challenger, previous = registry.resolve(CHALLENGER), registry.resolve(PREVIOUS)
    except ModelError as problem:
        return ModelFacts(trouble=str(problem))
    beside: dict[str, Any] = {
        "challenger": challenger.version if challenger else None,
        "previous": previous.version if previous else None,
    }
    if champion is None:
        return ModelFacts(
            **beside,
            trouble=NO_MODEL,
        )
    return ModelFacts(
        version=champion.version,
        preset=champion.tags.get("preset", ""),
        feature_version=champion.tags.get("feature_version", ""),
        registered_at=champion.registered_at,
        promoted_at=_time(champion.tags.get("promoted_at")),
        promoted_why=champion.tags.get("promoted_why", ""),
        threshold=_number(champion.tags.get("threshold")) or champion.metrics.get("threshold"),
        rows=_whole(champion.metrics, "rows"),
        users=_whole(champion.metrics, "users"),
        days=champion.metrics.get("days"),
        source=_source(champion.tags),
        **beside,
    )


def _source(tags: Mapping[str, str]) -> str:
    """Where the training rows come from, without the folders above: "features at version 12"."""
    name, version = tags.get("source", "").rstrip("/").rpartition("/")[2], tags.get("delta_version", "None")
    return f"{name} at version {version}" if name and version != "None" else name


def _time(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _whole(metrics: Mapping[str, float], name: str) -> int | None:
    return round(metrics[name]) if name in metrics else None
