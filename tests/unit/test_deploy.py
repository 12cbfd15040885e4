"""What docs/deploy promises, as far as it can be judged without the engines: manifests, commands, settings."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import BaseModel

from jobs.runtime.settings import Settings, load_settings
from tools import jars, pack_environment

PROJECT = Path(__file__).resolve().parents[2]
DEPLOY = PROJECT / "docs" / "deploy"
MANIFESTS = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml")
JOBS = {path.stem for path in (PROJECT / "jobs").glob("[a-z]*.py")}
PAGES = ("standalone", "yarn", "kubernetes", "databricks")
TOPICS = ("Secrets", "Checkpoints", "Object storage", "Sizing", "Upgrade", "Schedule", "Watch")

SECRET = re.compile(r"(?i)(password|secret_access_key|token|secret_key|pseudonym_key): *(?!\"?\{\{secrets/)\S")


def manifests(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def texts(value: object) -> Iterator[str]:
    """Every text in a manifest, keys too."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield str(key)
            yield from texts(below)
    elif isinstance(value, list):
        for below in value:
            yield from texts(below)
    elif isinstance(value, str):
        yield value


def setting_exists(name: str) -> bool:
    section, _, key = name.partition(".")
    kind = Settings.model_fields[section].annotation if section in Settings.model_fields else None
    return isinstance(kind, type) and issubclass(kind, BaseModel) and key in kind.model_fields


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_kubernetes_takes_each_manifest(path: Path) -> None:
    for one in manifests(path):
        kubernetes_validate.validate(one, "1.37", strict=True)


def test_kustomize_names_every_manifest() -> None:
    named = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert sorted(named) == [path.name for path in MANIFESTS]


def test_what_manifests_and_bundle_start_and_set_is_there() -> None:
    files = [*MANIFESTS, *(DEPLOY / "databricks").glob("*.yml")]
    found = [text for path in files for one in manifests(path) for text in texts(one)]
    words = [text for text in found if not text.endswith((".yml", ".zip"))]
    started = {name for text in words for name in re.findall(r"\bjobs[/.](\w+?)(?:\.py)?$", text)}
    assert {"ingest_events", "build_features", "score_features", "raise_alerts", "maintain_tables"} <= started <= JOBS
    variables = {text for text in words if re.fullmatch(r"BEHAVIOR_\w+__\w+", text)}
    assert variables
    assert not [name for name in variables if not setting_exists(name[9:].lower().replace("__", "."))]
    settings = {text.split("=")[0] for text in words if re.fullmatch(r"[a-z0-9]+\.\w+=\S+", text)}
    assert not [name for name in settings if not name.startswith("spark.") and not setting_exists(name)]


def test_no_manifest_holds_a_secret() -> None:
    for path in [*MANIFESTS, *(DEPLOY / "databricks").glob("*.yml")]:
        for one in manifests(path):
            assert one.get("kind") != "Secret"
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"(?i)(password|secret_access_key|token|secret_key|pseudonym_key): *(?!\"?\{\{secrets/)\S", text
        ), path.name


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_an_operator_asks_and_its_commands_name_what_is_there(page: str) -> None:
    text = (DEPLOY / f"{page}.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert not [topic for topic in TOPICS if not any(head.startswith(topic) for head in heads)]
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            started = [re.sub(r"^(.*/)?jobs[/.](\w+?)(\.py)?$", r"\2", word) for word in words if "jobs/" in word]
            assert not [job for job in started if job.isidentifier() and job not in JOBS], line
            given = [words[place + 1].split("=")[0] for place, word in enumerate(words[:-1]) if word == "--set"]
            assert not [name for name in given if not setting_exists(name)], line
            targets = [words[1]] if words[:1] == ["make"] else []
            makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
            assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets), line


def test_the_packed_environment_is_of_the_lock_and_leaves_spark_and_tests_out() -> None:
    names = pack_environment.needed(PROJECT / "setup.cfg")
    assert {"pandas", "mlflow", "scikit-learn", "deltalake", "numba", "confluent-kafka", "sqlalchemy"} <= names
    assert not names & {"pyspark", "py4j", "pytest", "mypy", "moto", "jupyterlab", "playwright"}
    lines = pack_environment.lines_of(PROJECT / "requirements.lock", names)
    assert lines.count("\n    --hash=") > len(names)
    assert not [name for name in names if f"{name}==" not in lines]


def test_a_set_up_goes_without_the_jars_for_s3() -> None:
    lock = PROJECT / "conf" / "jars.lock"
    assert {jar.folder for jar in jars.read_lock(lock)} == {"broker", "spark"}
    wanted = jars.read_lock(lock, "s3")
    assert {jar.folder for jar in wanted} == {"s3"}
    assert not [jar for jar in wanted if ":bundle:" in jar.coordinates]


def test_conf_of_a_store_reaches_all_its_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ALLOW_HTTP"):
        monkeypatch.setenv(name, "")
    load_settings("cluster", ["s3.endpoint=http://minio:9000", "s3.region=eu-west-1"])
    assert os.environ["AWS_ENDPOINT_URL"] == "http://minio:9000"
    assert (os.environ["AWS_REGION"], os.environ["AWS_ALLOW_HTTP"]) == ("eu-west-1", "true")
