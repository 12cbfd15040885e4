"""Steps, paths and the page, on a handful of sessions."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from patterns.pages import END, OTHER, START, Visits, learn
from patterns.paths import contains, measured, telling
from patterns.report import report
from patterns.sequences import loaded_pages
from patterns.transitions import Walk, transitions

HOSTILE = "/<img src=x onerror=alert(1)>$\\frac{"


def walks(*ways: str) -> list[Walk]:
    """One user per way; a way is written as letters."""
    return [Walk(user, tuple(way)) for user, way in enumerate(ways)]


def test_a_session_counts_once_for_a_step_however_often_it_makes_it() -> None:
    rows = {(row.from_page, row.to_page): row.sessions for row in transitions(walks("abababab", "ab"), 10)}
    assert rows == {(START, "a"): 2, ("a", "b"): 2, ("b", "a"): 1, ("b", END): 2}


def test_probabilities_of_a_page_add_up_and_no_step_is_lost() -> None:
    rows = transitions(walks(*["abc", "acb", "ab", "c"] * 5), 10)
    assert sum(row.probability for row in rows if row.from_page == "a") == pytest.approx(1)
    assert sum(row.sessions for row in rows) == 5 * (4 + 4 + 3 + 2)


def test_kinds_that_are_rare_are_other_and_a_cut_session_has_no_end() -> None:
    rows = transitions([Walk(0, ("a", "b"), is_whole=False), *walks("a", "a")], 1)
    assert {(row.from_page, row.to_page) for row in rows} == {(START, "a"), ("a", OTHER), ("a", END)}


def test_what_chance_explains_is_not_significant_and_what_it_does_not_is() -> None:
    by_chance = walks(*["ab", "ac", "bc", "ba", "ca", "cb"] * 2)
    assert not [
        row for row in transitions(by_chance, 5) if {row.from_page, row.to_page} <= set("abc") and row.is_significant
    ]
    always = {(row.from_page, row.to_page): row for row in transitions(walks(*["ab"] * 40, *["cd"] * 40), 5)}
    assert always["a", "b"].is_significant
    assert always["a", "b"].odds_ratio_low > 1 < always["a", "b"].lift


def test_a_path_told_by_a_longer_one_is_left_out_and_one_with_its_own_sessions_stays() -> None:
    found = {("a", "b"): 40, ("b", "c"): 100, ("a", "c"): 39, ("a", "b", "c"): 38}
    assert set(telling(found)) == {("b", "c"), ("a", "b", "c")}


def test_a_path_may_have_others_between_but_not_its_order_turned() -> None:
    assert contains("axbxc", tuple("abc"))
    assert not contains("acb", tuple("abc"))
    assert not contains("ab", tuple("aab"))


def test_a_path_of_one_user_is_not_common_and_lift_is_against_independent_pages() -> None:
    sessions = [Walk(0, ("a", "b"))] * 9 + walks("cd", "cd", "cd", "x", "x", "x")
    paths = measured({("a", "b"): 9, ("c", "d"): 3}, sessions, least_users=2, most=5)
    assert [(path.steps, path.sessions, path.users) for path in paths] == [(("c", "d"), 3, 3)]
    assert paths[0].lift == pytest.approx(3 / (15 * (3 / 15) ** 2))


def test_a_fixed_page_that_always_comes_along_is_loaded_by_others_and_a_kind_of_many_never_is() -> None:
    pages = [("/logo", 10, 9.0), ("/cart", 10, 2.0), ("/few", 3, 3.0), ("/item/1", 9, 9.0), ("/item/2", 9, 9.0)]
    kinds = learn([(page, Visits(9, 9.0)) for page, _, _ in pages])
    assert loaded_pages(pages, kinds) == ["/logo"]


def test_text_of_events_is_text_on_the_page_and_in_the_pictures_and_nothing_is_loaded() -> None:
    day = {
        "day": datetime(2026, 3, 1, tzinfo=UTC),
        "events": 9,
        "sessions": 3,
        "users": 3,
        "notes": [HOSTILE],
        "is_complete": True,
    }
    shares = {"share": 0.5, "share_before": None, "trend": "first_day", "flagged_share": None}
    profile = [{"trait": "events", "value": 3.0, "overall": 2.0, "difference": 0.7, "text": "3 events"}]
    segment = {
        "unit": "user", "segment_id": "user-1", "name": HOSTILE, "description": HOSTILE, "members": 3,
        "paths": [HOSTILE], "pages": [{"page": HOSTILE, "share": 1.0}], "profile": profile, **shares,
    }  # fmt: skip
    path = {"pattern_id": "path-1", "name": HOSTILE, "steps": [HOSTILE, "/"], "users": 3, "lift": 2.0, **shares}
    ways = [Walk(user, (HOSTILE, "/")) for user in range(40)] + [Walk(user, ("/a", "/b")) for user in range(40)]
    steps = [vars(row) for row in transitions(ways, 5)]
    made = report(day, [segment], [path], steps, ways, {"user-1": [HOSTILE], "path-1": [HOSTILE]})
    assert "<img src=x" not in made.page
    assert made.page.count("&lt;img src=x onerror=alert(1)&gt;") >= 8
    assert set(re.findall(r'(?:src|href)="([^"]{1,10})', made.page)) == {"data:image"}
    assert set(made.pictures) == {"flow", "steps", "user"}
    assert all(image.startswith(b"\x89PNG") for image in made.pictures.values())
