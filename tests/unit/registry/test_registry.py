"""On a real MLflow with sqlite: two versions are registered once, each test leaves them as they were."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import mlflow
import numpy as np
import pytest
import skops.io
from mlflow import MlflowClient
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import FunctionTransformer

from features.errors import ConfigurationError, ModelError
from registry.artifact import unpack
from registry.configured import registry_of
from registry.mlflow_registry import Registry, TrainingRecord
from registry.trust import FILES, SIGNATURE, Trust, new_pair, sha256
from scoring.champion import ChampionFollower
from scoring.model import Parameters
from serving.app import create_app
from settings import load_settings
from tests.unit.training.samples import SMALL, feature_rows, small_model, small_reference
from training.model import fit
from training.summary import describe

NAME = "behavior_test"
RECORD = TrainingRecord("lake/features", 7, {"note": "a test"}, {"rows_seen": 600.0}, {"who": "tests"})


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry with versions 1 (small) and 2 (another seed); no alias is given."""
    registry = Registry(NAME, f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db", experiment="tests")
    assert registry.resolve() is None
    assert registry.latest() is None
    other = fit(feature_rows(), "default", Parameters(SMALL.trees, SMALL.subsample, seed=4))
    assert registry.log_and_register(small_model(), small_reference(), feature_rows(9), RECORD) == "1"
    assert registry.log_and_register(other, describe(other, feature_rows(), 2.0), feature_rows(9)) == "2"
    return registry


@pytest.fixture
def registry(both: Registry) -> Iterator[Registry]:
    """A fresh look at it: nothing is cached; aliases are taken away afterwards."""
    mlflow.set_registry_uri(both.tracking_uri)  # which clients that are told only where runs are go by
    yield Registry(NAME, both.tracking_uri, both.experiment)
    client = MlflowClient(both.tracking_uri)
    for alias in client.get_registered_model(NAME).aliases:
        client.delete_registered_model_alias(NAME, alias)


def artifact(registry: Registry, version: str, name: str) -> Path:
    """Where a file of a version lies in the artifact store."""
    folder = Path(registry.tracking_uri.removeprefix("sqlite:///")).parent / "mlartifacts"
    source = MlflowClient(registry.tracking_uri).get_model_version(NAME, version).source
    model_id = str(source).removeprefix("models:/")
    return next((folder / "models" / model_id).rglob(name))


@pytest.fixture
def model_file(registry: Registry, tmp_path: Path) -> Iterator[Path]:
    """Version 2's model file, put back afterwards."""
    file = artifact(registry, "2", "model.skops")
    shutil.copy(file, tmp_path / "kept")
    yield file
    shutil.copy(tmp_path / "kept", file)


def test_no_file_of_a_version_holds_a_training_row_and_those_that_old_versions_kept_are_removed(
    registry: Registry,
) -> None:
    file = artifact(registry, "2", "input_example.json")
    assert json.loads(file.read_text())["data"] == [pytest.approx(list(registry.load("2").reference.typical()))]
    client = MlflowClient(registry.tracking_uri)
    kept = {each: each.read_bytes() for each in file.parent.glob("*example*")}
    listed = client.get_model_version(NAME, "2").tags["files"]
    client.delete_model_version_tag(NAME, "2", "files")  # versions of before have no such list
    try:
        assert registry.remove_examples() == ["2"]
        assert registry.remove_examples() == []
        assert not list(file.parent.glob("*example*"))
    finally:
        client.set_model_version_tag(NAME, "2", "files", listed)
        for each, content in kept.items():
            each.write_bytes(content)
    assert Registry(NAME, registry.tracking_uri, registry.experiment).load("2").version == "2"


def test_a_process_that_has_not_trained_loads_from_the_registry_it_was_told(registry: Registry, tmp_path: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/other.db")
    mlflow.set_registry_uri(f"sqlite:///{tmp_path}/other.db")
    assert registry.load("1").version == "1"


def test_a_model_comes_back_as_it_was_registered(registry: Registry) -> None:
    loaded = registry.load("1")
    assert (loaded.name, loaded.version, loaded.threshold) == (NAME, "1", small_reference().threshold)
    assert loaded.reference == small_reference()
    assert loaded.forest is not None
    values = small_model().columns(feature_rows()).to_numpy(np.float64)
    np.testing.assert_allclose(loaded.score(values), small_model().score(feature_rows()), atol=1e-9)


def test_plain_pyfunc_gives_the_same_scores(registry: Registry) -> None:
    registry.promote("1")
    mlflow.set_tracking_uri(registry.tracking_uri)
    anyone = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    rows = small_model().columns(feature_rows())
    np.testing.assert_allclose(anyone.predict(rows), small_model().score(rows), atol=1e-12)


def test_a_version_says_where_it_comes_from(registry: Registry) -> None:
    client = MlflowClient(registry.tracking_uri)
    found = client.get_model_version(NAME, "1")
    assert {"feature_version", "preset", "source", "delta_version", "threshold", "libraries"} <= set(found.tags)
    assert (found.tags["source"], found.tags["delta_version"], found.tags["preset"]) == (
        "lake/features",
        "7",
        "default",
    )
    run = client.get_run(found.tags["run_id"])
    assert run.data.params["note"] == "a test"
    assert run.data.params["detector.n_estimators"] == "25"
    assert run.data.metrics["rows_seen"] == 600.0
    assert run.data.tags["who"] == "tests"
    assert run.inputs is not None
    assert [each.dataset.name for each in run.inputs.dataset_inputs] == ["features"]
    assert {Path(file.path).name for file in client.list_artifacts(run.info.run_id, "pictures")} == {
        "scores.png",
        "feature_influence.png",
    }


def test_no_champion_is_nothing_and_no_error(registry: Registry) -> None:
    assert registry.resolve_champion() is None
    assert Registry("never_heard_of", registry.tracking_uri).resolve_champion() is None
    assert registry.latest() == "2"


def test_promoting_keeps_the_champion_before(registry: Registry) -> None:
    registry.promote("1")
    registry.promote("2", why="better recall")
    assert (registry.resolve_champion(), registry.resolve("previous_champion")) == (
        "2",
        registry.resolve("previous_champion"),
    )
    previous = registry.resolve("previous_champion")
    assert previous is not None
    assert previous.version == "1"
    assert MlflowClient(registry.tracking_uri).get_model_version(NAME, "2").tags["promoted_why"] == "better recall"


def test_promoting_the_champion_again_does_not_forget_the_one_before(registry: Registry) -> None:
    for version in ("1", "2", "2"):
        registry.promote(version)
    assert registry.rollback() == "1"


def test_rolling_back_twice_is_where_we_were(registry: Registry) -> None:
    registry.promote("1")
    registry.promote("2")
    assert [registry.rollback(), registry.rollback()] == ["1", "2"]
    assert registry.resolve_champion() == "2"


def test_there_is_no_way_back_from_the_first_champion(registry: Registry) -> None:
    registry.promote("1")
    with pytest.raises(ModelError, match=r"no 'previous_champion' to go back to.*python -m jobs\.promote_model"):
        registry.rollback()


def test_a_version_that_is_not_there_is_not_promoted(registry: Registry) -> None:
    with pytest.raises(ModelError, match="does not have it"):
        registry.promote("99")
    assert registry.resolve_champion() is None


def test_a_file_that_was_changed_is_not_loaded(registry: Registry, model_file: Path) -> None:
    content = bytearray(model_file.read_bytes())
    content[len(content) // 2] ^= 1
    model_file.write_bytes(bytes(content))
    with pytest.raises(ModelError, match=r"model\.skops of version 2.*is not the file that was registered.*SHA-256"):
        registry.load("2")


def test_a_changed_reference_is_not_loaded(registry: Registry, model_file: Path) -> None:
    file = artifact(registry, "2", "behavior.json")
    content = file.read_text()
    file.write_text(content.replace('"threshold": 0', '"threshold": 1', 1))
    try:
        with pytest.raises(ModelError, match=r"behavior\.json of version 2.*is not the file that was registered"):
            registry.load("2")
    finally:
        file.write_text(content)


def test_a_file_that_is_gone_is_missed(registry: Registry, model_file: Path) -> None:
    model_file.unlink()
    with pytest.raises(ModelError, match=r"model\.skops of version 2.*is not in the artifact store"):
        registry.load("2")


def tagged(registry: Registry, key: str, value: str) -> str:
    """Change a tag of version 2; gives what it was."""
    client = MlflowClient(registry.tracking_uri)
    before = client.get_model_version(NAME, "2").tags[key]
    client.set_model_version_tag(NAME, "2", key, value)
    return before


@contextmanager
def relisted(registry: Registry, file: Path) -> Iterator[None]:
    """While the block runs, version 2's list of files has the hash of this file as it is now."""
    listed = json.loads(MlflowClient(registry.tracking_uri).get_model_version(NAME, "2").tags[FILES])
    (name,) = [one for one in listed if Path(one).name == file.name]
    before = tagged(registry, FILES, json.dumps({**listed, name: sha256(file)}))
    try:
        yield
    finally:
        tagged(registry, FILES, before)


@pytest.fixture
def folder(registry: Registry) -> Path:
    """Version 2's folder in the artifact store."""
    return artifact(registry, "2", "MLmodel").parent


def test_code_put_beside_a_model_is_refused_and_does_not_run(registry: Registry, folder: Path, tmp_path: Path) -> None:
    """MLflow's own loading runs it: the model itself is intact, and its MLmodel names a folder of code."""
    ran, described = tmp_path / "ran", folder / "MLmodel"
    (folder / "code").mkdir()
    (folder / "code" / "sitecustom.py").write_text("")
    evil = folder / "code" / "evil.py"
    evil.write_text(
        f"from pathlib import Path\nfrom mlflow.sklearn import _load_pyfunc\nPath({str(ran)!r}).write_text('ran')\n"
    )
    before = described.read_text()
    flavor = re.sub(r"loader_module: mlflow\.sklearn", "loader_module: evil\n    code: code", before)
    try:
        for text, said in (
            (before, r"'code/evil\.py' lies beside version 2"),
            (flavor, r"MLmodel of version 2.*is not the"),
        ):
            described.write_text(text)
            with pytest.raises(ModelError, match=said):
                registry.load("2")
            with pytest.raises(ModelError, match=said):
                registry.promote("2")
        assert not ran.exists()
        mlflow.set_tracking_uri(registry.tracking_uri)
        mlflow.pyfunc.load_model(f"models:/{NAME}/2")
        assert ran.exists(), "this test is of worth only while MLflow's own call runs it"
    finally:
        described.write_text(before)
        shutil.rmtree(folder / "code")
    assert registry.load("2").version == "2"


@pytest.mark.parametrize("name", ["requirements.txt", "conda.yaml", "MLmodel"])
def test_any_file_of_a_model_that_was_changed_or_is_gone_is_refused(
    registry: Registry, folder: Path, name: str
) -> None:
    file = folder / name
    before = file.read_bytes()
    try:
        file.write_bytes(before + b"\n")
        with pytest.raises(ModelError, match=rf"{name} of version 2.*is not the file that was registered"):
            registry.load("2")
        file.unlink()
        with pytest.raises(ModelError, match=rf"{name} of version 2.*is not in the artifact store"):
            registry.load("2")
    finally:
        file.write_bytes(before)


def test_a_version_without_a_list_of_its_files_is_refused_with_what_to_run(registry: Registry) -> None:
    before = tagged(registry, FILES, "")
    try:
        with pytest.raises(ModelError, match=r"no list of its files.*python -m jobs\.train_model"):
            registry.load("2")
    finally:
        tagged(registry, FILES, before)


# --- signatures ---

OURS, THEIRS = new_pair(), new_pair()


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Version 1 is signed by us, 2 is the same model signed by others, 3 by nobody."""
    place = f"sqlite:///{tmp_path_factory.mktemp('signed')}/mlflow.db"
    for private in (OURS[0], THEIRS[0], None):
        registry = Registry(NAME, place, experiment="tests", trust=Trust.of(private, None, required=None))
        registry.log_and_register(small_model(), small_reference(), feature_rows(9))
    return Registry(NAME, place, experiment="tests")


def looking(signed: Registry, private: str | None, public: str | None, *, required: bool | None = None) -> Registry:
    return Registry(NAME, signed.tracking_uri, trust=Trust.of(private, public, required=required))


def test_with_a_key_only_what_its_owner_signed_is_loaded_and_the_public_half_is_enough(signed: Registry) -> None:
    for registry in (looking(signed, None, OURS[1]), looking(signed, OURS[0], None), looking(signed, *OURS)):
        assert registry.load("1").version == "1"
        with pytest.raises(ModelError, match=r"signature of version 2.*does not fit"):
            registry.load("2")
        with pytest.raises(ModelError, match=r"version 3 .*is not signed.*model\.require_signature"):
            registry.promote("3")


def test_unsigned_versions_are_taken_without_a_key_and_where_conf_says_so(
    signed: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    assert looking(signed, None, None).load("3").version == "3"
    assert looking(signed, None, OURS[1], required=False).load("3").version == "3"
    assert "version 3" in caplog.text
    assert "is not signed; it is taken" in caplog.text
    with pytest.raises(ModelError, match="does not fit"):
        looking(signed, None, OURS[1], required=False).load("2")


def test_a_signature_of_another_version_or_of_other_tags_does_not_fit(signed: Registry) -> None:
    client = MlflowClient(signed.tracking_uri, signed.tracking_uri)
    first = client.get_model_version(NAME, "1").tags
    client.set_model_version_tag(NAME, "3", SIGNATURE, first[SIGNATURE])
    client.set_model_version_tag(NAME, "1", "parameters", '{"trees": 1}')
    try:
        for version in ("1", "3"):
            with pytest.raises(ModelError, match=f"signature of version {version}.*does not fit"):
                looking(signed, None, OURS[1]).load(version)
    finally:
        client.delete_model_version_tag(NAME, "3", SIGNATURE)
        client.set_model_version_tag(NAME, "1", "parameters", first["parameters"])


def test_a_stream_goes_on_with_the_model_in_hand_when_another_one_is_not_to_be_trusted(signed: Registry) -> None:
    registry = looking(signed, None, OURS[1])
    registry.promote("1")
    follower = ChampionFollower(registry)
    follower.follow()
    MlflowClient(signed.tracking_uri, signed.tracking_uri).set_registered_model_alias(NAME, "champion", "2")
    followed = follower.follow()
    assert followed.champion.version == "1"
    assert "signature of version 2" in str(followed.trouble)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.public_key=nonsense"], r"model\.public_key is no key of ours.*python -m registry\.trust"),
        (["model.require_signature=true"], r"no key is known.*python -m registry\.trust"),
        ([f"model.public_key='{THEIRS[1]}'", f"model_key.x={OURS[0]}"], "model_key"),
    ],
)
def test_keys_that_are_none_are_told_before_anything_starts(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        registry_of(load_settings("local", overrides))
    assert OURS[0] not in str(refused.value)


def test_the_halves_of_two_keys_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEHAVIOR_MODEL_KEY", OURS[0])
    assert registry_of(load_settings("local")).trust.required
    with pytest.raises(ConfigurationError, match="is not the public half"):
        create_app(load_settings("local", [f"model.public_key='{THEIRS[1]}'"]))


def test_types_we_do_not_trust_are_not_loaded_even_with_the_right_hash(registry: Registry, model_file: Path) -> None:
    """MLflow's own list of trusted types lies in the artifact, so whoever can write it could name any type."""
    skops.io.dump(FunctionTransformer(subprocess.call), model_file)
    with (
        relisted(registry, model_file),
        pytest.raises(ModelError, match="types that are not trusted and was not loaded"),
    ):
        registry.load("2")


BOMBS = {
    "zeros": ('{"file": "1.npy"}', 300, "model.skops has"),
    "zeros that are named often": (json.dumps([{"file": "1.npy"}] * 100), 3, "model.skops has"),
    "a schema of blanks": ("{}" + " " * (70 << 20), 0, "The schema of model.skops has"),
    "a schema of arrays": ("[" + "[]," * 2_000_000 + "[]]", 0, "The schema of model.skops has"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_an_archive_that_unpacks_to_far_more_than_a_model_is_refused_before_it_does(bomb: str, tmp_path: Path) -> None:
    """``BOMBS`` has the schema, megabytes of zeros beside it, and what is told."""
    schema, megabytes, told = BOMBS[bomb]
    file = tmp_path / "model.skops"
    with ZipFile(file, "w", ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("schema.json", schema)
        archive.writestr("1.npy", bytes(megabytes << 20))
    assert file.stat().st_size < 2_000_000
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=told):
            unpack(file)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_something_else_than_a_pipeline_is_not_loaded(registry: Registry, model_file: Path) -> None:
    skops.io.dump(LocalOutlierFactor(novelty=True).fit(feature_rows(30)[["session_events"]]), model_file)
    with (
        relisted(registry, model_file),
        pytest.raises(ModelError, match="holds a LocalOutlierFactor and not a pipeline of ours"),
    ):
        registry.load("2")


def test_a_model_of_another_signature_is_refused_with_what_to_run(registry: Registry) -> None:
    """Its hashes agree and its feature version is ours: whoever trained it had a column that we do not make."""
    file = artifact(registry, "2", "behavior.json")
    content = file.read_text()
    for given, said in {
        content.replace("clicks_per_minute", "keys_per_minute"): r"needs the features keys_per_minute, which feature "
        r"version \d+ has not.*python -m jobs\.train_model",
        small_reference("plain").to_json(): r"takes the columns .*view_share.* describes clicks_per_minute, pages_per_",
    }.items():
        file.write_text(given)
        try:
            with relisted(registry, file), pytest.raises(ModelError, match=said):
                registry.promote("2")
        finally:
            file.write_text(content)
    assert registry.resolve_champion() is None


def test_a_model_that_lies_outside_of_the_registry_is_refused(registry: Registry, tmp_path: Path) -> None:
    client = MlflowClient(registry.tracking_uri)
    tags = client.get_model_version(NAME, "1").tags
    made = client.create_model_version(NAME, tmp_path.as_uri(), tags=tags)
    try:
        with pytest.raises(ModelError, match=r"lies at file:.*outside of the registry"):
            registry.load(str(made.version))
    finally:
        client.delete_model_version(NAME, str(made.version))


def test_a_challenger_that_is_promoted_is_no_challenger_any_more(registry: Registry) -> None:
    registry.promote("1")
    registry.challenge("2")
    assert registry.resolve("challenger") is not None
    registry.promote("2")
    assert registry.resolve("challenger") is None


def test_parameters_come_back_with_a_model(registry: Registry) -> None:
    assert registry.load("1").model.parameters == small_model().parameters


def test_another_feature_version_is_refused(registry: Registry) -> None:
    before = tagged(registry, "feature_version", "0")
    try:
        with pytest.raises(
            ModelError, match=r"trained on feature version 0, this is version .*python -m jobs\.train_model"
        ):
            registry.load("2")
    finally:
        tagged(registry, "feature_version", before)


def test_other_libraries_are_refused_or_allowed_as_set(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    libraries = json.loads(MlflowClient(registry.tracking_uri).get_model_version(NAME, "2").tags["libraries"])
    before = tagged(registry, "libraries", json.dumps({**libraries, "scikit-learn": "0.1"}))
    try:
        with pytest.raises(ModelError, match=r"was trained with scikit-learn 0\.1 \(here 1\."):
            registry.load("2")
        assert Registry(NAME, registry.tracking_uri, strict_libraries=False).load("2").version == "2"
        assert "trained with scikit-learn 0.1" in caplog.text
    finally:
        tagged(registry, "libraries", before)


def test_whether_other_libraries_are_refused_is_a_setting() -> None:
    assert registry_of(load_settings("local")).strict_libraries
    assert not registry_of(load_settings("local", ["model.strict_libraries=false"])).strict_libraries


def test_a_version_is_fetched_once(registry: Registry, model_file: Path) -> None:
    loaded = registry.load("2")
    model_file.unlink()
    assert registry.load("2") is loaded


def test_the_follower_takes_a_promotion_and_a_changed_threshold_at_the_next_batch(registry: Registry) -> None:
    registry.promote("1")
    follower = ChampionFollower(registry)
    seen = [follower.follow()]
    registry.promote("2")
    seen.append(follower.follow())
    before = tagged(registry, "threshold", "0.9")
    try:
        seen.append(follower.follow())
        seen.append(follower.follow())
    finally:
        tagged(registry, "threshold", before)
    assert [(each.champion.version, each.changed) for each in seen] == [
        ("1", True),
        ("2", True),
        ("2", True),
        ("2", False),
    ]
    assert seen[-1].champion.threshold == 0.9


def test_a_threshold_is_changed_without_training(registry: Registry) -> None:
    registry.promote("2")
    before = registry.resolve()
    assert before is not None
    assert before.threshold is not None
    registry.set_threshold("2", 0.75)
    assert registry.resolve() == replace(before, threshold=0.75)
    registry.set_threshold("2", before.threshold)


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_registry_that_is_away_is_noticed_within_seconds() -> None:
    start = time.monotonic()
    with pytest.raises(ModelError, match=r"did not answer as needed.*Check that it runs"):
        ChampionFollower(Registry(NAME, f"http://127.0.0.1:{closed_port()}")).follow()
    assert time.monotonic() - start < 6


def test_a_registry_that_never_answers_is_noticed_within_seconds() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(8)
        start = time.monotonic()
        with pytest.raises(ModelError, match="did not answer as needed"):
            ChampionFollower(Registry(NAME, f"http://127.0.0.1:{mute.getsockname()[1]}")).follow()
        assert time.monotonic() - start < 8


@pytest.mark.parametrize("uri", ["nonsense://somewhere", "file:///tmp/old_store", "sqlite:////proc/nowhere/mlflow.db"])
def test_an_address_that_cannot_be_right_is_one_clear_error(uri: str) -> None:
    with pytest.raises(ModelError):
        Registry(NAME, uri).resolve_champion()
