from __future__ import annotations

import numpy as np
import pytest

from features.definitions import FEATURE_NAMES
from features.tables import REASON
from scoring.reasons import amount, own_rate_of, reason, reasons_of
from scoring.reference import FEATURE_LEVELS, FeatureReference

CLICKS = FeatureReference(
    typical=4.0,
    quantiles=tuple(np.interp(FEATURE_LEVELS, [0, 10, 50, 90, 95, 99, 99.9, 100], [0, 0, 4, 11, 17, 31, 88, 300])),
    edges=(),
    shares=(1.0,),
    missing=0.0,
)
SHARE = FeatureReference(0.5, tuple(level / 100 for level in FEATURE_LEVELS), (), (1.0,), 0.0)


def text_of(name: str, value: float, normal: FeatureReference = CLICKS, own_rate: float | None = None) -> str:
    return str(reason(name, value, 0.1, normal, own_rate)["text"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2000, "2,000 clicks per minute: clicking faster than people do; usually 4, and under 88 for 99.9 % of all"),
        (80, "80 clicks per minute: clicking faster than people do; usually 4, and under 31 for 99 % of all"),
        (20, "20 clicks per minute; usually 4, and under 17 for 95 % of all"),
        (12, "12 clicks per minute; usually 4, and under 11 for 90 % of all"),
        (5, "5 clicks per minute; usually 4"),
        (0, "0 clicks per minute; usually 4"),
    ],
)
def test_a_sentence_says_the_value_what_is_usual_and_for_how_many(value: float, text: str) -> None:
    assert text_of("clicks_per_minute", value) == text


def test_what_is_usual_for_this_user_is_said_where_it_is_known() -> None:
    assert text_of("clicks_per_minute", 20, own_rate=3.2).endswith("; usually 3.2 events per minute for this user")
    assert "for this user" not in text_of("session_minutes", 20, own_rate=3.2)


def test_shares_are_said_in_percent() -> None:
    assert (
        text_of("top_page_share", 0.96, SHARE)
        == "96 % of events on one page; usually 50 %, and under 95 % for 95 % of all"
    )


def test_a_low_value_is_held_against_the_low_end() -> None:
    found = reason("top_page_share", 0.02, 0.1, SHARE)
    assert found["direction"] == "low"
    assert found["text"] == "2 % of events on one page; usually 50 %, and over 5 % for 95 % of all"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (212.0, "212"),
        (1204.4, "1,204"),
        (14.25, "14.2"),
        (14.0, "14"),
        (3.21, "3.2"),
        (0.423, "0.42"),
        (0.0042, "0.0042"),
        (0.00001, "0"),
        (-2.5, "-2.5"),
        (1e308, "over a billion"),
        (np.inf, "over a billion"),
    ],
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert amount(value, "") == text


@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_every_feature_has_a_sentence(name: str) -> None:
    found = reason(name, 1e6, 0.1, CLICKS)
    assert list(found) == REASON.fieldNames()
    assert "usually" in str(found["text"])


def test_a_feature_of_another_version_is_named_in_plain_letters() -> None:
    assert text_of("left_hand_clicks", 20).startswith("20 left hand clicks; usually 4")


def found_names(
    contributions: list[float], values: list[float], usual: tuple[int, ...] = (), most: int = 3
) -> list[object]:
    names = ("clicks_per_minute", "views_per_minute", "session_minutes")
    is_usual = np.isin(np.arange(3), usual)
    normal = [(name, CLICKS) for name in names]
    return [each["feature"] for each in reasons_of(np.array(contributions), np.array(values), is_usual, normal, most)]


def test_the_strongest_positive_contribution_comes_first() -> None:
    assert found_names([0.1, 0.3, -0.2], [9.0, 9.0, 9.0]) == ["views_per_minute", "clicks_per_minute"]


def test_no_more_reasons_than_asked_for() -> None:
    assert found_names([0.1, 0.3, 0.2], [9.0, 9.0, 9.0], most=1) == ["views_per_minute"]


def test_a_missing_value_is_no_reason() -> None:
    assert found_names([0.1, 0.3, 0.2], [9.0, np.nan, 9.0]) == ["session_minutes", "clicks_per_minute"]


def test_what_the_model_takes_as_usual_is_a_reason_only_when_there_is_no_other() -> None:
    assert found_names([0.3, 0.1, 0.0], [4.0, 99.0, 9.0], usual=(0,)) == ["views_per_minute"]
    assert found_names([0.3, 0.1, 0.0], [4.0, 4.0, 9.0], usual=(0, 1)) == ["clicks_per_minute", "views_per_minute"]


@pytest.mark.parametrize(
    ("events", "ratio", "own"),
    [(32.0, 10.0, 3.2), (32.0, np.nan, None), (np.nan, 2.0, None), (5.0, 0.0, None), (0.0, 1.0, None)],
)
def test_the_users_own_pace_is_the_minutes_events_by_their_ratio_to_it(
    events: float, ratio: float, own: float | None
) -> None:
    assert own_rate_of({"events_per_minute": events, "own_rate_ratio": ratio}) == own
