"""How good a model is, without labels and with them.

A person looks at user sessions, not at minutes: recall and false alarms are counted in sessions, each by its strangest
minute, at a budget: the share of all sessions that can be looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from scoring.model import Parameters
from scoring.thresholds import Floats
from training.model import fit

SESSION = ["user_id", "session_start"]
BUDGET = 0.02
"""Share of all sessions that somebody looks at: about as many as are strange in the simulated days."""
FALSE_ALARMS = 0.01
"""Share of honest sessions that may be flagged where personas are compared; what is found there is FA1."""
SEEDS = (1, 2, 3)


def flagged_share(scores: Floats, threshold: float) -> float:
    """Share of rows at or above the threshold, 0 to 1; 0 when there are none."""
    return float((scores >= threshold).mean()) if len(scores) else 0.0


def by_session(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per user session with its highest ``score``, its ``persona`` and whether it is ``strange``.

    ``rows`` has user_id, session_start, score, persona (text) and strange (boolean). Rows without a score are left out;
    a session is strange when any of its minutes is.
    """
    scored = rows[rows["score"].notna()]
    grouped = scored.groupby(SESSION, sort=True, as_index=False)
    return grouped.agg(score=("score", "max"), persona=("persona", "first"), strange=("strange", "any"))


def with_labels(sessions: pd.DataFrame, budget: float = BUDGET) -> dict[str, float]:
    """Metrics of labelled sessions (:func:`by_session`): ROC-AUC, average precision, recall, precision, false alarms.

    The last three are at the budget. NaN where they are not defined (no strange session, or no other).
    """
    strange, scores = sessions["strange"].to_numpy(bool), sessions["score"].to_numpy(np.float64)
    both = strange.any() and not strange.all()
    flagged = within_budget(scores, budget)
    return {
        "roc_auc": float(roc_auc_score(strange, scores)) if both else float("nan"),
        "average_precision": float(average_precision_score(strange, scores)) if both else float("nan"),
        "recall": _share(flagged[strange]),
        "precision": _share(strange[flagged]),
        "false_alarm_share": _share(flagged[~strange]),
    }


def by_persona(sessions: pd.DataFrame, budget: float = BUDGET) -> pd.DataFrame:
    """What the budget finds per persona: columns persona, strange, sessions, flagged and share.

    The share is recall for a strange persona and the false alarm rate for an honest one. Strange personas come first.
    """
    return _per_persona(sessions, within_budget(sessions["score"].to_numpy(np.float64), budget))


def by_persona_at_false_alarms(sessions: pd.DataFrame, share: float = FALSE_ALARMS) -> pd.DataFrame:
    """What is found per persona where ``share`` (0 to 1) of the honest sessions are flagged; as :func:`by_persona`.

    Unlike at a budget, no persona is found at another's cost. A session is flagged where it scores above so many of the
    honest ones that at most ``share`` of these are flagged, too: equal scores find nobody.
    """
    scores, strange = sessions["score"].to_numpy(np.float64), sessions["strange"].to_numpy(np.bool_)
    honest = -np.sort(-scores[~strange])
    above = honest[int(share * len(honest))] if len(honest) else np.inf
    return _per_persona(sessions, scores > above)


def _per_persona(sessions: pd.DataFrame, flagged: NDArray[np.bool_]) -> pd.DataFrame:
    looked_at = sessions.assign(flagged=flagged)
    table = looked_at.groupby(["persona", "strange"], as_index=False).agg(
        sessions=("flagged", "size"), flagged=("flagged", "sum"), share=("flagged", "mean")
    )
    return table.sort_values(["strange", "persona"], ascending=[False, True], ignore_index=True)


def within_budget(scores: Floats, budget: float) -> NDArray[np.bool_]:
    """Whether each is among the highest ``budget`` (share, 0 to 1) of all; of equal scores the earlier ones are.

    At least one is, when there are any.
    """
    count = max(1, round(budget * len(scores))) if len(scores) else 0
    chosen = np.zeros(len(scores), np.bool_)
    chosen[np.argsort(-scores, kind="stable")[:count]] = True
    return chosen


def rank_correlation(one: Floats, other: Floats) -> float:
    """Spearman's rank correlation, -1 to 1; equal values share their mean rank. NaN when one side does not vary."""
    ranks = [pd.Series(scores).rank().to_numpy(np.float64) for scores in (one, other)]
    if min(len(one), len(other)) == 0 or any(rank.std() == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def stability(
    rows: pd.DataFrame, preset: str, parameters: Parameters, held_out: pd.DataFrame, seeds: Sequence[int] = SEEDS
) -> float:
    """The least rank correlation of scores of ``held_out`` between neighbouring seeds: near 1 is a repeatable model."""
    fits = (fit(rows, preset, Parameters(parameters.trees, parameters.subsample, seed)) for seed in seeds)
    scores = [model.score(held_out) for model in fits]
    return min(rank_correlation(one, other) for one, other in pairwise(scores))


def compare(champion: Floats, challenger: Floats, thresholds: tuple[float, float], top: int) -> dict[str, float]:
    """Two models' scores of the same rows, shape (rows,) each; thresholds are the champion's and the challenger's.

    ``top_overlap`` is the share of the champion's ``top`` strangest rows that are also among the challenger's.
    """
    first, second = (set(np.argsort(-scores, kind="stable")[:top].tolist()) for scores in (champion, challenger))
    shares = [flagged_share(scores, at) for scores, at in zip((champion, challenger), thresholds, strict=True)]
    return {
        "champion_flagged_share": shares[0],
        "challenger_flagged_share": shares[1],
        "flagged_share_change": shares[1] - shares[0],
        "top_overlap": len(first & second) / len(first) if first else float("nan"),
        "rank_correlation": rank_correlation(champion, challenger),
    }


def _share(of: NDArray[np.bool_]) -> float:
    return float(of.mean()) if len(of) else float("nan")
