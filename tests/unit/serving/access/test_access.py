"""Who may what: every route with every key, keys that change while the server runs, a real proxy, and the audit."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.routing import BaseRoute

from features.errors import ConfigurationError
from features.tables import ALERTS, AUDIT, FEEDBACK
from lake import arrow_tables
from serving.access.audit import Audit
from serving.access.keys import Keys, why_keys_are_needed
from serving.access.roles import PROBES, ROUTES, Role
from serving.app import create_app
from serving.server import Serving
from settings import load_settings
from tests.paths import PROJECT
from tests.unit.serving.samples import alert_row, append, ask, server_of, settings_of, wait_until

TOKENS = {name: f"{name}-token-of-many-letters" for name in ("api", "sender", "reader", "analyst")}
OIDC = (
    "oidc.issuer=http://127.0.0.1:9",
    "oidc.client_id=behavior",
    "oidc.url=http://127.0.0.1:5000",
    "oidc.readers=[staff]",
)
ALERT = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TOKENS:
        monkeypatch.delenv(f"BEHAVIOR_{name.upper()}_TOKEN", raising=False)
        monkeypatch.delenv(f"BEHAVIOR_{name.upper()}_TOKEN_FILE", raising=False)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of each role in the environment."""
    for name, token in TOKENS.items():
        monkeypatch.setenv(f"BEHAVIOR_{name.upper()}_TOKEN", token)


def status(server: Serving, method: str, path: str, **headers: str) -> int:
    """The status of an answer, however long it is."""
    with closing(HTTPConnection(server.host, server.port, timeout=60)) as connection:
        body = b"{}" if method == "POST" else None
        connection.request(method, path, body, {"Content-Type": "application/json", **headers})
        return connection.getresponse().status


def bearer(token: str) -> str:
    return f"Bearer {token}"


def audited(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = arrow_tables.read(f"{folder}/lake", AUDIT).to_pylist()
    return rows


# --- the table of roles ---

WHO: dict[Role, set[str | None]] = {
    Role.PUBLIC: {None, "wrong", "sender", "reader", "analyst", "api"},
    Role.SENDER: {"sender", "api"},
    Role.READER: {"reader", "analyst", "api"},
    Role.ANALYST: {"analyst", "api"},
    Role.ALL: {"api"},
}
"""Whose request is let through."""
FREE = {
    *("GET /health", "GET /healthz", "GET /ready", "GET /ready/collector", "GET /readyz", "GET /page/static/{name}"),
    *("GET /sign-in", "GET /sign-in/back", "POST /sign-out", "GET /signed-out"),
}


def role_of(method: str, path: str) -> Role:
    """The role of a route, said here once more so that a change of the code's own table is noticed."""
    route = f"{method} {path}"
    if route in FREE:
        return Role.PUBLIC
    if route == "POST /events":
        return Role.SENDER
    if route == "POST /alerts/{alert_id}/feedback":
        return Role.ANALYST
    return Role.READER if (method, path) in ROUTES else Role.ALL


def routes_of(routes: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from routes_of(inner.routes)
        else:
            yield from ((method, route.path) for method in route.methods if method != "HEAD")  # type: ignore[attr-defined]


def test_every_route_has_a_role_and_every_role_a_route(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BEHAVIOR_OIDC__CLIENT_SECRET", "a-secret-of-many-letters")
    there = set(routes_of(create_app(settings_of(tmp_path, *OIDC)).routes))
    assert len(there) > 25
    assert there == set(ROUTES)


def test_nobody_without_a_key_sees_more_than_probes_files_of_the_page_and_the_way_to_sign_in() -> None:
    assert {f"{method} {path}" for (method, path), role in ROUTES.items() if role is Role.PUBLIC} == FREE
    assert {f"GET {path}" for path in PROBES} < FREE


def test_senders_send_readers_read_and_analysts_judge() -> None:
    assert {at: role_of(*at) for at in ROUTES} == ROUTES


@pytest.mark.integration
@pytest.mark.usefixtures("keys")
def test_each_key_opens_what_its_role_may_and_nothing_else(tmp_path: Path) -> None:
    asked = [*ROUTES, ("GET", "/nothing"), ("DELETE", "/alerts")]
    with server_of(settings_of(tmp_path, "serving.trusted_proxies=[127.0.0.1]")) as server:
        for method, template in asked:
            role = role_of(method, template)
            path = template.replace("{user_id:path}", "a/b").replace("{alert_id}", ALERT).replace("{name}", "page.css")
            path = f"{path}?user=a" if path == "/timeline" else path
            for who in (None, "wrong", *TOKENS):
                token = TOKENS.get(str(who), "a-token-that-nobody-has")
                headers = {} if who is None else {"Authorization": bearer(token)}
                found = status(server, method, path, **headers)
                wanted = None if who in WHO[role] else 403 if who in TOKENS else 401
                told = f"{method} {path} with the key {who} was answered {found}"
                assert found == wanted if wanted else found not in (401, 403), told


@pytest.mark.integration
@pytest.mark.usefixtures("keys")
def test_a_browser_gives_the_key_as_a_password_and_a_reader_is_shown_no_buttons(tmp_path: Path) -> None:
    append(tmp_path / "lake", ALERTS, [alert_row(ALERT, "somebody", 0)])
    with server_of(settings_of(tmp_path, "serving.host=0.0.0.0")) as server:
        refused = ask(server, "GET", "/")
        assert (refused.status, refused.headers["www-authenticate"].partition(" ")[0]) == (401, "Basic")
        for name, reads_only in (("reader", True), ("analyst", False)):
            basic = "Basic " + base64.b64encode(f"me:{TOKENS[name]}".encode()).decode()
            page = ask(server, "GET", "/", Authorization=basic)
            assert page.status == 200
            assert (b"<body data-reads-only" in page.content) is reads_only
        assert ask(server, "GET", "/alerts", Authorization="Basic !").status == 401
    style = (PROJECT / "serving" / "page" / "static" / "page.css").read_text(encoding="utf-8")
    assert "[data-reads-only] .review button {\n  display: none;" in style


# --- when keys are demanded ---


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("serving.host=0.0.0.0", "serving.host is 0.0.0.0"),
        ("serving.host=behavior.example", "serving.host is behavior.example"),
        ("serving.trusted_proxies=[127.0.0.1]", "serving.trusted_proxies is 127.0.0.1"),
        ("serving.allowed_hosts=[localhost, behavior.example]", "serving.allowed_hosts has behavior.example"),
        ("collector.public=true", "collector.public is true"),
    ],
)
def test_a_server_that_others_can_reach_does_not_start_without_a_key(tmp_path: Path, setting: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as refused:
        create_app(settings_of(tmp_path, setting))
    assert "BEHAVIOR_READER_TOKEN" in str(refused.value)


def test_a_server_for_this_machine_alone_needs_no_key(tmp_path: Path) -> None:
    assert why_keys_are_needed(settings_of(tmp_path, "serving.allowed_hosts=[localhost, 127.0.0.1]")) is None
    assert not Keys(settings_of(tmp_path, "serving.host=::1")).is_demanded


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"BEHAVIOR_API_TOKEN": "short"}, "BEHAVIOR_API_TOKEN has 5 characters, needed: at least 16"),
        ({"BEHAVIOR_READER_TOKEN_FILE": "/nowhere"}, "BEHAVIOR_READER_TOKEN_FILE: /nowhere cannot be read"),
        (
            {"BEHAVIOR_READER_TOKEN": TOKENS["api"], "BEHAVIOR_ANALYST_TOKEN": TOKENS["api"]},
            "BEHAVIOR_READER_TOKEN is the same as a key of another role",
        ),
    ],
)
def test_a_key_that_is_none_is_refused_by_name_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=told) as refused:
        create_app(settings_of(tmp_path))
    assert TOKENS["api"] not in str(refused.value)


@pytest.mark.usefixtures("keys")
def test_no_print_of_settings_or_keys_shows_a_token(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    shown = f"{settings!r} {settings.model_dump_json()} {Keys(settings)!r}"
    assert not [token for token in TOKENS.values() if token in shown]


@pytest.mark.integration
@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
def test_without_keys_nothing_that_came_by_a_proxy_is_answered(tmp_path: Path, header: str) -> None:
    with server_of(settings_of(tmp_path)) as server:
        assert status(server, "GET", "/alerts") == 200
        for path in ("/", "/alerts", "/metrics", "/openapi.json"):
            assert status(server, "GET", path, **{header: "203.0.113.7"}) == 403
        assert status(server, "GET", "/health", **{header: "203.0.113.7"}) == 200


@pytest.mark.integration
@pytest.mark.usefixtures("keys")
def test_a_collector_for_everybody_opens_nothing_else(tmp_path: Path) -> None:
    with server_of(settings_of(tmp_path, "collector.public=true")) as server:
        assert status(server, "POST", "/events") == 400
        closed = [at for at, role in ROUTES.items() if role not in (Role.PUBLIC, Role.SENDER)]
        assert {status(server, method, path.replace("{name}", "x")) for method, path in closed} == {401}


# --- probes ---


@pytest.mark.integration
@pytest.mark.usefixtures("keys")
def test_probes_are_answered_without_a_key_and_by_any_name_and_tell_reasons_to_readers_only(tmp_path: Path) -> None:
    with server_of(settings_of(tmp_path, "serving.host=0.0.0.0")) as server:
        for path in PROBES:
            answer = ask(server, "GET", path, Host="10.1.2.3.nip.example:5000")
            assert answer.status == (200 if path in ("/health", "/healthz") else 503)
            assert not {"registry", "127.0.0.1", "python -m", "topic", "model"} & set(str(answer.content).split())
        told = ask(server, "GET", "/ready", Authorization=bearer(TOKENS["reader"]))
        assert "jobs.train_model" in str(told.content)
        assert ask(server, "GET", "/features", Host="evil.example").status == 421


def manifests() -> list[dict[str, Any]]:
    folder = PROJECT / "docs" / "deploy" / "kubernetes"
    return [
        one for path in folder.glob("*.yaml") for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one
    ]


@pytest.mark.integration
def test_the_probes_of_the_manifests_pass_before_there_is_a_champion_and_the_service_is_known_by_its_names(
    tmp_path: Path,
) -> None:
    """The server's process with the arguments and variables of its pod, asked as the kubelet and the cluster ask."""
    kinds = {(one["kind"], one.get("metadata", {}).get("name")): one for one in manifests()}
    (container,) = kinds["Deployment", "server"]["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one["value"] for one in container["env"] if one["name"].startswith("BEHAVIOR_")}
    for source in container["envFrom"]:
        if "configMapRef" in source:
            environment |= kinds["ConfigMap", source["configMapRef"]["name"]]["data"]
    environment["BEHAVIOR_SENDER_TOKEN"] = TOKENS["sender"]  # of the secret
    python, module, name, *arguments = container["args"]
    assert (python, module, name) == ("python", "-m", "serving")
    (port,) = container["ports"]
    assert port["containerPort"] == load_settings("cluster").serving.port
    probes = [container[name]["httpGet"] for name in ("readinessProbe", "livenessProbe")]
    with running(tmp_path, *arguments, **environment) as server:
        for probe in probes:
            assert probe["port"] in (port["name"], port["containerPort"])
            sent = {one["name"]: one["value"] for one in probe.get("httpHeaders", [])}
            kubelet = {"Host": f"10.1.2.3:{port['containerPort']}", "User-Agent": "kube-probe/1.37", **sent}
            assert 200 <= status(server, "GET", probe["path"], **kubelet) < 400
        assert status(server, "GET", "/ready") == 503, "there is no champion"
        service, space = kinds["Service", "server"]["metadata"]["name"], kinds["Namespace", "behavior"]
        for domain in ("", f".{space['metadata']['name']}", f".{space['metadata']['name']}.svc"):
            key = {"Host": f"{service}{domain}", "Authorization": bearer(TOKENS["sender"])}
            assert status(server, "POST", "/events", **key) == 400, "judged"


# --- rotation ---


@contextmanager
def running(folder: Path, *more: str, **environment: str) -> Iterator[Serving]:
    """``python -m serving`` as a process of its own; only host and port of what is given back are real."""
    place = ["--set", f"storage.root={folder}/lake", "--set", f"model.tracking_uri=sqlite:///{folder}/mlflow.db"]
    command = [sys.executable, "-m", "serving", *more, "--bootstrap-servers", "127.0.0.1:1", "--set", "serving.port=0"]
    with (folder / "serving.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *place],
            cwd=PROJECT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        assert process.stdout is not None
        said = process.stdout.readline().decode()
        address = said.partition("http://")[2].partition("/")[0]
        assert address, (folder / "serving.log").read_text(encoding="utf-8")
        host, _, port = address.rpartition(":")
        server = Serving.__new__(Serving)
        server.host, server.port = host, int(port)
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.mark.integration
def test_keys_of_a_file_change_while_the_server_runs(tmp_path: Path) -> None:
    """As Kubernetes changes a mounted secret: a link is moved to another folder."""
    old, new = "old-reader-token-of-many-letters", "new-reader-token-of-many-letters"
    for name, lines in (("1", f"# ours\n{old}\n"), ("2", f"{old}\nkim {new}\n"), ("3", f"kim {new}\nbad\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokens").write_text(lines, encoding="utf-8")
    link = tmp_path / "now"

    def move(name: str) -> None:
        (tmp_path / "next").symlink_to(tmp_path / name)
        (tmp_path / "next").replace(link)

    move("1")
    with running(tmp_path, BEHAVIOR_READER_TOKEN_FILE=f"{link}/tokens") as server:

        def opens(token: str) -> bool:
            return status(server, "GET", "/features", Authorization=bearer(token)) == 200

        assert (opens(old), opens(new)) == (True, False)
        move("2")
        wait_until(lambda: opens(new), 30)
        assert opens(old)
        move("3")
        wait_until(lambda: not opens(old), 30)
        assert opens(new)
        (link / "tokens").unlink()
        wait_until(lambda: not opens(new), 30)
        assert status(server, "GET", "/features") == 401, "a server whose keys are gone is closed, not open"
    log = (tmp_path / "serving.log").read_text(encoding="utf-8")
    assert "line 2 of" in log
    assert not [token for token in (old, new) if token in log]


# --- the audit ---


@pytest.mark.integration
@pytest.mark.usefixtures("keys")
def test_what_changes_something_is_in_the_audit_before_it_is_done_and_refused_attempts_are_counted(
    tmp_path: Path,
) -> None:
    append(tmp_path / "lake", ALERTS, [alert_row(ALERT, "somebody", 0)])
    path = f"/alerts/{ALERT}/feedback"
    with server_of(settings_of(tmp_path, "serving.host=0.0.0.0", "audit.flush_seconds=0.2")) as server:
        given = ask(server, "POST", path, {"verdict": True}, Authorization=bearer(TOKENS["analyst"]))
        assert given.status == 201
        row = {"who": "analyst", "role": "analyst", "action": "POST /alerts/{alert_id}/feedback", "object": ALERT}
        (found,) = audited(tmp_path)
        assert found.items() >= {**row, "outcome": "allowed", "times": 1, "client": "127.0.0.0/24"}.items()
        (word,) = arrow_tables.read(f"{tmp_path}/lake", FEEDBACK).to_pylist()
        assert found["at"] <= word["at"]
        for _ in range(30):
            ask(server, "POST", path, {"verdict": True}, Authorization=bearer(TOKENS["reader"]))
            ask(server, "GET", "/users/secret-person")
        ask(server, "POST", path, {}, Authorization=bearer(TOKENS["analyst"]))
    counted: dict[tuple[str, str, str], int] = {}
    for one in audited(tmp_path):
        kind = (one["who"], one["action"], one["outcome"])
        counted[kind] = counted.get(kind, 0) + one["times"]
    assert counted == {
        ("analyst", row["action"], "allowed"): 2,
        ("analyst", row["action"], "failed 422"): 1,
        ("reader", row["action"], "refused 403"): 30,
        ("nobody", "GET /users/{user_id:path}", "refused 401"): 30,
    }
    assert "secret-person" not in str(audited(tmp_path))
    assert len(audited(tmp_path)) < 30, "attempts that are alike share rows"


@pytest.mark.integration
@pytest.mark.usefixtures("keys")
def test_whoever_tries_in_many_ways_fills_no_table(tmp_path: Path) -> None:
    limits = ("audit.most_refusals=3", "audit.flush_seconds=1000", "serving.host=0.0.0.0")
    with server_of(settings_of(tmp_path, *limits)) as server:
        for path in ("/", "/alerts", "/metrics", "/docs", "/patterns", "/features", "/nothing", "/x", "/y"):
            ask(server, "GET", path)
    rows = audited(tmp_path)
    assert len(rows) == 3 + 2, "three kinds, and the others by the role that they needed"
    assert sum(row["times"] for row in rows) == 9


@pytest.mark.integration
@pytest.mark.usefixtures("keys")
def test_what_cannot_be_audited_is_not_done(tmp_path: Path) -> None:
    append(tmp_path / "lake", ALERTS, [alert_row(ALERT, "somebody", 0)])
    (tmp_path / "lake" / "audit").write_text("a file where the table would be", encoding="utf-8")
    with server_of(settings_of(tmp_path, "serving.host=0.0.0.0")) as server:
        path, key = f"/alerts/{ALERT}/feedback", bearer(TOKENS["analyst"])
        refused = ask(server, "POST", path, {"verdict": True}, Authorization=key)
        assert refused.status == 503
        assert "audit" in refused.content["detail"]
        assert arrow_tables.read(f"{tmp_path}/lake", FEEDBACK).num_rows == 0


@pytest.mark.parametrize(
    ("kind", "host", "kept"),
    [
        ("network", "203.0.113.77", "203.0.113.0/24"),
        ("network", "::ffff:203.0.113.77", "203.0.113.0/24"),
        ("network", "2001:db8:1:2::3", "2001:db8:1::/48"),
        ("network", "by a socket", None),
        ("full", "203.0.113.77", "203.0.113.77"),
        ("none", "203.0.113.77", None),
    ],
)
def test_a_clients_address_is_kept_as_the_setting_says(kind: str, host: str, kept: str | None) -> None:
    assert Audit("", load_settings("local", [f"audit.addresses={kind}"]).audit).client(host) == kept
