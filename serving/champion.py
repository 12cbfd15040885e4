"""The champion as the server holds it: looked for in the background, exchanged between two requests.

A request takes the predictor once and keeps it to its end, so a promotion never mixes two models in one answer.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from features.errors import ModelError

if TYPE_CHECKING:
    from scoring.arrays import Rules
    from scoring.champion import ChampionFollower, ModelSource
    from serving.predictor import Predictor

log = logging.getLogger(__name__)

NO_MODEL = (
    "There is no model yet. Train and promote one: python -m jobs.train_model, then python -m jobs.promote_model "
    "(make run does so when it has seen enough behaviour)."
)


class Champion:
    """Follows the alias ``champion`` in a thread of its own.

    Args:
        source: makes the registry, None while there is nothing to ask; called in the thread, for MLflow takes seconds
            to import.
        rules: how rows are scored.
        seconds: pause between two looks.
    """

    def __init__(self, source: Callable[[], ModelSource | None], rules: Callable[[], Rules], seconds: float) -> None:
        self.predictor: Predictor | None = None
        self.trouble: str | None = "The model registry has not answered yet: ask again in some seconds."
        self.looked_at: datetime | None = None
        """When the registry was last asked, whatever came of it."""
        self._source, self._rules, self._seconds = source, rules, seconds
        self._follower: ChampionFollower | None = None
        self._stopped = threading.Event()

    @contextmanager
    def following(self) -> Iterator[None]:
        """Looks for the champion while the block runs. A look under way ends with the process."""
        threading.Thread(target=self._follow, name="champion", daemon=True).start()
        try:
            yield
        finally:
            self._stopped.set()

    def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                self.look()
            except Exception:
                log.exception("looking for the champion failed")
                self.trouble = "The champion cannot be looked for; the server's log says why."
            self._stopped.wait(self._seconds)

    def look(self) -> None:
        """One look at the registry; blocks for as long as that takes."""
        source = None if self._follower is not None else self._source()
        if source is None and self._follower is None:
            self.trouble = NO_MODEL
            return
        from scoring.champion import ChampionFollower  # noqa: PLC0415
        from serving.predictor import Predictor  # noqa: PLC0415  (scikit-learn: seconds, and only in this thread)

        if self._follower is None:
            assert source is not None
            self._follower = ChampionFollower(source)
        try:
            followed = self._follower.follow()
        except ModelError as error:
            self._say(str(error))
        else:
            if self.predictor is None or followed.changed:
                is_first = self.predictor is None
                self.predictor = Predictor.of(followed.champion, self._rules())
                if is_first:
                    gc.freeze()  # to look through all that MLflow and scikit-learn made would stop the server for 0.3 s
                log.info("version %s answers from here on", followed.champion.version)
            self._say(followed.trouble)
        finally:
            self.looked_at = datetime.now(UTC)

    def _say(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self.trouble:
            log.warning("%s", trouble)
        self.trouble = trouble
