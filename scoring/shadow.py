"""The challenger beside the champion: it may be missing, damaged or away, and nobody waits for it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from features.errors import ModelError
from scoring.champion import ChampionFollower, LoadedModel, ModelSource

log = logging.getLogger(__name__)

CHALLENGER = "challenger"


@dataclass
class ChallengerFollower:
    """Asks at every micro-batch who challenges; trouble is logged when it changes, and never raised."""

    source: ModelSource
    _follower: ChampionFollower = field(init=False)
    _said: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._follower = ChampionFollower(self.source, alias=CHALLENGER)

    def follow(self, champion: LoadedModel) -> LoadedModel | None:
        """The challenger of this micro-batch; None when there is none, or when it is the champion itself."""
        trouble, challenger = None, None
        try:
            if self.source.resolve(CHALLENGER) is not None:
                followed = self._follower.follow()
                challenger, trouble = followed.champion, followed.trouble
        except ModelError as error:
            trouble = str(error)
        if trouble is not None and trouble != self._said:
            log.warning("the challenger does not score as it should: %s", trouble)
        self._said = trouble
        return None if challenger is None or challenger.version == champion.version else challenger
