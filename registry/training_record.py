"""What is kept of a training: its rows, its parameters, and what the model finds on simulated days."""

from __future__ import annotations

import pandas as pd

from registry.mlflow_registry import TrainingRecord
from scoring.model import Model
from settings import ModelSettings
from training import trial
from training.dataset import TrainingSample
from training.search import Tried


def record_of(
    model: Model,
    sample: TrainingSample,
    tried: list[Tried],
    chosen: ModelSettings,
    source: str,
    version: int,
    choices: dict[str, object],
    *,
    tries: bool,
) -> TrainingRecord:
    """What the registry keeps of how a model was made.

    Args:
        tried: the sets of parameters of a search, if there was one.
        source, version: the table of features and its Delta version.
        choices: what the caller chose, kept beside the parameters.
        tries: whether to try the model on simulated days, and keep what was found.
    """
    figures, personas = {}, None
    if tries:
        days = trial.gate_rows(chosen.trial_users, chosen.min_session_events)
        scores = trial.scores_of(model, days)
        figures, personas = trial.metrics(scores, days), trial.personas(scores, days)
    attempts = [{**vars(one.parameters), "stability": one.stability, "recall": one.recall} for one in tried]
    settings_used = {"flagged_share": chosen.flagged_share, "min_session_events": chosen.min_session_events}
    return TrainingRecord(
        source=source,
        delta_version=version,
        parameters={**vars(model.parameters), **settings_used, **sample.parameters(), **choices},
        metrics=sample.counts() | figures,
        tags={"sample": sample.describe(), "first": sample.first.isoformat(), "last": sample.last.isoformat()},
        personas=personas,
        tables={"search": pd.DataFrame(attempts)} if attempts else {},
    )
