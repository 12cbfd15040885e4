"""What is installed is listed whole, and asked for: `make sbom` and `make audit`, the latter at a database of ours."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.paths import PROJECT
from tools import audit, jars, sbom
from tools.machine import Problem


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return sbom.document(PROJECT)


def test_every_package_of_the_lock_is_listed_with_its_hashes(document: dict[str, Any]) -> None:
    lock = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
    wanted = {name.lower() for name in re.findall(r"^([\w.-]+==[\w.+!]+)", lock, re.MULTILINE)}
    packages = [one for one in document["components"] if one["purl"].startswith("pkg:pypi/")]
    assert {f"{one['name']}=={one['version']}".lower() for one in packages} == wanted
    hashes = {one["content"] for each in packages for source in each["externalReferences"] for one in source["hashes"]}
    assert hashes == set(re.findall(r"--hash=sha256:(\w+)", lock))
    scopes = {one["name"]: one["scope"] for one in packages}
    assert {scopes[name] for name in ("pyspark", "mlflow", "fastapi", "sqlalchemy")} == {"required"}
    assert {scopes[name] for name in ("pytest", "mypy", "pip-audit")} == {"excluded"}


def test_every_jar_of_the_lock_is_listed_with_its_hash_and_where_it_is_used(document: dict[str, Any]) -> None:
    lock = (PROJECT / "conf" / "jars.lock").read_text(encoding="utf-8")
    wanted = {tuple(line.split()) for line in lock.splitlines() if line and not line.startswith("#")}
    found = {
        (folder["value"], f"{one['group']}:{one['name']}:{one['version']}", f"sha256:{one['hashes'][0]['content']}")
        for one in document["components"]
        if one["purl"].startswith("pkg:maven/")
        for folder in one["properties"]
    }
    assert found == wanted


# --- asking for known vulnerabilities ---

JARS = ("org.slf4j:slf4j-api:2.0.17", "org.yaml:snakeyaml:2.5")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project of two packages and two jars."""
    packages = [f"{name} --hash=sha256:{'0' * 64}" for name in ("idna==3.10", "six==1.17.0")]
    (tmp_path / "requirements.lock").write_text("\n".join(packages) + "\n")
    shutil.copy(PROJECT / "setup.cfg", tmp_path)
    (tmp_path / "conf").mkdir()
    lines = [f"broker {jar} sha256:{'0' * 64}\n" for jar in JARS]
    (tmp_path / "conf" / "jars.lock").write_text("".join(lines))
    assert len(jars.read_lock(tmp_path / "conf" / "jars.lock")) == len(JARS)
    return tmp_path


def test_the_same_locks_give_the_same_document_and_one_that_does_not_fit_the_schema_is_not_written(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert json.dumps(sbom.document(root)) == json.dumps(sbom.document(root))
    monkeypatch.setattr(sbom, "jar_components", lambda _: [{"type": "jar", "bom-ref": "x", "purl": "pkg:maven/x"}])
    with pytest.raises(Problem, match="does not fit CycloneDX"):
        sbom.document(root)


class Database:
    """An advisory database that knows what it is told, by the word that a question has in it."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.is_short = False
        self.address = ""

    def about(self, question: object) -> dict[str, Any]:
        faults = [name for word, name in self.known.items() if word in json.dumps(question)]
        return {"vulns": [{"id": name, "affected": []} for name in faults]} if faults else {}


@pytest.fixture
def database() -> Iterator[Database]:
    found = Database()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer: dict[str, Any] = (
                {"results": [found.about(one) for one in asked["queries"]][found.is_short :]}
                if self.path == "/v1/querybatch"
                else found.about(asked)
            )
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.address = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    server.server_close()


def test_an_audit_tells_what_is_known_of_packages_and_of_jars(
    root: Path, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.audit(root, database.address) == 0
    assert capsys.readouterr().out.count("no known vulnerability") == 2
    database.known = {"six": "PYSEC-1", "snakeyaml": "GHSA-1"}
    assert audit.audit(root, database.address) == audit.SOME
    told = capsys.readouterr().out
    assert "2 packages of requirements.lock: 1 known" in told
    assert "six 1.17.0: PYSEC-1" in told
    assert "2 jars of conf/jars.lock: 1 known" in told
    assert "pkg:maven/org.yaml/snakeyaml@2.5: GHSA-1" in told
    assert "no known" not in told


def test_an_audit_that_could_not_look_never_says_that_nothing_is_known(
    root: Path, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.audit(root, "http://127.0.0.1:1") == audit.UNKNOWN
    told = capsys.readouterr()
    assert "no known" not in told.out
    assert told.err.count("NOT looked at: http://127.0.0.1:1 could not be asked") == 2
    database.is_short = True
    assert audit.audit(root, database.address) == audit.UNKNOWN
    told = capsys.readouterr()
    assert "jars of conf/jars.lock: no known" not in told.out
    assert "1 answers to 2 questions" in told.err
    database.known = {"six": "PYSEC-1"}
    assert audit.audit(root, database.address) == audit.SOME, "what is known is told, whatever could not be looked at"
