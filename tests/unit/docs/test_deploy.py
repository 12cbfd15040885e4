"""What docs/deploy promises, as far as it can be judged without the engines: manifests, commands, settings."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import kubernetes_validate
import pytest
import yaml
from pydantic import BaseModel

from lake import object_store
from settings import Settings, load_settings
from tests.paths import PROJECT
from tools import jars, pack_environment

DEPLOY = PROJECT / "docs" / "deploy"
MANIFESTS = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml")
JOBS = {path.stem for path in (PROJECT / "jobs").glob("[a-z]*.py")}
PAGES = ("standalone", "yarn", "kubernetes", "databricks")
TOPICS = ("Secrets", "Checkpoints", "Object storage", "Sizing", "Upgrade", "Schedule", "Watch")

SECRET = re.compile(
    r"(?i)(password|secret_access_key|token(?!: (true|false)\b)|secret_key|pseudonym_key): *"
    r"(?!\"?\{\{secrets/)\S"
)


def manifests(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one is not None]


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
    assert {"run_pipeline", "ingest_events", "build_features", "score_features", "maintain_tables"} <= started <= JOBS
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
        assert not SECRET.search(text), path.name


# --- what a pod may do ---

EXECUTOR = DEPLOY / "kubernetes" / "executor" / "pod.yaml"
TMP = {"name": "tmp", "emptyDir": {}}
NEEDED = {
    "behavior-kafka": {"run-pipeline", "check-ledger", "server"},
    "behavior-mlflow": {"run-pipeline", "train-model", "check-drift", "server"},
    "behavior-pseudonym": {"run-pipeline", "mine-patterns", "server"},
    "behavior-server": {"server"},
    "behavior-alerts": {"run-pipeline"},
    "behavior-model": {"train-model"},
}
"""Who may have which secret, besides the storage's."""
SECRETIVE = re.compile(r"PASSWORD|TOKEN|SECRET|ACCESS_KEY|PSEUDONYM|WEBHOOK|MODEL_KEY")


class Part(NamedTuple):
    """A pod of the manifests: the workload's name, and the template or pod itself."""

    name: str
    pod: dict[str, Any]

    @property
    def spec(self) -> dict[str, Any]:
        return dict(self.pod["spec"])

    @property
    def containers(self) -> list[dict[str, Any]]:
        return [*self.spec["containers"], *self.spec.get("initContainers", [])]

    @property
    def is_driver(self) -> bool:
        return any("spark-submit" in word for one in self.containers for word in one.get("args", []))


def pods(value: object) -> Iterator[dict[str, Any]]:
    """Every pod and template of one in a manifest, however deep."""
    if isinstance(value, dict):
        spec = value.get("spec")
        if isinstance(spec, dict) and "containers" in spec:
            yield value
        for below in value.values():
            yield from pods(below)


PARTS = [
    Part(one["metadata"]["name"] if path != EXECUTOR else "executor", pod)
    for path in [*MANIFESTS, EXECUTOR]
    for one in manifests(path)
    for pod in pods(one)
]


def named(kind: str) -> list[dict[str, Any]]:
    return [one for path in MANIFESTS for one in manifests(path) if one["kind"] == kind]


def test_the_manifests_have_pods_to_look_at() -> None:
    assert len(PARTS) == len(named("Deployment")) + len(named("CronJob")) + 1 >= 9
    assert sum(part.is_driver for part in PARTS) == len(PARTS) - 2


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_pod_runs_as_nobody_without_capabilities_on_a_file_system_that_it_cannot_change(part: Part) -> None:
    everybody = part.spec["securityContext"]
    assert everybody["runAsNonRoot"] is True
    assert everybody["runAsUser"] >= 10_000
    assert everybody["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & part.spec.keys()
    volumes = {one["name"]: one for one in part.spec.get("volumes", [])}
    assert not [name for name, one in volumes.items() if "hostPath" in one]
    assert part.containers
    for container in part.containers:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert not {"privileged", "runAsUser", "seccompProfile"} & own.keys()
        mounted = {one["mountPath"]: volumes[one["name"]] for one in container["volumeMounts"]}
        assert mounted["/tmp"] == TMP
        assert {one["name"]: one.get("value") for one in container["env"]}["HOME"] == "/tmp"
        assert container["workingDir"] == "/tmp"


def test_each_part_has_a_service_account_of_its_own_and_only_drivers_have_a_token() -> None:
    accounts = [part.spec["serviceAccountName"] for part in PARTS]
    assert accounts == [part.name for part in PARTS]
    declared = {one["metadata"]["name"]: one["automountServiceAccountToken"] for one in named("ServiceAccount")}
    assert declared == dict.fromkeys(accounts, False)
    assert {part.name: part.spec["automountServiceAccountToken"] for part in PARTS} == {
        part.name: part.is_driver for part in PARTS
    }
    (binding,) = named("RoleBinding")
    assert {one["name"] for one in binding["subjects"]} == {part.name for part in PARTS if part.is_driver}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_pod_has_the_secrets_that_it_needs_and_none_is_written_into_its_description(part: Part) -> None:
    given = {
        source["secretRef"]["name"]
        for container in part.containers
        for source in container.get("envFrom", [])
        if "secretRef" in source
    }
    expected = {secret for secret, names in NEEDED.items() if part.name in names}
    assert given == (expected | {"behavior-storage"} if part.name != "executor" else set())
    for container in part.containers:
        written = [one["name"] for one in container.get("env", []) if "value" in one]
        assert not [name for name in written if SECRETIVE.search(name)]
        words = container.get("args", [])
        assert not [
            word for word in words if re.search(r"executorEnv|s3a\.(access|secret)|password|token=|webhook", word)
        ]
        if part.is_driver:
            references = [word for word in words if word.startswith("spark.kubernetes.executor.secretKeyRef.")]
            assert len(references) == 2
            assert "spark.kubernetes.executor.podTemplateFile=/opt/behavior/executor-pod.yaml" in words
            assert "spark.kubernetes.authenticate.executor.serviceAccountName=executor" in words
    maps = {name for one in named("ConfigMap") for name in one["data"]}
    assert not [name for name in maps if SECRETIVE.search(name)]


def test_in_a_pod_the_storages_keys_are_not_handed_to_executors_in_their_description(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "a-secret")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    elsewhere = object_store.spark_conf(load_settings("cluster"))
    assert elsewhere["spark.executorEnv.AWS_SECRET_ACCESS_KEY"] == "a-secret"
    os.environ["KUBERNETES_SERVICE_HOST"] = "10.0.0.1"
    assert "a-secret" not in object_store.spark_conf(load_settings("cluster")).values()


def test_the_network_is_closed_and_every_pod_that_listens_is_opened_for_those_who_ask_it() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in named("NetworkPolicy")}
    assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    open_ports = {port["port"] for rule in policies["services"]["egress"] for port in rule["ports"]}
    assert open_ports == {53, 443, 6443, 9093, 5000}
    for part in PARTS:
        labels = part.pod["metadata"]["labels"]
        listens = {port["containerPort"] for one in part.containers for port in one.get("ports", [])}
        opened = {
            port["port"]
            for policy in policies.values()
            if policy["podSelector"].get("matchLabels", {}).items() <= labels.items() and policy["podSelector"]
            for rule in policy.get("ingress", [])
            for port in rule.get("ports", [])
        }
        assert listens <= opened, part.name
        is_spark = labels.get("part") in policies["spark"]["podSelector"]["matchExpressions"][0]["values"]
        assert is_spark == (part.is_driver or part.name == "executor")
    for name, policy in policies.items():
        for rule in policy.get("ingress", []):
            assert rule["from"], f"{name} opens a port for everybody"


def test_the_image_is_built_on_an_exact_version_and_runs_as_the_pods_say() -> None:
    text = (DEPLOY / "kubernetes" / "Dockerfile").read_text(encoding="utf-8")
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert bases
    assert all(re.search(r":\d+\.\d+\.\d+-[\w-]+(@sha256:[0-9a-f]{64})?$", base) for base in bases)
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1] == "10001"
    assert {part.spec["securityContext"]["runAsUser"] for part in PARTS} == {10001}
    assert "--require-hashes" in text


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
