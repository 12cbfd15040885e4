from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from features.errors import ModelError
from scoring import champion
from scoring.champion import ChampionFollower, Followed, LoadedModel, Resolved
from tests.unit.training.samples import feature_rows, small_champion, small_model

AWAY = ModelError("the registry is away")


@dataclass
class Shelf:
    """A registry in memory: what the alias points to, and the versions that can be loaded."""

    alias: Resolved | None = None
    good: tuple[str, ...] = ("1", "2")
    away: bool = False
    asked: int = 0
    fetched: list[str] = field(default_factory=list)

    def resolve(self, alias: str = "champion") -> Resolved | None:
        self.asked += 1
        if self.away:
            raise AWAY
        return self.alias

    def load(self, version: str) -> LoadedModel:
        self.fetched.append(version)
        if version not in self.good:
            raise ModelError(f"version {version} is damaged")
        return small_champion(version=version)


def summary(followed: Followed) -> tuple[str, bool, bool]:
    return followed.champion.version, followed.changed, followed.trouble is not None


def test_a_promotion_is_taken_at_the_next_batch_and_loaded_once() -> None:
    shelf = Shelf(Resolved("1"))
    follower = ChampionFollower(shelf)
    seen = [summary(follower.follow()), summary(follower.follow())]
    shelf.alias = Resolved("2")
    seen += [summary(follower.follow()), summary(follower.follow())]
    assert seen == [("1", True, False), ("1", False, False), ("2", True, False), ("2", False, False)]
    assert shelf.fetched == ["1", "2"]


def test_a_changed_threshold_is_taken_without_loading_again() -> None:
    shelf = Shelf(Resolved("1"))
    follower = ChampionFollower(shelf)
    first = follower.follow().champion
    shelf.alias = Resolved("1", threshold=0.8)
    second = follower.follow()
    assert (second.changed, second.champion.threshold, second.champion.forest) == (True, 0.8, first.forest)
    assert shelf.fetched == ["1"]


def test_a_registry_that_goes_away_leaves_the_last_good_model_and_says_so() -> None:
    shelf = Shelf(Resolved("1"))
    follower = ChampionFollower(shelf)
    follower.follow()
    shelf.away = True
    followed = follower.follow()
    assert summary(followed) == ("1", False, True)
    assert followed.trouble == "version 1 goes on: the registry is away"
    shelf.away = False
    assert summary(follower.follow()) == ("1", False, False)


def test_a_damaged_version_leaves_the_last_good_model_and_is_not_fetched_at_every_batch() -> None:
    shelf = Shelf(Resolved("1"))
    follower = ChampionFollower(shelf)
    follower.follow()
    shelf.alias = Resolved("3")
    assert [summary(follower.follow()) for _ in range(3)] == [("1", False, True)] * 3
    assert shelf.fetched == ["1", "3"]
    shelf.alias = Resolved("2")
    assert summary(follower.follow()) == ("2", True, False)


def test_an_alias_that_was_taken_away_leaves_the_last_good_model() -> None:
    shelf = Shelf(Resolved("1"))
    follower = ChampionFollower(shelf)
    follower.follow()
    shelf.alias = None
    assert summary(follower.follow()) == ("1", False, True)


def test_without_a_champion_ever_it_says_what_to_run() -> None:
    with pytest.raises(ModelError, match=r"No model has the alias 'champion'.*jobs\.train_model.*jobs\.promote_model"):
        ChampionFollower(Shelf()).follow()


def test_a_registry_that_is_away_is_asked_twice_and_no_more() -> None:
    shelf = Shelf(away=True)
    with pytest.raises(ModelError, match="away"):
        ChampionFollower(shelf).follow()
    assert shelf.asked == 2


def test_a_compiled_scorer_that_disagrees_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    right = small_champion()
    assert right.forest is not None
    wrong = replace(right.forest, scale=right.forest.scale * 1.01)
    monkeypatch.setattr(champion, "flatten", lambda _: wrong)
    loaded = LoadedModel.of("model", "1", small_model(), right.reference)
    assert loaded.forest is None
    values = small_model().columns(feature_rows()).to_numpy(np.float64)
    np.testing.assert_array_equal(loaded.score(values), small_model().score(feature_rows()))
