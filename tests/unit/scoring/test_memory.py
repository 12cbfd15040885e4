"""Scoring many rows takes no more memory at a time than scoring some, and gives the same."""

from __future__ import annotations

import numpy as np
import pytest

from scoring import model
from tests.unit.training.samples import feature_rows, small_model


def test_rows_scored_in_parts_have_the_scores_of_rows_scored_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = feature_rows(501)
    at_once = small_model().score(rows)
    monkeypatch.setattr(model, "AT_A_TIME", 100)
    np.testing.assert_array_equal(small_model().score(rows), at_once)
