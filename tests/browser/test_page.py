"""The page in a real browser, on real tables that grow beside it."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from alerts import feedback
from features.tables import EVENTS, PATTERN_DAYS, PATTERNS, REJECTED_EVENTS, SEGMENTS
from lake import arrow_tables
from serving.app import create_app
from serving.page import board
from serving.server import Serving, serving
from settings import Settings
from tests.browser.conftest import Platform, settings_of
from tests.conftest import PATIENCE, Seen, open_page

pytestmark = pytest.mark.integration
expect.set_options(timeout=PATIENCE)

MARKUP = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\'"&amp;'
PHONE = {"viewport": {"width": 360, "height": 740}}


def faults(page: Page) -> list[str]:
    """What axe calls serious or critical."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]


def is_too_wide(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


def test_where_nothing_is_there_yet_every_part_says_what_to_do(browser: Browser, tmp_path: Path, seen: Seen) -> None:
    settings = settings_of(tmp_path)
    with serving(create_app(settings), settings.serving) as server, open_page(browser, server.url, seen) as page:
        expect(page.locator("#notes")).to_contain_text("There are no tables")
        expect(page.locator("#notes")).to_contain_text("make run")
        expect(page.locator("#alerts")).to_contain_text("Nothing is scored yet")
        expect(page.locator("#streams")).to_contain_text("Kafka does not answer at 127.0.0.1:9")
        expect(page.locator("#streams")).to_contain_text("python -m jobs.ingest_events")
        expect(page.locator("#patterns")).to_contain_text("jobs.mine_patterns")
        expect(page.locator("#model")).to_contain_text("python -m jobs.train_model")
        assert faults(page) == []
    assert seen.complaints == []


def test_an_anomaly_appears_with_its_reason_without_a_reload(page: Page, platform: Platform) -> None:
    page.evaluate("window.same = true")
    alert = platform.alert("late-guest", "212 clicks per minute: clicking faster than people do; usually 4")
    item = page.locator(f"#alert-{alert}")
    expect(item).to_contain_text("late-guest")
    expect(item).to_contain_text("212 clicks per minute: clicking faster than people do; usually 4")
    expect(item).to_contain_text("stranger than 99.97 % of the training data")
    expect(page.locator("#figures")).to_contain_text("95 % within")
    assert page.evaluate("window.same") is True


def test_a_new_alert_is_told_to_a_screen_reader_and_an_old_one_is_not(page: Page, platform: Platform) -> None:
    assert page.locator("#announcer").text_content() == ""
    platform.alert("told-guest", "212 clicks")
    expect(page.locator("#announcer")).to_have_text("New alert: told-guest.")
    assert page.locator("#announcer").get_attribute("aria-live") == "polite"


def test_what_events_say_is_text_and_never_markup(page: Page, platform: Platform) -> None:
    alert = platform.alert(MARKUP, f"212 clicks {MARKUP}")
    item = page.locator(f"#alert-{alert}")
    expect(item.locator("h3")).to_have_text(MARKUP)
    expect(item).to_contain_text(f"212 clicks {MARKUP}")
    item.locator("h3 a").click()
    expect(page.locator("h1")).to_contain_text(MARKUP)
    page.wait_for_selector("#connection[data-state=live]")
    expect(page.locator("#line")).to_contain_text("1 flagged")
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main script").count() == 0


def test_text_that_turns_direction_or_shows_nothing_is_shown_as_its_code(page: Page, platform: Platform) -> None:
    alert = platform.alert("admin\u202egnp.exe\u200b", "212 clicks")
    expect(page.locator(f"#alert-{alert} h3")).to_have_text("admin\\u202egnp.exe\\u200b")


def test_what_has_the_focus_keeps_it_while_parts_change(page: Page, platform: Platform) -> None:
    alert = platform.alert("focus-guest", "212 clicks")
    button = page.locator(f"#alert-{alert} button").first
    button.focus()
    newer = platform.alert("newer-guest", "212 clicks")
    expect(page.locator(f"#alert-{newer}")).to_be_attached()
    expect(button).to_be_focused()


def test_feedback_given_by_keyboard_is_stored_and_stays(page: Page, platform: Platform) -> None:
    alert = platform.alert("judged-guest", "212 clicks")
    item = page.locator(f"#alert-{alert}")
    wrong = item.get_by_role("button", name="False alarm")
    wrong.focus()
    page.keyboard.press("Enter")
    expect(item.get_by_role("status")).to_have_text("Reviewed: false alarm")
    assert feedback.newest(platform.root, alert)[alert]["verdict"] == "false"
    expect(wrong).to_be_focused()
    page.reload()
    expect(wrong).to_have_attribute("aria-pressed", "true")
    item.get_by_role("button", name="Right").click()
    expect(item.get_by_role("status")).to_have_text("Reviewed: right")
    assert feedback.newest(platform.root, alert)[alert]["verdict"] == "true"


def test_feedback_that_is_not_taken_says_why(page: Page, platform: Platform, seen: Seen) -> None:
    alert = platform.alert("gone-guest", "212 clicks")
    item = page.locator(f"#alert-{alert}")
    page.route("**/feedback", lambda route: route.continue_(url=route.request.url.replace(alert, "none")))
    item.get_by_role("button", name="Right").click()
    expect(item.get_by_role("status")).to_have_text("Not saved. There is no such alert: GET /alerts has the ids.")
    assert feedback.newest(platform.root, alert) == {}
    newer = platform.alert("newer-guest", "212 clicks")
    expect(page.locator(f"#alert-{newer}")).to_be_attached()
    expect(item.get_by_role("status")).to_contain_text("Not saved.")
    assert [said for said in seen.complaints if "404" not in said] == []
    seen.complaints.clear()  # the browser itself tells of the refusal


def test_a_time_line_shows_flagged_minutes_the_own_past_and_grows_by_itself(page: Page, platform: Platform) -> None:
    platform.score("regular", 30, strange=True, ago=5)
    page.locator("#user").fill("regular")
    page.keyboard.press("Enter")
    line = page.locator("#line")
    expect(line).to_contain_text("30 active minutes")
    expect(line.locator("figure").first).to_contain_text("flagged from 0.66")
    clicks = line.locator("figure", has_text="Clicks per minute")
    expect(clicks).to_contain_text("now 212, own usual 4")
    assert clicks.locator("path.own").count() == clicks.locator("path.flagged").count() == 1
    page.wait_for_selector("#connection[data-state=live]")
    platform.score("somebody-else")
    platform.score("regular", strange=False)
    expect(line).to_contain_text("31 active minutes")
    expect(clicks).to_contain_text("now 4, own usual 4")


def test_a_user_who_is_not_there_is_said_to_be_missing(page: Page) -> None:
    page.goto(page.url + "timeline?user=nobody")
    expect(page.locator("#line")).to_contain_text("No scored minute of this user")


def test_streams_tell_their_batches_and_rejected_records_their_reasons(
    page: Page, platform: Platform, folder: Path
) -> None:
    now = datetime.now(UTC)
    place = {"topic": "t", "partition": 0, "offset": 1, "ingested_at": now, "ingest_id": "q:7", "received_at": now}
    nothing = dict.fromkeys(REJECTED_EVENTS.columns) | place
    event = {**dict.fromkeys(EVENTS.columns), **place, "user_id": "u", "action": "a", "page": "p", "timestamp": now}
    arrow_tables.append(platform.root, REJECTED_EVENTS, [{**nothing, "reason": "not_json"}] * 3, batch_id="q:7")
    arrow_tables.append(platform.root, EVENTS, [event] * 42, batch_id="q:7")
    checkpoint = folder / "checkpoints" / "ingest_events"
    for name in ("offsets", "commits"):
        (checkpoint / name).mkdir(parents=True, exist_ok=True)
    planned = {"batchTimestampMs": round(now.timestamp() * 1000)}
    (checkpoint / "offsets" / "7").write_text(f'v1\n{json.dumps(planned)}\n{{"t":{{"0":3}}}}\n')
    row = page.locator("#streams tr", has_text="ingest_events")
    expect(row).to_contain_text("At work on batch 7")
    (checkpoint / "commits" / "7").write_text("v1\n{}")
    expect(row).to_contain_text("7 at ")
    expect(row).to_contain_text("42")
    expect(page.locator("#streams tr", has_text="not_json")).to_contain_text("3")


def test_events_that_can_hardly_be_right_are_told_with_figures_and_others_are_not(
    browser: Browser, tmp_path: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "SENSE_EVERY", 0.0)
    settings = settings_of(tmp_path)
    with (
        serving(create_app(settings), settings.serving) as server,
        open_page(browser, server.url, seen, **PHONE) as page,
    ):
        notes = page.locator("#notes .note")
        expect(notes).to_contain_text(["There are no tables"])
        done(settings, [(f"guest-{n % 20}", ("view", "click", "buy")[n % 3]) for n in range(60)])
        expect(notes).to_have_count(0)
        done(settings, [(MARKUP, "view")] * 600 + [("undefined", "view")] * 5)
        expect(notes).to_contain_text(
            [
                "5 of 665 events are of users called 'undefined' (5): a program wrote that",
                f"600 of 665 events are of one user ({MARKUP[:40]!r}): is that a proxy's address",
            ]
        )
        assert [note.get_attribute("class") for note in notes.all()] == ["note care"] * 2
        assert page.evaluate("window.hacked") is None
        assert not is_too_wide(page)
        assert faults(page) == []
    assert seen.complaints == []


def test_patterns_and_segments_appear_when_a_day_is_mined(page: Page, platform: Platform) -> None:
    mine(platform)
    expect(page.locator("#patterns")).to_contain_text("night readers")
    expect(page.locator("#patterns")).to_contain_text("long sessions, few clicks")
    expect(page.locator("#patterns")).to_contain_text(MARKUP)
    assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_a_phone(
    browser: Browser, server: Serving, platform: Platform, seen: Seen, scheme: str
) -> None:
    long = "w" * 300
    platform.score(long, 10)
    alert = platform.alert(long, "212 clicks " + "y" * 300)
    mine(platform)
    for path in ("/", f"/timeline?user={long}"):
        with open_page(browser, server.url + path, seen, color_scheme=scheme, **PHONE) as page:
            if path == "/":
                expect(page.locator(f"#alert-{alert}")).to_be_visible()
                expect(page.locator("#patterns")).to_contain_text("night readers")
                expect(page.locator("#model")).to_contain_text("No model is champion")
            else:
                expect(page.locator("#line figure").first).to_be_visible()
            assert not is_too_wide(page)
            assert faults(page) == []
            page.set_viewport_size({"width": 1280, "height": 900})
            assert not is_too_wide(page)
            assert faults(page) == []
    assert seen.complaints == []


def test_by_keyboard_the_first_stop_leads_to_the_content(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_a_server_that_stops_ends_its_open_pages_and_they_say_so(
    browser: Browser, tmp_path: Path, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(tmp_path)
    with serving(create_app(settings), settings.serving) as server, open_page(browser, server.url, seen) as page:
        server.stop()
        assert not server.alive
        assert "graceful shutdown exceeded" not in caplog.text
        expect(page.locator("#connection")).to_have_text("Connection lost, trying again")


def mine(platform: Platform) -> None:
    """As jobs.mine_patterns leaves a day."""
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    share = {"share": 0.3, "share_before": 0.2, "trend": "rising", "flagged_share": 0.01}
    counts = dict.fromkeys(("events", "sessions", "users", "mined_sessions", "learned_sessions"), 9)
    known = {"day": day, "mined_at": datetime.now(UTC), "is_complete": True, **counts, "page_kinds": [], "notes": []}
    path = {"pattern_id": "p", "name": "home, then search", "description": "d", "steps": ["/", MARKUP], "sessions": 4}
    segment = {"unit": "user", "segment_id": "s", "name": "night readers", "members": 3, "first_day": day}
    told = {"description": "long sessions, few clicks", "profile": [], "pages": [], "paths": [], "centre": []}
    quality = {"silhouette": 0.5, "stability": 0.9}
    arrow_tables.append(platform.root, PATTERNS, [{"day": day, **path, "users": 3, "lift": 2.5, **share}])
    arrow_tables.append(platform.root, SEGMENTS, [{"day": day, **segment, **told, **share, **quality}])
    arrow_tables.append(platform.root, PATTERN_DAYS, [known])


def done(settings: Settings, events: list[tuple[str, str]]) -> None:
    """Rows of table ``events``: what these users did, a second each."""
    now, batch = datetime.now(UTC), f"q:{uuid.uuid4().hex[:6]}"
    nothing = dict.fromkeys(EVENTS.columns) | {"topic": "t", "partition": 0, "page": "p", "ingest_id": batch}
    nothing |= {"ingested_at": now, "received_at": now}
    rows = [
        {**nothing, "offset": n, "user_id": user, "action": action, "timestamp": now - timedelta(seconds=n)}
        for n, (user, action) in enumerate(events)
    ]
    arrow_tables.append(settings.storage.root, EVENTS, rows, batch_id=batch)
