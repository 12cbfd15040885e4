"""Planted groups are found again, named after what sets them apart, and keep their ids."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from patterns.segments import GLANCE, Clustering, Floats, Ints, learn
from patterns.traits import TRAITS
from patterns.trends import Day, trend
from patterns.words import page_words, path_words, profile, segment_description, segment_name

NAMES = [trait.name for trait in TRAITS["session"]]

READERS = {"events": 12, "pause_seconds": 40, "variation": 1.2, "repeat_share": 0.1, "view_share": 0.95}
CLICKERS = {"events": 60, "pause_seconds": 2, "variation": 0.8, "repeat_share": 0.8, "click_share": 0.9}
SENDERS = {"events": 25, "pause_seconds": 6, "variation": 0.2, "repeat_share": 0.9, "interaction_share": 0.95}
NIGHT_READERS = {**READERS, "events": 30, "night_share": 1.0}
PLANTED = (READERS, CLICKERS, SENDERS, NIGHT_READERS)


def sessions(kinds: tuple[Mapping[str, float], ...], each: int, seed: int = 1) -> tuple[Floats, Ints]:
    """Rows of traits that scatter around each kind's values, in a random order, and the number of their kind."""
    rng = np.random.default_rng(seed)
    parts = []
    for kind in kinds:
        centre = np.array([float(kind.get(name, 0.0)) for name in NAMES])
        parts.append(centre * np.exp(0.3 * rng.standard_normal((each, len(NAMES)))))
    rows, truth = np.concatenate(parts), np.repeat(np.arange(len(kinds)), each)
    shares = [place for place, name in enumerate(NAMES) if name.endswith("share")]
    rows[:, shares] = np.clip(rows[:, shares], 0.0, 1.0)
    order = rng.permutation(len(rows))
    return rows[order], truth[order]


def learned(rows: Floats, known: Mapping[str, list[float]] | None = None, seed: int = 17) -> Clustering:
    found = learn("session", rows, known or {}, 7, seed)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("planted", [PLANTED, PLANTED[:3], PLANTED[:2]])
def test_planted_groups_are_found_again_whatever_the_seed(planted: tuple[Mapping[str, float], ...], seed: int) -> None:
    rows, truth = sessions(planted, 80, seed)
    found = learned(rows, seed=seed)
    assert found.quality.segments == len(planted)
    assert found.quality.stability >= 0.8
    assert adjusted_rand_score(truth, found.assign(rows)[0]) >= 0.9


def test_one_cloud_is_one_segment() -> None:
    rows, _ = sessions((READERS,), 300)
    assert learned(rows).quality.segments == 1


def test_single_events_are_a_group_by_rule_and_alone_they_teach_nothing() -> None:
    rows, _ = sessions(PLANTED[:2], 50)
    glances = np.full((20, len(NAMES)), np.nan)
    glances[:, NAMES.index("events")] = 1
    labels, distances = learned(np.concatenate([rows, glances])).assign(glances)
    assert set(labels) == {GLANCE}
    assert not distances.any()
    assert learn("session", glances, {}, 7, 17) is None
    assert learn("session", np.zeros((0, len(NAMES))), {}, 7, 17) is None


def test_unknown_values_count_as_typical_and_absurd_ones_move_no_centre() -> None:
    rows, truth = sessions(PLANTED[:3], 80)
    rows[::7, NAMES.index("variation")] = np.nan
    rows[0] = 1e300
    assert adjusted_rand_score(truth[1:], learned(rows).assign(rows)[0][1:]) >= 0.9


def test_segments_keep_their_ids_the_next_day_in_any_order_and_a_new_one_gets_none() -> None:
    first = learned(sessions(PLANTED[:3], 80, seed=1)[0])
    known = {f"s{place}": centre.tolist() for place, centre in enumerate(first.centres)}
    rows, truth = sessions((CLICKERS, NIGHT_READERS, READERS, SENDERS), 80, seed=2)
    second = learned(rows, known)
    ids = second.matched(known, rows)
    assert sorted(map(str, ids)) == ["None", "s0", "s1", "s2"]
    labels = second.assign(rows)[0]
    new = ids.index(None)
    assert set(truth[labels == new]) == {1}
    before = first.assign(rows)[0]
    for place, name in enumerate(ids):
        if name is not None:
            assert set(before[(labels == place)]) == {int(name.removeprefix("s"))}


def test_a_segment_is_named_and_described_by_what_sets_it_apart() -> None:
    rows, truth = sessions(PLANTED, 80)
    names: list[str] = []
    for kind in range(len(PLANTED)):
        names.append(segment_name(profile("session", rows[truth == kind], rows), names))
    assert [name.split()[-1] for name in names] == ["readers", "clickers", "senders", "readers"]
    assert "night" in names[3]
    assert "clockwork" in names[2]
    told = segment_description("session", profile("session", rows[truth == 3], rows))
    assert "at night" in told


def test_a_name_is_never_given_twice() -> None:
    rows, truth = sessions(PLANTED[:2], 50)
    told = profile("session", rows[truth == 0], rows)
    names: list[str] = []
    for _ in range(9):
        names.append(segment_name(told, names))
    assert len(set(names)) == 9


@pytest.mark.parametrize(
    ("count", "before", "expected"),
    [
        (50, [], "new"),
        (50, [Day(50, 1000), Day(52, 1000)], "steady"),
        (90, [Day(50, 1000), Day(52, 1000)], "rising"),
        (20, [Day(50, 1000), Day(52, 1000)], "falling"),
        (3, [Day(1, 1000)], "steady"),
        (50, [Day(0, 1000)], "new"),
    ],
)
def test_a_trend_is_only_what_chance_does_not_explain(count: int, before: list[Day], expected: str) -> None:
    assert trend(count, 1000, before)[1] == expected
    assert trend(count, 1000, before, is_first=True) == (None, "first_day")


def test_paths_are_said_as_people_say_them() -> None:
    assert path_words(["/", "/product/*", "/product/*", "/cart"]) == "home, then several product pages, then cart"
    assert page_words("/my-blog/*/comments") == "my blog comments pages"
    assert page_words("*") == "pages of many kinds"
