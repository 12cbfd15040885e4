"""The models that score a micro-batch, at the workers by broadcast; without any, or with a broken one, scores wait."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from time import monotonic

from pyspark import Broadcast, SparkContext
from pyspark.sql import SparkSession

from features.errors import ModelError
from pipeline.workers import Models
from registry.configured import registry_of
from scoring.arrays import Rules
from scoring.champion import PATIENCE_SECONDS, ChampionFollower, LoadedModel, ModelSource
from scoring.frames import scorer_of
from scoring.rows import RowScorer
from scoring.shadow import ChallengerFollower
from settings import Settings
from telemetry import metrics

log = logging.getLogger(__name__)


@dataclass
class ModelsInForce:
    """Asks the registry at every micro-batch; a promotion takes effect with the next one.

    Attributes:
        shadow: whether the challenger scores beside the champion.
    """

    context: SparkContext
    source: ModelSource
    rules: Rules
    shadow: bool
    _shipped: Broadcast[Models] | None = field(default=None, init=False)
    _of: tuple[LoadedModel, LoadedModel | None] | None = field(default=None, init=False)
    _said: str | None = field(default=None, init=False)
    _broken: tuple[LoadedModel, float] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._champion = ChampionFollower(self.source)
        self._challenger = ChallengerFollower(self.source) if self.shadow else None

    def follow(self, batch_id: str) -> Broadcast[Models] | None:
        """The models of this micro-batch; None where there is no champion, or it cannot be had or has just failed."""
        try:
            followed = self._champion.follow()
        except ModelError as error:
            self._say(batch_id, f"rows are scored later: {error}")
            return None
        champion = followed.champion
        if followed.changed:
            log.info("batch %s: version %s scores from here on", batch_id, champion.version)
            metrics.model(champion.name, champion.version)
        self._say(batch_id, followed.trouble)
        if self._broken is not None and self._broken[0] is champion and monotonic() < self._broken[1]:
            return None
        challenger = None if self._challenger is None else self._challenger.follow(champion)
        return self._broadcast(champion, challenger)

    def failed(self, batch_id: str, trouble: str) -> None:
        """The champion raised an error in a worker: it is left alone for a while, unless another takes its place."""
        if self._of is not None:
            self._broken = self._of[0], monotonic() + PATIENCE_SECONDS
        self._say(batch_id, f"rows are scored later, the model failed: {trouble}")

    def _broadcast(self, champion: LoadedModel, challenger: LoadedModel | None) -> Broadcast[Models]:
        if self._shipped is None or self._of != (champion, challenger):
            if self._shipped is not None:
                self._shipped.unpersist()
            beside = None if challenger is None else _ready(challenger, Rules(self.rules.min_session_events, 0))
            self._shipped = self.context.broadcast(Models(_ready(champion, self.rules), beside))
            self._of = champion, challenger
        return self._shipped

    def _say(self, batch_id: str, trouble: str | None) -> None:
        """Log what is wrong when it changes, not at every micro-batch."""
        if trouble is not None and trouble != self._said:
            log.warning("batch %s: %s", batch_id, trouble)
        self._said = trouble


def models_of(spark: SparkSession, settings: Settings) -> ModelsInForce:
    """As the settings say."""
    rules = Rules(settings.model.min_session_events, settings.score.max_reasons)
    return ModelsInForce(spark.sparkContext, registry_of(settings), rules, settings.score.shadow)


def _ready(model: LoadedModel, rules: Rules) -> RowScorer:
    return RowScorer(model.name, model.version, model.model.feature_version, scorer_of(model, rules))
