"""One Spark session and one browser for the whole run."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright
from pyspark.sql import SparkSession

from settings import load_settings
from spark.session import spark_session
from tests.paths import PROJECT

JAVA = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=512m -XX:+UseSerialGC"
"""Of the tests' Sparks: as in conf/local.yaml, and one collector without threads of its own, which starts sooner."""


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Local Spark with Delta and Kafka connectors, small."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    small = [
        f"storage.root={tmp_path_factory.mktemp('spark')}/lake",
        "spark.master=local[2]",
        "spark.shuffle_partitions=2",
        "spark.driver_memory=3g",
    ]
    session = spark_session(load_settings("local", [*small, f"spark.java_options={JAVA}"]))
    session.sparkContext.setLogLevel("ERROR")
    # The folder of this Spark is not for the programs that tests start: the paths of their sockets would be too long.
    os.environ.pop("TMPDIR")
    tempfile.tempdir = None
    yield session
    session.stop()


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
PATIENCE = 180_000
"""Milliseconds that a page may take on a busy machine."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium; where there is none, the tests that need it are skipped.

    For a module, not for the run: Playwright's event loop lives as long, and no other can be started beside it.
    """
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("There is no Chromium: apt-get install chromium (Debian), then run the tests again.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET, timeout=PATIENCE)
        yield browser
        browser.close()


@dataclass
class Seen:
    """What a page complained about: errors and warnings on its console, and requests to anywhere but its own server."""

    complaints: list[str] = field(default_factory=list)


@contextmanager
def open_page(browser: Browser, address: str, seen: Seen, **context: Any) -> Iterator[Page]:
    """A page of a fresh browser context (``context``: its options), loaded and with its stream open."""
    made = browser.new_context(**context)
    made.set_default_timeout(PATIENCE)
    page = made.new_page()
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    home = "/".join(address.split("/")[:3])

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            seen.complaints.append(message.text)

    def asked(request: Request) -> None:
        if not request.url.startswith(home):
            seen.complaints.append(f"asked {request.url}")

    page.on("console", said)
    page.on("request", asked)
    try:
        page.goto(address)
        page.wait_for_selector("#connection[data-state=live]")
        yield page
    finally:
        made.close()


def pytest_configure(config: pytest.Config) -> None:
    # On the integration server the same examples every time, as Hypothesis itself does there; elsewhere new ones.
    in_ci = bool(os.environ.get("CI"))
    hypothesis.settings.register_profile("busy machine", deadline=None, derandomize=in_ci, print_blob=not in_ci)
    hypothesis.settings.load_profile("busy machine")
    os.environ.setdefault("BEHAVIOR_CONF_DIR", str(PROJECT / "conf"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs Spark: half a minute of Java that compiles itself, before the first row."""
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker("spark")
