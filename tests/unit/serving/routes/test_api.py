"""The prediction API: the real app over HTTP, a real registry, tables as the jobs write them. Kafka is away."""

from __future__ import annotations

import json
import logging
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
import schemathesis
from jsonschema import Draft202012Validator
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from features.definitions import FEATURE_NAMES
from features.identities import UNDONE
from features.tables import IDENTITIES
from registry.mlflow_registry import Registry
from scoring.arrays import Rules
from scoring.frames import score_frame
from serving.access.security import HEADERS
from serving.app import create_app
from serving.server import Serving, serving
from settings import Settings
from tests.unit.serving.samples import (
    Answer,
    append,
    ask,
    fill,
    minute,
    registry_with_two_versions,
    server_of,
    settings_of,
    stamp,
    wait_until,
)
from tests.unit.training.samples import small_champion

pytestmark = pytest.mark.integration

ORIGINAL = {"clicks_per_minute": 18, "pages_per_session": 5}
STRANGE = {
    "events_per_minute": 5000,
    "clicks_per_minute": 5000,
    "pages_per_session": 9000,
    "distinct_pages_per_session": 9000,
    "session_minutes": 400,
    "recent_minutes": 1400,
    "own_rate_ratio": 500,
    "gap_mean_seconds": 0,
    "active_seconds": 60,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("platform")


@pytest.fixture(scope="module")
def settings(place: Path) -> Settings:
    return settings_of(place, "model.name=tested")


@pytest.fixture(scope="module")
def registry(place: Path, settings: Settings) -> Registry:
    found = registry_with_two_versions(place, settings.model.name)
    found.promote("1")
    return found


@pytest.fixture(scope="module")
def server(place: Path, settings: Settings, registry: Registry) -> Iterator[Serving]:
    fill(place / "lake")
    with server_of(settings) as server:
        wait_until(lambda: ask(server, "GET", "/ready").status == 200)
        yield server


def predict(server: Serving, body: object = None, **more: Any) -> Answer:
    return ask(server, "POST", "/predict_behavior", body, **more)


def faults(answer: Answer) -> set[tuple[str, str]]:
    assert answer.headers["content-type"] == "application/problem+json"
    return {(one["field"], one["reason"]) for one in answer.content["errors"]}


# --- predictions ---


def test_the_request_of_the_original_design_is_answered_word_for_word(server: Serving) -> None:
    command = ["curl", "-sS", "-X", "POST", f"http://localhost:{server.port}/predict_behavior"]
    body = '{"clicks_per_minute": 18, "pages_per_session": 5}'
    if shutil.which("curl") is None:
        answer = predict(server, ORIGINAL).content
    else:
        said = subprocess.run(
            [*command, "-H", "Content-Type: application/json", "-d", body], capture_output=True, check=True, timeout=60
        )
        answer = json.loads(said.stdout)
    assert answer["behavior_prediction"] in {"Anomaly", "Normal"}
    assert next(iter(answer)) == "behavior_prediction"
    assert (answer["model_version"], answer["threshold"]) == ("1", small_champion().threshold)
    typical = small_champion().reference.features
    names = set(small_champion().model.feature_names) - set(ORIGINAL)
    assert answer["assumed_typical"] == {name: typical[name].typical for name in names}


@pytest.mark.parametrize("body", [ORIGINAL, STRANGE, {"session_events": 2, **STRANGE}, {"clicks_per_minute": None}])
def test_the_numbers_are_those_of_the_stream(server: Serving, body: dict[str, float]) -> None:
    expected = score_frame(pd.DataFrame([body], dtype="float64"), small_champion(), Rules()).iloc[0]
    answer = predict(server, body).content
    assert answer["verdict"] == expected["verdict"]
    assert answer["anomaly_score"] == pytest.approx(_or_none(expected["anomaly_score"]), abs=1e-12)
    assert answer["anomaly_percentile"] == pytest.approx(_or_none(expected["anomaly_percentile"]), abs=1e-9)
    assert [reason["feature"] for reason in answer["reasons"]] == [one["feature"] for one in expected["reasons"] or []]


def _or_none(number: float) -> float | None:
    return None if np.isnan(number) else number


def test_an_anomaly_has_its_reasons_in_words_and_a_session_too_short_is_not_called_one(server: Serving) -> None:
    strange = predict(server, STRANGE).content
    assert (strange["behavior_prediction"], strange["verdict"]) == ("Anomaly", "anomaly")
    assert any("usually" in reason["text"] for reason in strange["reasons"])
    short = predict(server, {"session_events": 2, **STRANGE}).content
    assert (short["behavior_prediction"], short["verdict"]) == ("Normal", "insufficient_data")
    assert short["anomaly_score"] is None


@pytest.mark.parametrize("shape", [lambda rows: rows, lambda rows: {"rows": rows}], ids=["array", "rows"])
def test_a_batch_gives_each_row_the_answer_it_has_alone(server: Serving, shape: Any) -> None:
    rows = [ORIGINAL, STRANGE, {"session_events": 1, "clicks_per_minute": 9}] * 15
    answer = ask(server, "POST", "/predict_behavior/batch", shape(rows))
    assert answer.status == 200
    alone = [predict(server, row).content for row in rows[:3]]
    assert rounded(answer.content["predictions"]) == rounded(alone * 15)


def rounded(found: Any) -> Any:
    """The same with every number to nine digits."""
    if isinstance(found, dict):
        return {name: rounded(value) for name, value in found.items()}
    if isinstance(found, list):
        return [rounded(value) for value in found]
    return round(found, 9) if isinstance(found, float) else found


# --- bad input ---

BAD_VALUES = [
    ('{"click_per_minute": 1}', "click_per_minute", "unknown_feature"),
    ('{"Clicks_Per_Minute": 1}', "Clicks_Per_Minute", "unknown_feature"),
    ('{"clicks_per_minute": "18"}', "clicks_per_minute", "wrong_type"),
    ('{"clicks_per_minute": true}', "clicks_per_minute", "wrong_type"),
    ('{"clicks_per_minute": [1]}', "clicks_per_minute", "wrong_type"),
    ('{"clicks_per_minute": NaN}', "clicks_per_minute", "not_finite"),
    ('{"clicks_per_minute": -Infinity}', "clicks_per_minute", "not_finite"),
    ('{"clicks_per_minute": 1e400}', "clicks_per_minute", "not_finite"),
    ('{"clicks_per_minute": -1}', "clicks_per_minute", "negative"),
    ('{"clicks_per_minute": 1e300}', "clicks_per_minute", "out_of_range"),
    ('{"clicks_per_minute": ' + "9" * 4000 + "}", "clicks_per_minute", "out_of_range"),
    ('{"view_share": 1.01}', "view_share", "out_of_range"),
    ('{"clicks_per_minute": 1, "clicks_per_minute": 2}', "clicks_per_minute", "duplicate_field"),
    ("{}", "(body)", "no_feature"),
    ("[]", "(body)", "wrong_type"),
    ("null", "(body)", "wrong_type"),
]


@pytest.mark.parametrize(("body", "field", "reason"), BAD_VALUES, ids=[f"{b[:30]} {r}" for b, _, r in BAD_VALUES])
def test_a_bad_value_is_named_with_field_and_reason(server: Serving, body: str, field: str, reason: str) -> None:
    answer = predict(server, raw=body.encode())
    assert (answer.status, faults(answer)) == (422, {(field, reason)})


BAD_BODIES = [
    (b"", 400),
    (b"{", 400),
    (b'{"clicks_per_minute": 1} x', 400),
    (b'{"clicks_per_minute": 1}{}', 400),
    (b"\xff\xfe{}", 400),
    (b"[" * 9_000, 400),
    (b'{"a":' * 9_000 + b"1" + b"}" * 9_000, 400),
    (b'{"clicks_per_minute": ' + b"9" * 5000 + b"}", 400),
    (b" " * 1_100_000, 413),
    (b"{" + b",".join(b'"n%d":1' % n for n in range(6_000)) + b"}", 422),
]


@pytest.mark.parametrize(("body", "status"), BAD_BODIES, ids=[f"{b[:20]!r} {len(b)}" for b, _ in BAD_BODIES])
def test_a_bad_body_is_refused_in_a_sentence(server: Serving, body: bytes, status: int) -> None:
    for path in ("/predict_behavior", "/predict_behavior/batch", "/alerts/a-1/feedback"):
        answer = ask(server, "POST", path, raw=body)
        assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
        assert len(answer.content["detail"]) < 200


def test_the_close_name_is_told(server: Serving) -> None:
    assert "did you mean clicks_per_minute?" in predict(server, {"click_per_minute": 1}).content["detail"]


def test_in_a_batch_the_row_is_named_and_nothing_is_answered_in_part(server: Serving) -> None:
    answer = ask(server, "POST", "/predict_behavior/batch", [ORIGINAL, {"clicks_per_minute": -1}, 3])
    assert answer.status == 422
    assert faults(answer) == {("rows[1].clicks_per_minute", "negative"), ("rows[2]", "wrong_type")}


def test_too_many_rows_are_refused(server: Serving) -> None:
    answer = ask(server, "POST", "/predict_behavior/batch", [{"clicks_per_minute": 1}] * 5001)
    assert answer.status == 413
    assert "the limit is 5000" in answer.content["detail"]


def test_a_form_is_told_which_type_is_needed(server: Serving) -> None:
    answer = predict(server, raw=b"clicks_per_minute=18", Content_Type="application/x-www-form-urlencoded")
    assert answer.status == 415
    assert "Content-Type: application/json" in answer.content["detail"]


def test_what_was_sent_is_neither_logged_nor_repeated_in_full(
    server: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "s3cret" * 100
    with caplog.at_level(logging.DEBUG):
        answer = predict(server, {secret: secret, "clicks_per_minute": secret})
    assert answer.status == 422
    assert secret not in str(answer.content)
    assert secret not in caplog.text


# --- the champion ---


def test_a_promotion_is_served_without_a_restart_and_no_request_fails_meanwhile(
    server: Serving, registry: Registry
) -> None:
    registry.promote("2")
    versions: list[str] = []

    def is_served() -> bool:
        answer = predict(server, ORIGINAL)
        assert answer.status == 200
        versions.append(answer.content["model_version"])
        return versions[-1] == "2"

    try:
        wait_until(is_served)
    finally:
        registry.promote("1")
        wait_until(lambda: predict(server, ORIGINAL).content["model_version"] == "1")
    assert versions == sorted(versions), "never back to the old one"


def test_a_changed_threshold_is_followed(server: Serving, registry: Registry) -> None:
    before = small_champion().threshold
    registry.set_threshold("1", 0.01)
    try:
        wait_until(lambda: predict(server, ORIGINAL).content["behavior_prediction"] == "Anomaly")
    finally:
        registry.set_threshold("1", before)
        wait_until(lambda: predict(server, ORIGINAL).content["threshold"] == before)


def test_without_a_champion_it_is_not_ready_and_says_what_to_run_and_makes_no_registry(tmp_path: Path) -> None:
    with server_of(settings_of(tmp_path)) as server:
        wait_until(lambda: "train_model" in ask(server, "GET", "/ready").content["detail"])
        ready, predicted = ask(server, "GET", "/ready"), predict(server, ORIGINAL)
        assert (ready.status, ready.content["ready"]) == (503, False)
        assert predicted.status == 503
        assert "python -m jobs.train_model" in predicted.content["detail"]
        assert ask(server, "GET", "/health").status == 200
        assert ask(server, "GET", "/alerts").content == {"alerts": [], "next_before": None}
        assert ask(server, "GET", "/users/a").status == 404
        assert "jobs.mine_patterns" in ask(server, "GET", "/patterns").content["detail"]
    assert not (tmp_path / "mlflow.db").exists()


# --- users and alerts ---


def test_a_user_is_told_with_latest_features_judgement_history_and_alerts(server: Serving) -> None:
    answer = ask(server, "GET", "/users/bot/1?limit=2")
    assert answer.status == 200
    found = answer.content
    assert found["latest"]["window_start"] == minute(2).isoformat()
    assert found["latest"]["features"]["clicks_per_minute"] == 200.0
    assert set(found["latest"]["features"]) == set(FEATURE_NAMES)
    assert found["judgement"]["reasons"][0]["text"] == "200 clicks per minute; usually 2"
    assert [row["window_start"] for row in found["history"]] == [minute(2).isoformat(), minute(1).isoformat()]
    assert [alert["alert_id"] for alert in found["alerts"]] == ["a-3", "a-1"]


def test_links_of_a_user_and_of_an_anonymous_id_say_what_counts_for_whom(server: Serving, place: Path) -> None:
    assert ask(server, "GET", "/identities?user_id=ada").content == {"user_id": "ada", "links": []}
    rows: list[tuple[str | None, str, int, str]] = [
        ("ada", "x", 1, "web"),
        ("ada", "x", 0, "web"),
        ("ada", "y", 2, "app"),
        ("bob", "y", 5, "web"),
    ]
    rows += [("ada", "z", 3, "web"), ("ada", "z", 3, UNDONE), (None, "x", 9, "web")]
    names = ("user_id", "anonymous_id", "linked_at", "source")
    told = [
        dict(zip(names, (*ids, minute(at), source), strict=True)) | stamp(number)
        for number, (*ids, at, source) in enumerate(rows)
    ]
    append(place / "lake", IDENTITIES, told)
    wait_until(lambda: len(ask(server, "GET", "/identities?user_id=ada").content["links"]) == 3)
    z, y, x = ask(server, "GET", "/identities?user_id=ada").content["links"]
    assert (x["linked_at"], x["lent_from"], x["lent_until"]) == (*[minute(0).isoformat()] * 2, minute(9).isoformat())
    assert (y["source"], y["lent_from"], y["lent_until"]) == ("app", minute(2).isoformat(), minute(5).isoformat())
    assert (z["anonymous_id"], z["is_undone"], z["lent_from"]) == ("z", True, None)
    assert ask(server, "GET", "/identities?user_id=nobody").content["links"] == []
    both = ask(server, "GET", "/identities?user_id=y").content["links"]
    assert [(link["user_id"], link["lent_from"] is not None) for link in both] == [("bob", False), ("ada", True)]


def test_a_users_newest_minute_in_its_newest_revision_is_judged_anew(server: Serving) -> None:
    answer = ask(server, "POST", "/users/calm/predict")
    assert answer.status == 200
    assert answer.content["window_start"] == minute(3).isoformat()
    assert answer.content["features"]["clicks_per_minute"] == 3.0
    same = {"clicks_per_minute": 3.0, "session_minutes": 4.0, "session_events": 20.0}
    assert answer.content["anomaly_score"] == predict(server, same).content["anomaly_score"]
    changed = ask(server, "POST", "/users/calm/predict", STRANGE).content
    assert (changed["behavior_prediction"], changed["replaced"]) == ("Anomaly", sorted(STRANGE))


def test_alerts_come_in_their_newest_revision_page_by_page(server: Serving) -> None:
    first = ask(server, "GET", "/alerts?limit=2").content
    assert [(one["alert_id"], one["state"]) for one in first["alerts"]] == [("a-3", "open"), ("a-2", "withdrawn")]
    second = ask(server, "GET", f"/alerts?limit=2&before={first['next_before'].replace('+', '%2B')}").content
    assert [one["alert_id"] for one in second["alerts"]] == ["a-1"]
    assert second["next_before"] is None
    assert [one["alert_id"] for one in ask(server, "GET", "/alerts?state=open").content["alerts"]] == ["a-3", "a-1"]
    assert [one["alert_id"] for one in ask(server, "GET", "/alerts?user_id=calm").content["alerts"]] == ["a-2"]


def test_feedback_is_kept_and_the_newest_word_counts(server: Serving) -> None:
    for verdict, note in ((True, "a bot"), ("false", None)):
        answer = ask(server, "POST", "/alerts/a-1/feedback", {"verdict": verdict, "note": note})
        assert answer.status == 201
    alerts = {one["alert_id"]: one["feedback"] for one in ask(server, "GET", "/alerts").content["alerts"]}
    assert (alerts["a-1"]["verdict"], alerts["a-1"]["note"], alerts["a-3"]) == ("false", None, None)
    assert ask(server, "POST", "/alerts/none/feedback", {"verdict": True}).status == 404


@pytest.mark.parametrize(
    ("word", "field"),
    [
        ({}, "verdict"),
        ({"verdict": "yes"}, "verdict"),
        ({"verdict": 1}, "verdict"),
        ({"verdict": True, "note": 3}, "note"),
        ({"verdict": True, "mood": "x"}, "mood"),
        ([], "(body)"),
    ],
)
def test_feedback_that_is_none_is_refused_by_field(server: Serving, word: object, field: str) -> None:
    answer = ask(server, "POST", "/alerts/a-1/feedback", word)
    assert (answer.status, {one["field"] for one in answer.content["errors"]}) == (422, {field})


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "state=odd", "before=yesterday", "before=2026-05-04T12:00:00"])
def test_a_wrong_parameter_is_named(server: Serving, query: str) -> None:
    answer = ask(server, "GET", f"/alerts?{query}")
    assert answer.status == 422
    assert {field for field, _ in faults(answer)} == {query.partition("=")[0]}


# --- around ---


def test_metrics_count_answers_by_route_and_never_by_what_was_asked(server: Serving) -> None:
    ask(server, "GET", "/users/somebody")
    predict(server, STRANGE)
    text = ask(server, "GET", "/metrics").content.decode()
    assert re.search(r'behavior_http_requests_total\{route="/users/\{user_id:path\}",status="404"\} \d', text)
    assert re.search(r'behavior_predictions_total\{verdict="anomaly"\} \d', text)
    assert 'behavior_champion{version="1"} 1.0' in text
    assert "somebody" not in text


def test_the_documentation_loads_nothing_from_elsewhere(server: Serving) -> None:
    page = ask(server, "GET", "/docs")
    assert page.status == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.content.decode())
    assert loaded
    for address in loaded:
        assert "//" not in address
        assert ask(server, "GET", f"/{address}").status == 200
    assert "script-src 'self';" in page.headers["content-security-policy"]


def test_the_documentation_pages_scripts_are_of_a_version_without_known_holes(server: Serving) -> None:
    """Swagger UI shows text of the document as HTML, which DOMPurify cleans; before 3.2.4 it could be got around."""
    script = ask(server, "GET", "/docs/swagger-ui-bundle.js").content.decode()
    cleaners = re.findall(r'DOMPurify\.version="(\d+)\.(\d+)\.(\d+)"', script)
    assert cleaners
    assert all(tuple(map(int, version)) >= (3, 2, 4) for version in cleaners)


def test_examples_of_the_document_hold_by_its_own_schemas_and_by_the_server(server: Serving) -> None:
    document = ask(server, "GET", "/openapi.json").content
    tried = 0
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            media = about.get("requestBody", {}).get("content", {}).get("application/json", {})
            for example in media.get("examples", {}).values():
                Draft202012Validator(media["schema"]).validate(example["value"])
                address = path.replace("{user_id}", "calm").replace("{alert_id}", "a-3")
                answer = ask(server, method.upper(), address, example["value"])
                said = about["responses"][str(answer.status)]["content"]["application/json"]
                Draft202012Validator(said["schema"]).validate(answer.content)
                tried += 1
    assert tried >= 6


def test_every_answer_carries_the_security_headers(server: Serving) -> None:
    for path in ("/", "/health", "/docs", "/predict_behavior", "/nothing"):
        headers = ask(server, "GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers


def test_a_mistake_of_ours_is_answered_as_all_else_and_the_log_names_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(tmp_path)
    app = create_app(settings)

    @app.get("/broken/{user_id}")
    def broken(user_id: str) -> None:
        raise RuntimeError("a mistake")

    with serving(app, settings.serving) as server:
        answer = ask(server, "GET", "/broken/ada-lovelace")
    assert (answer.status, answer.content["title"]) == (500, "Internal Server Error")
    assert set(HEADERS) <= set(answer.headers)
    assert "GET /broken/{user_id} failed" in caplog.text
    assert caplog.text.count("RuntimeError: a mistake") == 1
    assert "lovelace" not in caplog.text


def test_a_name_that_is_not_ours_is_not_answered(server: Serving) -> None:
    assert ask(server, "GET", "/features", Host="evil.example").status == 421
    assert ask(server, "GET", "/features", Host=f"localhost:{server.port}").status == 200


def test_pages_of_other_sites_may_change_nothing(server: Serving) -> None:
    body = {"verdict": True}
    assert ask(server, "POST", "/alerts/a-1/feedback", body, Origin="https://evil.example").status == 403
    assert ask(server, "POST", "/alerts/a-1/feedback", body, Origin="null").status == 403
    for other in (f"http://{server.host}:1", f"http://{server.host}", "http://localhost:3000", f"ftp://{server.host}"):
        assert ask(server, "POST", "/alerts/a-1/feedback", body, Origin=other).status == 403, other
    ours = f"http://{server.host}:{server.port}"
    for site in ("cross-site", "same-site"):
        assert ask(server, "POST", "/alerts/a-1/feedback", body, Origin=ours, Sec_Fetch_Site=site).status == 403
    assert ask(server, "POST", "/alerts/a-1/feedback", body, Origin=ours, Sec_Fetch_Site="same-origin").status == 201


def test_behind_a_proxy_the_pages_of_its_name_are_ours_and_those_of_its_other_ports_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEHAVIOR_ANALYST_TOKEN", "a-token-of-many-letters")
    key = "Bearer a-token-of-many-letters"
    with server_of(settings_of(tmp_path, "serving.allowed_hosts=[behaviour.example]")) as server:

        def status(origin: str) -> int:
            word = {"verdict": True}
            return ask(server, "POST", "/alerts/a-1/feedback", word, Origin=origin, Authorization=key).status

        assert status("https://behaviour.example") == 404  # there is no such alert
        assert status("https://behaviour.example:8443") == 403
        assert status("https://evil.behaviour.example") == 403


def test_pages_that_may_send_events_may_read_nothing_else(tmp_path: Path) -> None:
    origin = "https://shop.example"
    with server_of(settings_of(tmp_path, f"collector.allowed_origins=[{origin}]")) as server:
        allowed = ask(server, "OPTIONS", "/events", Origin=origin, Access_Control_Request_Method="POST")
        assert allowed.headers["access-control-allow-origin"] == origin
        assert "access-control-allow-origin" not in ask(server, "GET", "/alerts", Origin=origin).headers


def test_too_many_requests_of_one_address_are_told_to_wait(tmp_path: Path) -> None:
    with server_of(settings_of(tmp_path, "serving.rate_per_second=0.1", "serving.burst=2")) as server:
        answers = [ask(server, "GET", "/features") for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert int(answers[2].headers["retry-after"]) >= 1
        assert ask(server, "GET", "/health").status == 200


def test_a_client_that_does_not_say_what_it_wants_is_not_waited_for(tmp_path: Path) -> None:
    with (
        server_of(settings_of(tmp_path, "serving.read_seconds=1")) as server,
        socket.create_connection((server.host, server.port), timeout=60) as slow,
    ):
        with suppress(ConnectionError):
            slow.sendall(b"GET /health HTTP/1.1\r\nHo")
            assert slow.recv(1000) == b"", "the connection is closed"
        assert ask(server, "GET", "/health").status == 200


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
def test_above_a_limit_of_connections_only_the_sign_of_life_is_answered(limit: str, tmp_path: Path) -> None:
    with (
        server_of(settings_of(tmp_path, f"serving.{limit}=2", "serving.read_seconds=60")) as server,
        ExitStack() as stack,
    ):
        for _ in range(2):
            stack.enter_context(socket.create_connection((server.host, server.port), timeout=60))
        wait_until(lambda: ask(server, "GET", "/features").status == 503)
        assert ask(server, "GET", "/health").status == 200
        stack.close()
        wait_until(lambda: ask(server, "GET", "/features").status == 200)


def test_connections_of_a_proxy_are_not_those_of_one_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEHAVIOR_API_TOKEN", "a-token-of-many-letters")
    proxy = ["serving.max_connections_per_address=1", 'serving.trusted_proxies=["127.0.0.0/8"]']
    with (
        server_of(settings_of(tmp_path, *proxy)) as server,
        socket.create_connection((server.host, server.port), timeout=60),
    ):
        token = "Bearer a-token-of-many-letters"
        assert {ask(server, "GET", "/features", Authorization=token).status for _ in range(3)} == {200}


@pytest.mark.parametrize("path", ["/predict_behavior/batch", "/events"])
@pytest.mark.parametrize("chunked", [False, True])
def test_who_sends_long_bodies_pays_for_the_bytes(path: str, chunked: bool, tmp_path: Path) -> None:
    """A body of sixteen tokens: one is in a bucket of twenty, a second is not, whether or not its length was told."""
    rates = [f"{part}.{name}" for part in ("serving", "collector") for name in ("rate_per_second=0.1", "burst=20")]
    body = b" " * (16 * 4096 - 2) + b"[]"
    with server_of(settings_of(tmp_path, *rates, "collector.max_events=1")) as server:
        statuses = [ask(server, "POST", path, raw=iter([body]) if chunked else body).status for _ in range(2)]
        assert statuses == [422 if "batch" in path else 400, 429]
        assert ask(server, "POST", path, [{}]).status != 429, "a small one is still taken"


# --- whatever schemathesis thinks of ---

KAFKA_IS_AWAY = {"/events", "/ready/collector"}
CHECKS = [not_a_server_error, response_schema_conformance, status_code_conformance]


def test_no_request_makes_the_server_fail_or_answer_otherwise_than_its_document_says(server: Serving) -> None:
    document = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    tried = set()
    for found in document.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        if operation.path in KAFKA_IS_AWAY:
            continue

        @hypothesis.settings(
            max_examples=12,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy())
        def try_it(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        try_it()
        tried.add(f"{operation.method} {operation.path}")
    assert len(tried) >= 10
