"""Feature rows to scored rows in Arrow, for workers that have the rows at hand: what the pandas UDF does, without it.

scikit-learn is not imported here, see :mod:`scoring.arrays`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql.pandas.types import to_arrow_schema

from features.merging import INSTANT, constant
from features.tables import SCORES, SHADOW_SCORES
from scoring.arrays import ANOMALY, FAILED, INSUFFICIENT, NORMAL, SESSION_EVENTS, RowScores, Scorer, inputs_of
from scoring.thresholds import Floats

BATCH = ("batch_time", "batch_id")
_SCORES = to_arrow_schema(SCORES.schema, timezone="UTC")
_SCORED = [name for name in SCORES.columns if name not in BATCH]
_SHADOW = [name for name in SHADOW_SCORES.columns if name not in BATCH]


@dataclass(frozen=True)
class RowScorer:
    """A model that is ready to be sent to workers, and what its rows say of it."""

    name: str
    version: str
    feature_version: str
    scorer: Scorer

    def scores(self, rows: pa.Table, at: datetime) -> pa.Table:
        """The columns of table ``scores`` but the batch's, of feature ``rows`` (:data:`features.tables.FEATURE_ROW`).

        See :func:`scoring.frames.score`, which says the same of the same rows; ``at`` becomes ``scored_at``.
        """
        found, count = self.scorer.score(self._numbers(rows)), rows.num_rows
        columns = {
            "anomaly_score": pa.array(found.scores, from_pandas=True),
            "anomaly_percentile": pa.array(found.percentiles, from_pandas=True),
            "verdict": self._verdicts(found),
            "reasons": pa.array(found.reasons, _SCORES.field("reasons").type),
            "model_name": constant(self.name, count),
            "model_version": constant(self.version, count),
            "threshold": pa.repeat(self.scorer.threshold, count),
            "scored_at": pa.repeat(pa.scalar(at, INSTANT), count),
        }
        return pa.table([columns[name] if name in columns else rows[name] for name in _SCORED], names=_SCORED)

    def beside(self, rows: pa.Table, scores: pa.Table) -> pa.Table:
        """The columns of table ``shadow_scores`` but the batch's, where this is the challenger; ``failed`` if it fails.

        Args:
            rows: as for :meth:`scores`.
            scores: what the champion says of them.
        """
        count = rows.num_rows
        try:
            found = self.scorer.score(self._numbers(rows))
            verdicts = self._verdicts(found)
        except Exception:  # noqa: BLE001 - whatever a challenger raises, nobody waits for it
            nothing = np.full(count, np.nan)
            found, verdicts = RowScores(nothing, nothing, [None] * count), constant(FAILED, count)
        columns = {
            "user_id": rows["user_id"],
            "window_start": rows["window_start"],
            "model_version": constant(self.version, count),
            "anomaly_score": pa.array(found.scores, from_pandas=True),
            "anomaly_percentile": pa.array(found.percentiles, from_pandas=True),
            "verdict": verdicts,
            "threshold": pa.repeat(self.scorer.threshold, count),
            "champion_version": scores["model_version"],
            "champion_score": scores["anomaly_score"],
            "champion_verdict": scores["verdict"],
        }
        return pa.table([columns[name] for name in _SHADOW], names=_SHADOW)

    def _numbers(self, rows: pa.Table) -> dict[str, Floats]:
        """The columns that scores are made of as doubles, NaN where they are null."""
        names = inputs_of(self.scorer.names)
        numbers = {name: pc.fill_null(rows[name].cast(pa.float64()), np.nan).to_numpy() for name in names}
        is_same = pc.equal(rows["feature_version"].cast(pa.string()), self.feature_version).to_numpy()
        numbers[SESSION_EVENTS] = np.where(is_same, numbers[SESSION_EVENTS], np.nan)
        return numbers

    def _verdicts(self, found: RowScores) -> pa.Array:
        verdicts = np.where(found.scores >= self.scorer.threshold, ANOMALY, NORMAL)
        return pa.array(np.where(np.isnan(found.scores), INSUFFICIENT, verdicts))
