"""Signing in with a real OpenID Connect provider, and no page without a key through a real reverse proxy."""

from __future__ import annotations

import shutil
import socket
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from features.errors import ConfigurationError
from features.tables import ALERTS, AUDIT, FEEDBACK
from lake import arrow_tables
from serving.access.openid_connect import role_of
from serving.access.roles import PROBES, Role
from serving.access.sessions import person_of
from serving.app import create_app
from serving.server import Serving
from settings import OidcSettings
from tests.paths import PROJECT
from tests.unit.serving.samples import alert_row, append, server_of, settings_of, wait_until

pytestmark = pytest.mark.integration

SECRET = "a-secret-of-many-letters"
READER = "reader-token-of-many-letters"
ALERT = "0123456789abcdef0123456789abcdef"
HERE = Path(__file__).parent / "provider"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def program(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """The program while the block runs, which begins when its port is open."""
    log = folder / "program.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: listens(port) or process.poll() is not None, 60)
        assert process.poll() is None, log.read_text(encoding="utf-8", errors="replace")
        yield
    finally:
        process.terminate()
        process.wait(30)


def audited(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = arrow_tables.read(f"{folder}/lake", AUDIT).to_pylist()
    return rows


# --- through nginx ---

NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{behind};
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_buffering off;
    }}
  }}
}}
"""


@contextmanager
def nginx(folder: Path, behind: int) -> Iterator[str]:
    """A reverse proxy as guides set one up; its address."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        pytest.skip("nginx is not installed: apt-get install nginx")
    folder.mkdir()
    port = free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, behind=behind), encoding="utf-8")
    with program([binary, "-p", str(folder), "-c", str(folder / "nginx.conf")], folder, port):
        yield f"http://127.0.0.1:{port}"


def test_through_a_proxy_nothing_but_probes_is_answered_without_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEHAVIOR_READER_TOKEN", READER)
    named = ("serving.trusted_proxies=[127.0.0.1]", "serving.allowed_hosts=[behavior.example]")
    with (
        server_of(settings_of(tmp_path, *named, "audit.addresses=full")) as server,
        nginx(tmp_path / "nginx", server.port) as address,
        httpx.Client(base_url=address, transport=httpx.HTTPTransport(local_address="127.0.0.5"), timeout=60) as client,
    ):
        name = {"Host": "behavior.example"}
        for path in ("/", "/timeline?user=a", "/page/live", "/alerts", "/metrics", "/users/a", "/docs", "/nothing"):
            assert client.get(path, headers=name).status_code == 401
        assert client.post("/events", headers=name).status_code == 401
        key = {**name, "Authorization": f"Bearer {READER}"}
        assert client.get("/alerts", headers=key).status_code == 200
        assert client.get("/", headers={**key, "Host": "other.example"}).status_code == 421
        assert all(client.get(path, headers=name).status_code in (200, 503) for path in PROBES)
    assert {row["client"] for row in audited(tmp_path)} == {"127.0.0.5"}, "the address that the proxy names"


def test_a_server_without_keys_behind_a_proxy_that_it_knows_nothing_of_answers_probes_only(tmp_path: Path) -> None:
    with (
        server_of(settings_of(tmp_path)) as server,
        nginx(tmp_path / "nginx", server.port) as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        for path in ("/", "/alerts", "/metrics"):
            answer = client.get(path)
            assert answer.status_code == 403
            assert "serving.trusted_proxies" in answer.json()["detail"]
        assert client.get("/health").status_code == 200


# --- signing in ---


@pytest.fixture(scope="module")
def package() -> Path:
    """The provider's folder, installed from its lock file, once for all runs."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed: apt-get install nodejs npm")
    folder = PROJECT / ".pytest_cache" / "provider"
    folder.mkdir(parents=True, exist_ok=True)
    for path in HERE.iterdir():
        shutil.copy(path, folder)
    if not (folder / "node_modules" / "oidc-provider").is_dir():
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            pytest.skip(f"the provider cannot be installed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return folder


class Place:
    """A server and its provider."""

    def __init__(self, server: Serving, url: str, folder: Path) -> None:
        self.server, self.url, self.folder = server, url, folder


@pytest.fixture(scope="module")
def place(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("sign-in")
    append(folder / "lake", ALERTS, [alert_row(ALERT, "somebody", 0)])
    port, provider = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    oidc = (
        f"oidc.issuer=http://127.0.0.1:{provider}",
        "oidc.client_id=behavior",
        f"oidc.url={url}",
        "oidc.readers=[support]",
        "oidc.analysts=[fraud]",
    )
    command = ["node", "provider.mjs", str(provider), "behavior", SECRET, url]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEHAVIOR_OIDC__CLIENT_SECRET", SECRET)
        settings = settings_of(folder, *oidc, f"serving.port={port}", "audit.flush_seconds=0.2")
        with program(command, package, provider), server_of(settings) as server:
            yield Place(server, url, folder)


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """A browser without scripts."""
    with httpx.Client(headers={"Accept": "text/html"}, follow_redirects=True, timeout=60) as client:
        yield client


def sign_in(client: httpx.Client, wanted: str, name: str) -> httpx.Response:
    """Ask for a page, fill in the provider's forms, and come back."""
    answer = client.get(wanted)
    for form in ({"prompt": "login", "login": name, "password": "any"}, {"prompt": "consent"}):
        assert "/interaction/" in str(answer.url), answer.text
        answer = client.post(str(answer.url), data=form)
    return answer


@pytest.mark.parametrize(("name", "may_review"), [("support", False), ("fraud", True)])
def test_who_signs_in_comes_to_the_page_that_was_wanted_with_the_role_of_the_claim(
    place: Place, client: httpx.Client, name: str, may_review: bool
) -> None:
    wanted = f"{place.url}/timeline?user=a%2Fb&hours=24"
    page = sign_in(client, wanted, name)
    assert (page.status_code, str(page.url)) == (200, wanted)
    assert f"<bdi>{name} smith</bdi>" in page.text
    assert ("data-reads-only" in page.text) is not may_review
    (cookie,) = [answer.headers["set-cookie"] for answer in page.history if "sign-in/back" in str(answer.url)]
    assert {"httponly", "samesite=lax"} <= {part.strip() for part in cookie.split(";")}
    assert client.get(f"{place.url}/alerts").status_code == 200
    given = client.post(f"{place.url}/alerts/{ALERT}/feedback", json={"verdict": True})
    assert given.status_code == (201 if may_review else 403)
    wait_until(lambda: {"signed in"} <= {row["outcome"] for row in audited(place.folder) if row["who"] == name}, 30)
    if may_review:
        (word,) = arrow_tables.read(f"{place.folder}/lake", FEEDBACK).to_pylist()
        assert word["analyst"] == f"{name} smith"
        assert [row["who"] for row in audited(place.folder) if row["outcome"] == "allowed"] == [name]


def test_who_signs_out_is_asked_again(place: Place, client: httpx.Client) -> None:
    sign_in(client, f"{place.url}/", "support")
    out = client.post(f"{place.url}/sign-out", headers={"Origin": place.url})
    assert str(out.url) == f"{place.url}/signed-out"
    assert "/session/end" in out.text
    assert client.get(f"{place.url}/alerts", headers={"Accept": "*/*"}).status_code == 401


def test_who_has_no_role_here_is_not_let_in(place: Place, client: httpx.Client) -> None:
    answer = sign_in(client, f"{place.url}/", "stranger")
    assert answer.status_code == 403
    assert "stranger smith has no role here" in answer.text
    assert client.get(f"{place.url}/alerts", headers={"Accept": "*/*"}).status_code == 401


def test_a_script_is_told_401_without_a_browsers_dialog_and_keys_go_on_working(place: Place) -> None:
    answer = httpx.get(f"{place.url}/alerts")
    assert (answer.status_code, answer.headers["www-authenticate"].partition(" ")[0]) == (401, "Bearer")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("query", ["code=x&state=y", "error=access_denied&state=y", ""])
def test_an_answer_that_nobody_asked_for_lets_nobody_in(place: Place, client: httpx.Client, query: str) -> None:
    answer = client.get(f"{place.url}/sign-in/back?{query}")
    assert answer.status_code == 400
    assert client.get(f"{place.url}/alerts", headers={"Accept": "*/*"}).status_code == 401


def test_the_way_asks_for_a_code_with_a_proof_key_and_back_to_our_own_address_only(place: Place) -> None:
    answer = httpx.get(f"{place.url}/sign-in?to=//evil.example/")
    asked = httpx.URL(answer.headers["location"]).params
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert {"code_challenge", "state", "nonce"} <= asked.keys()
    assert asked["redirect_uri"] == f"{place.url}/sign-in/back"


def test_the_way_back_never_leaves_our_own_address(place: Place, client: httpx.Client) -> None:
    answer = sign_in(client, f"{place.url}/sign-in?to=//evil.example/", "support")
    assert str(answer.url).startswith(f"{place.url}/")


def test_a_session_that_was_changed_or_is_over_is_none(place: Place, client: httpx.Client) -> None:
    sign_in(client, f"{place.url}/", "support")
    cookie = client.cookies["behavior"]
    said, _, signature = cookie.partition(".")
    more = b64encode(b64decode(said).replace(b'"reader"', b'"analyst"')).decode()
    assert more != said
    for bad in (f"{more}.{signature}", said, f"{said}.{signature[:-2]}"):
        assert httpx.get(f"{place.url}/alerts", cookies={"behavior": bad}).status_code == 401
    assert httpx.get(f"{place.url}/alerts", cookies={"behavior": cookie}).status_code == 200
    person = {"subject": "a", "name": "a", "role": "reader", "until": 1.0}
    assert person_of({"person": person}) is None
    assert person_of({"person": {**person, "until": 1e12}}) is not None


def test_behind_https_the_cookie_is_for_https_only_and_a_provider_that_is_away_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEHAVIOR_OIDC__CLIENT_SECRET", SECRET)
    oidc = ("oidc.issuer=http://127.0.0.1:9", "oidc.client_id=b", "oidc.url=https://b.example", "oidc.readers=[a]")
    with server_of(settings_of(tmp_path, *oidc)) as server:
        answer = httpx.get(f"{server.url}/sign-in")
        assert (answer.status_code, "does not answer" in answer.json()["detail"]) == (503, True)
        assert answer.headers["set-cookie"].startswith("__Host-behavior=")
        assert answer.headers["set-cookie"].endswith("; secure")


@pytest.mark.parametrize("secret", ["", "short"])
def test_without_the_clients_secret_it_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.delenv("BEHAVIOR_OIDC__CLIENT_SECRET", raising=False)
    if secret:
        monkeypatch.setenv("BEHAVIOR_OIDC__CLIENT_SECRET", secret)
    oidc = ("oidc.issuer=http://127.0.0.1:9", "oidc.client_id=b", "oidc.url=https://b.example", "oidc.readers=[a]")
    with pytest.raises(ConfigurationError, match="BEHAVIOR_OIDC__CLIENT_SECRET"):
        create_app(settings_of(tmp_path, *oidc))


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"groups": ["fraud", "support"]}, Role.ANALYST),
        ({"groups": "support"}, Role.READER),
        ({"groups": ["Fraud"]}, None),
        ({"groups": {"fraud": 1}}, None),
        ({}, None),
    ],
)
def test_the_role_is_what_the_claim_says_and_none_by_default(claims: dict[str, Any], role: Role | None) -> None:
    roles = {"readers": ("support",), "analysts": ("fraud",)}
    assert role_of(claims, OidcSettings.model_validate(roles)) is role
    nested = OidcSettings.model_validate({**roles, "role_claim": "realm_access.groups"})
    assert role_of({"realm_access": claims}, nested) is role
