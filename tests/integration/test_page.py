"""The page at the end of the whole way: what is sent to Kafka, as a browser shows it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, expect

from alerts.follower import ScoreFollower
from kafka.producer import EventProducer
from registry.configured import registry_of
from serving.app import create_app
from serving.server import serving
from tests.conftest import PATIENCE, Seen, open_page
from tests.integration.conftest import Platform
from tests.unit.training.samples import feature_rows, small_model, small_reference

pytestmark = pytest.mark.integration
expect.set_options(timeout=PATIENCE)

MARKUP = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"


def send(producer: EventProducer, *events: dict[str, object]) -> None:
    for event in events:
        producer.send_raw(json.dumps(event).encode(), str(event["user_id"]).encode())
    producer.flush()


def flood(user: str, start: datetime, events: int) -> list[dict[str, object]]:
    """Clicks twice a second, each as a page of its own that is markup."""
    return [
        {
            "user_id": user,
            "action": "click",
            "page": f"/{MARKUP}{number}",
            "timestamp": (start + timedelta(seconds=number / 2)).isoformat(),
        }
        for number in range(events)
    ]


def test_markup_sent_through_kafka_is_text_on_the_page_and_its_alert_comes_without_a_reload(
    platform: Platform, producer: EventProducer, browser: Browser
) -> None:
    producer.send_raw(b"not json", b"k")
    producer.flush()
    platform.ingest()
    registry = registry_of(platform.settings)
    version = registry.log_and_register(small_model(), small_reference(), feature_rows(9))
    registry.promote(version, why=MARKUP)
    seen = Seen()
    settings = platform.settings.model_copy(
        update={"serving": platform.settings.serving.model_copy(update={"port": 0})}
    )
    with serving(create_app(settings), settings.serving) as server, open_page(browser, server.url, seen) as page:
        expect(page.locator("#model")).to_contain_text(f"version {version}")
        expect(page.locator("#model")).to_contain_text(MARKUP)
        send(producer, *flood(MARKUP, datetime.now(UTC) - timedelta(minutes=3), 240))
        expect(page.locator("#streams")).to_contain_text("240 records of topic")
        for step in (platform.ingest, platform.build, platform.score, ScoreFollower(platform.settings).poll):
            step()
        alert = page.locator("#alerts li", has_text=MARKUP)
        expect(alert).to_be_attached()
        expect(alert.locator("h3")).to_have_text(MARKUP)
        assert alert.locator(".reasons li").count() >= 1
        expect(page.locator("#streams")).to_contain_text("0 records of topic")
        expect(page.locator("#streams tr", has_text="not_json")).to_contain_text("1")
        alert.locator("h3 a").click()
        expect(page.locator("h1")).to_contain_text(MARKUP)
        expect(page.locator("#line figure").first).to_be_visible()
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main script").count() == 0
    assert seen.complaints == []
