"""Journeys on the page, in a real browser, on tables as the jobs fill them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from features.tables import EVENTS, FEATURE_TABLE, SCORES, Table
from lake import arrow_tables
from serving.app import create_app
from serving.server import Serving, serving
from tests.browser.conftest import settings_of
from tests.browser.test_page import MARKUP, PHONE, faults, is_too_wide
from tests.conftest import PATIENCE, Seen, open_page
from tests.unit.journeys.samples import Event, acts_of

pytestmark = pytest.mark.integration
expect.set_options(timeout=PATIENCE)

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def walks() -> list[Event]:
    """Four days of people who look, fill a basket and pay, or do not; some click in haste, and two come from markup."""
    events: list[Event] = []

    def go(user: str, day: int, *acts: tuple[str, str], seconds: float = 60) -> None:
        begin = TODAY - timedelta(days=day) + timedelta(hours=-10, minutes=7 * len(events) % 300)
        for place, (action, page) in enumerate(acts):
            events.append(Event(user, action, page, begin + place * timedelta(seconds=seconds), len(events)))

    for day in (3, 2, 1):
        for who in range(12):
            user, look = f"guest-{who}" if who < 6 else f"guest-{who}-{day}", ("view", f"/product/{100 * day + who}")
            way = [("view", "/"), *([look] if who % 4 else []), ("view", "/help")]
            if who % 2:
                way += [("add", "/cart"), ("view", "/")]
            if who % 4 == 1:
                way += [("pay", "/order/done")]
            go(user, day, *way)
    for who in range(4):
        go(f"hasty-{who}", 1, *[("click", f"/{MARKUP}")] * 6, seconds=0.5)
    return events


def fill(root: str, events: list[Event]) -> None:
    """The tables that journeys are counted in."""
    acts = acts_of(events)
    sources: tuple[tuple[Table, Any], ...] = (
        (EVENTS, acts.events),
        (FEATURE_TABLE, acts.minutes),
        (SCORES, acts.verdicts),
    )
    for table, rows in sources:
        given = [{name: value for name, value in row.items() if value is not None} for row in rows.to_pylist()]
        arrow_tables.append(root, table, [required(table) | row for row in given], batch_id="test:1")


def required(table: Table) -> dict[str, Any]:
    """Something in each column that must have a value and that no journey looks at."""
    something = {"string": "x", "timestamp": TODAY, "double": 0.0, "float": 0.0, "boolean": False}
    return {
        field.name: None if field.nullable else something.get(field.dataType.typeName(), 0) for field in table.schema
    }


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("journeys")
    settings = settings_of(folder)
    fill(settings.storage.root, walks())
    with serving(create_app(settings), settings.serving) as server:
        yield server


@pytest.fixture
def view(browser: Browser, walked: Serving, seen: Seen) -> Iterator[Page]:
    with open_page(browser, f"{walked.url}/journeys", seen) as page:
        yield page
    assert seen.complaints == []


def test_before_the_first_event_it_says_what_will_come(browser: Browser, tmp_path: Path, seen: Seen) -> None:
    settings = settings_of(tmp_path)
    with (
        serving(create_app(settings), settings.serving) as server,
        open_page(browser, f"{server.url}/journeys", seen) as page,
    ):
        expect(page.locator("main")).to_contain_text("Journeys appear some seconds after the first sessions")
        assert faults(page) == []


def test_a_way_that_leads_somewhere_is_proposed_and_counted(view: Page) -> None:
    funnel = view.locator("#funnel")
    expect(funnel.locator("h2")).to_have_text("to order done")
    steps = funnel.locator("table").first.locator("tbody tr")
    expect(steps.first).to_contain_text("product")
    expect(steps.last).to_contain_text("pay /order/done")
    expect(view.locator("#retention")).to_contain_text("day 1")
    assert faults(view) == []


def test_steps_of_ones_own_are_in_the_address_which_shows_the_same_to_others(
    view: Page, browser: Browser, seen: Seen
) -> None:
    view.get_by_text("Steps of your own").click()
    view.get_by_label("Step 1").fill("view:/product/*")
    view.get_by_label("Step 2").fill("add:/cart")
    view.get_by_role("button", name="Show").click()
    funnel = view.locator("#funnel")
    expect(funnel.locator("h2")).to_have_text("Your steps")
    told = funnel.inner_text()
    with open_page(browser, view.url, seen) as other:
        assert other.locator("#funnel").inner_text() == told
        expect(other.get_by_label("Step 2")).to_have_value("add:/cart")


def test_a_page_put_in_the_middle_shows_what_comes_before_and_after(view: Page) -> None:
    ways = view.locator("#ways")
    ways.get_by_text("All pages").click()
    ways.locator("details").get_by_role("link", name="cart").click()
    expect(view.locator("#ways h2")).to_contain_text("cart")
    expect(view.locator("#ways")).to_contain_text("help")


def test_what_makes_no_sense_is_a_sentence_and_the_page_is_there(browser: Browser, walked: Serving, seen: Seen) -> None:
    with open_page(browser, f"{walked.url}/journeys?since=yesterday", seen) as page:
        expect(page.locator("#problem")).to_contain_text("found 'yesterday'; needed: year, month and day")
        expect(page.locator("#funnel")).to_contain_text("order done")


def test_what_events_say_is_text_and_examples_lead_to_people(view: Page) -> None:
    found = view.locator("#findings")
    expect(found).to_contain_text("4 of 4 people did click on")
    expect(found).to_contain_text("<img src=x")
    assert view.evaluate("window.hacked") is None
    found.get_by_role("link", name="hasty-0").first.click()
    expect(view.locator("h1")).to_contain_text("hasty-0")
    story = view.locator("#story")
    expect(story).to_contain_text("6 times")
    story.get_by_text("6 times").click()
    expect(story.locator("pre").first).to_contain_text('"user_id": "hasty-0"')
    expect(story).to_contain_text("<img src=x")
    assert view.evaluate("window.hacked") is None
    assert faults(view) == []


def test_everything_shown_can_be_taken_away_as_csv(view: Page) -> None:
    with view.expect_download() as waited:
        view.locator("#funnel .head").first.get_by_role("link", name="CSV").click()
    rows = list(csv.DictReader(Path(waited.value.path()).read_text(encoding="utf-8").splitlines()))
    shown = view.locator("#funnel tbody tr").first.locator("td").first.inner_text()
    assert rows[0]["people"] == shown.replace(",", "")


@pytest.mark.parametrize("how", ["desktop", "phone"])
def test_it_fits_the_window(browser: Browser, walked: Serving, seen: Seen, how: str) -> None:
    size = PHONE if how == "phone" else {"viewport": {"width": 1280, "height": 900}}
    with open_page(browser, f"{walked.url}/journeys", seen, **size) as page:
        expect(page.locator("#funnel")).to_contain_text("order done")
        assert not is_too_wide(page)
