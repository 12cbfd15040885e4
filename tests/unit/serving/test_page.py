from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from features.definitions import FEATURES
from kafka.backlog import lag_of
from serving.page.board import MAX_ALERTS
from serving.page.charts import Chart, own_baseline, spark
from serving.page.pace import Delay, Rate
from serving.page.parts import environment
from serving.page.streams import Progress, Status, progress_of, queries_of, status_of
from serving.page.timeline import title_of
from serving.page.words import clock, minutes, plural, seconds, shown
from streams.flow import FLOW
from tests.unit.serving.samples import alert_row

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
INGEST, BUILD, _, ALERTS = queries_of(FLOW)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\u202eb", "a\\u202eb"),
        ("a\nb\x00", "a\\u000ab\\u0000"),
        ("\U000e0041", "\\U000e0041"),
        ("<b>&", "<b>&"),
        ("\u00fc\u4f60\U0001f600", "\u00fc\u4f60\U0001f600"),
        ("x" * 300, "x" * 199 + "\u2026"),
    ],
)
def test_foreign_text_is_shown_as_it_is_but_for_what_shows_nothing(text: str, seen: str) -> None:
    assert shown(text) == seen


def test_times_have_their_day_only_where_it_is_not_today() -> None:
    assert clock(NOW, NOW) == "12:00:00"
    assert clock(datetime(2026, 2, 28, 23, 59, tzinfo=UTC), NOW) == "2026-02-28 23:59"
    assert minutes(NOW, NOW.replace(minute=3), NOW) == "12:00 to 12:03"
    assert minutes(NOW, NOW, NOW.replace(day=2)) == "2026-03-01 12:00"


def test_spans_and_counts_are_in_words() -> None:
    assert [seconds(value) for value in (0.84, 42, 300, 7300, 200_000)] == ["0.8 s", "42 s", "5 min", "2 h", "2 days"]
    assert (plural(1, "record"), plural(1200, "record")) == ("1 record", "1,200 records")


def test_every_feature_has_a_heading_of_its_own() -> None:
    titles = {feature.name: title_of(feature) for feature in FEATURES}
    assert titles["click_share"] == "Share of clicks"
    assert titles["repeat_ratio"] == "Share of events on a page seen before"
    assert len(set(titles.values())) == len(titles)


def test_the_own_past_is_what_was_before_and_not_flagged() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 999.0, 7.0])
    low, usual, high = own_baseline(values, values == 999.0)
    assert np.isnan(usual[:5]).all()
    assert usual[5:].tolist() == [3.0, 3.0]
    assert (low[6], high[6]) == (pytest.approx(1.4), pytest.approx(4.6))


def test_a_chart_marks_flagged_minutes_and_leaves_out_what_is_not_known() -> None:
    flagged = np.array([False, True, False])
    chart = Chart("t", "", np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, math.nan]), flagged, 3.0, limit=4.0)
    picture = chart.svg('<"label">')
    assert "&lt;&#34;label&#34;&gt;" in picture
    assert picture.count('class="flagged"') == picture.count('class="ordinary"') == picture.count('class="limit"') == 1
    assert "nan" not in picture
    assert chart.most == 4.0


def test_a_small_line_has_a_gap_where_nothing_is_known() -> None:
    assert spark([1.0, math.nan, 2.0], "l").count("M") == 4
    assert "nan" not in spark([math.nan, math.nan], "l")
    assert spark([], "l")


def test_a_rate_is_rows_over_time_and_a_delay_is_of_what_was_scored() -> None:
    rate, delay = Rate(), Delay()
    for at in range(970, 1000):
        rate.series.add(at, 50)
    assert rate.now(1000.0) == pytest.approx(50, rel=0.05)
    assert max(rate.history(1000.0)) == 50
    assert rate.now(2000.0) == 0
    assert delay.now(1000.0, 50) is None
    delay.add(990.0, [1.0, 2.0, 3.0, math.nan, -5.0])
    assert delay.now(1000.0, 50) == 2.0


def test_lag_counts_what_kafka_still_has() -> None:
    assert lag_of({0: (0, 10), 1: (5, 9), 2: (3, 3)}, {0: 4, 1: 2}) == {0: 6, 1: 4, 2: 0}
    assert lag_of({0: (0, 5)}, {0: 9}) == {0: 0}


def test_a_checkpoint_tells_its_batch_and_offsets(tmp_path: Path) -> None:
    assert progress_of(str(tmp_path)) is None
    for folder, numbers in (("offsets", (3, 4)), ("commits", (3,))):
        (tmp_path / folder).mkdir()
        for number in numbers:
            text = f'v1\n{{"batchTimestampMs":{number}000}}\n{{"topic":{{"1":{number},"0":7}}}}'
            (tmp_path / folder / str(number)).write_text(text)
            (tmp_path / folder / f".{number}.crc").write_text("")
    progress = progress_of(str(tmp_path))
    assert progress is not None
    assert (progress.started, progress.finished, progress.planned_at, progress.offsets) == (4, 3, 4.0, {1: 3, 0: 7})
    assert progress.took is None


def test_a_query_that_keeps_a_note_is_told_by_it(tmp_path: Path) -> None:
    assert progress_of(str(tmp_path), ALERTS.note) is None
    (tmp_path / "scores.json").write_text("{}")
    progress = progress_of(str(tmp_path), ALERTS.note)
    assert progress is not None
    assert (
        status_of(ALERTS, progress, progress.finished_at + 1, local=True, input_at=None, written=None).state
        == "working"
    )


def status(progress: Progress | None, now: float, input_at: float | None = None) -> Status:
    return status_of(BUILD, progress, now, local=True, input_at=input_at, written=None)


def test_a_stream_is_called_what_its_checkpoint_and_its_input_show() -> None:
    done = Progress(4, 4, 1000.0, 1002.0, {})
    under_way = Progress(5, 4, 1000.0, 990.0, {})
    assert status(None, 1000.0).state == "absent"
    assert "python -m jobs.build_features" in status(None, 1000.0).detail
    assert (status(done, 1003.0).state, status(done, 1003.0).took) == ("working", 2.0)
    assert status(done, 1100.0).state == "waiting"
    assert status(under_way, 1030.0).state == "working"
    assert status(under_way, 1200.0).state == "stuck"
    assert status(done, 1030.0, input_at=1010.0).state == "waiting"
    assert status(done, 1100.0, input_at=1010.0).state == "behind"
    assert status_of(INGEST, None, 0.0, local=False, input_at=None, written=(5.0, 3)).rows == 3


def test_alerts_of_users_with_endless_ids_do_not_make_the_page_endless() -> None:
    rows = [alert_row(f"a-{number}", "\u20ac" * 30_000, number) for number in range(MAX_ALERTS)]
    html = environment().get_template("alerts.html").render(alerts=rows, verdicts={}, no_alerts="", few=6)
    assert len(html) < 2_500 * MAX_ALERTS
