"""The model registry: the only file that imports MLflow.

What is registered is a plain scikit-learn pipeline in skops' format with ``behavior.json`` beside it, so that
``mlflow.pyfunc.load_model("models:/NAME@champion").predict(frame)`` gives the platform's scores without this package.

skops in MLflow is no border: MLflow reads the list of trusted types from the model's own file. So a version carries the
SHA-256 of both files as tags, and :meth:`Registry.load` compares them and then loads with :data:`TRUSTED_TYPES`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
import skops.io
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from skops.io.exceptions import UntrustedTypesFoundException

from features.definitions import FEATURE_VERSION
from features.errors import ModelError
from training.champion import LoadedModel, Resolved
from training.model import Model
from training.pictures import pictures
from training.reference import Reference, from_json

log = logging.getLogger(__name__)

TRUSTED_TYPES = (
    "numpy.clip",
    "numpy.dtype",
    "sklearn.ensemble._iforest.IsolationForest",
    "sklearn.ensemble._iforest.IsolationForest.score_samples",
    "sklearn.tree._tree.Tree",
)
"""What a model of ours may hold besides what skops trusts by itself."""

LIBRARIES = ("scikit-learn", "numpy", "skops", "numba", "pandas", "mlflow")
"""Recorded with each version. Scores depend on the first two: these are compared when a version is loaded."""
COMPARED = LIBRARIES[:2]

MODEL_FILE = "model.skops"
BEHAVIOR_FILE = "extra_files/behavior.json"
CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous_champion", "challenger"


@dataclass(frozen=True)
class TrainingRecord:
    """What is written down about a training besides the model: where its rows come from and what was measured."""

    source: str = ""
    delta_version: int | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Registry:
    """One registered model in one MLflow. Every method raises ModelError when MLflow cannot be reached.

    ``artifacts`` is where files go when the experiment does not exist yet; None means beside an sqlite file,
    and for a server that the server decides.
    """

    name: str
    tracking_uri: str
    experiment: str = "user_behavior"
    artifacts: str | None = None
    strict_libraries: bool = True
    _loaded: dict[str, LoadedModel] = field(default_factory=dict, init=False, repr=False)

    # --- writing ---

    def log_and_register(
        self, model: Model, reference: Reference, example: pd.DataFrame, record: TrainingRecord | None = None
    ) -> str:
        """Log a run with everything about the model, register it, and return the version's number.

        ``example`` is a few training rows; the registered model must give them the scores of the one in hand.
        """
        record = record or TrainingRecord()
        with self._translated(), self._run() as run_id:
            self._log(model, reference, record)
            logged = self._log_model(model, reference, example)
            with tempfile.TemporaryDirectory(prefix="model-") as target:
                folder = self._download(logged, Path(target))
                _compare(folder, model, example)
                tags = _tags(model, reference, record, folder)
            return self._register(logged, run_id, tags)

    def promote(self, version: str, why: str = "") -> None:
        """Make a version the champion after loading it once; the champion so far becomes ``previous_champion``."""
        self.load(version)
        with self._translated():
            before = self._version_of(CHAMPION)
            if before is not None and before.version != version:
                self._client().set_registered_model_alias(self.name, PREVIOUS, before.version)
            self._client().set_registered_model_alias(self.name, CHAMPION, version)
            self._client().set_model_version_tag(self.name, version, "promoted_at", datetime.now(UTC).isoformat())
            self._client().set_model_version_tag(self.name, version, "promoted_why", why)

    def rollback(self) -> str:
        """Exchange champion and previous champion; returns the version that is champion now."""
        with self._translated():
            previous = self._version_of(PREVIOUS)
        if previous is None:
            raise ModelError(
                f"Model '{self.name}' has no '{PREVIOUS}' to go back to: a champion was never replaced. "
                "Promote another version instead: python -m jobs.promote_model --version N."
            )
        self.promote(str(previous.version), why="rollback")
        return str(previous.version)

    def challenge(self, version: str) -> None:
        """Give a version the alias ``challenger``."""
        with self._translated():
            self._client().set_registered_model_alias(self.name, CHALLENGER, version)

    def set_threshold(self, version: str, threshold: float) -> None:
        """Change a version's threshold without training; streams take it at their next micro-batch."""
        with self._translated():
            self._client().set_model_version_tag(self.name, version, "threshold", repr(float(threshold)))

    # --- reading ---

    def resolve(self, alias: str = CHAMPION) -> Resolved | None:
        """What an alias points to, None when nothing has it. One small request: fit for every micro-batch."""
        with self._translated():
            found = self._version_of(alias)
        if found is None:
            return None
        threshold = found.tags.get("threshold")
        return Resolved(str(found.version), None if threshold is None else float(threshold))

    def resolve_champion(self) -> str | None:
        """The champion's version, None when there is none."""
        found = self.resolve(CHAMPION)
        return None if found is None else found.version

    def latest(self) -> str | None:
        """The newest version, whatever its alias; None when nothing is registered."""
        with self._translated():
            versions = self._client().search_model_versions(f"name = '{self.name}'")
        return max((str(found.version) for found in versions), key=int, default=None)

    def load(self, version: str) -> LoadedModel:
        """Download a version, check it, load it; a version that was loaded before is not fetched again.

        Raises ModelError when the version is not there, its files are not those that were registered, it holds a
        type that is not trusted, or it was trained with another feature version or other libraries.
        """
        if version not in self._loaded:
            with self._translated():
                found = self._client().get_model_version(self.name, version)
                self._check(found)
                with tempfile.TemporaryDirectory(prefix="model-") as target:
                    self._loaded[version] = self._read(found, Path(target))
        return self._loaded[version]

    # --- inside ---

    def _client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)

    def _version_of(self, alias: str) -> ModelVersion | None:
        try:
            return self._client().get_model_version_by_alias(self.name, alias)
        except MlflowException as error:
            no_model = error.error_code == "RESOURCE_DOES_NOT_EXIST"
            no_alias = error.error_code == "INVALID_PARAMETER_VALUE" and alias in str(error.message)
            if no_model or no_alias:
                return None
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise ModelError(f"The registry at {self.tracking_uri} does not have it: {error.message}") from error
            raise ModelError(
                f"The model registry at {self.tracking_uri} did not answer as needed: {_short(error)}. "
                "Check that it runs and that model.tracking_uri is right."
            ) from error
        except OSError as error:
            raise ModelError(f"Files of model '{self.name}' cannot be read or written: {error}") from error

    @contextmanager
    def _run(self) -> Iterator[str]:
        mlflow.set_tracking_uri(self.tracking_uri)
        mlflow.set_registry_uri(self.tracking_uri)
        with mlflow.start_run(experiment_id=self._experiment_id()) as run:
            yield run.info.run_id

    def _experiment_id(self) -> str:
        client = self._client()
        found = client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        location = self.artifacts
        if location is None and self.tracking_uri.startswith("sqlite:///"):
            database = Path(self.tracking_uri.removeprefix("sqlite:///")).resolve()
            location = (database.parent / "mlartifacts").as_uri()
        return str(client.create_experiment(self.experiment, artifact_location=location))

    def _log(self, model: Model, reference: Reference, record: TrainingRecord) -> None:
        settings = {f"detector.{name}": value for name, value in model.detector.get_params().items()}
        origin = {"preset": model.preset, "feature_version": model.feature_version, "source": record.source}
        mlflow.log_params({**settings, **origin, "delta_version": record.delta_version, **record.parameters})
        counted = {"rows": reference.rows, "users": reference.users, "days": reference.days}
        mlflow.log_metrics({**counted, "threshold": reference.threshold, **record.metrics})
        mlflow.set_tags(dict(record.tags))
        for name, figure in pictures(model, reference).items():
            mlflow.log_figure(figure, f"pictures/{name}.png")

    def _log_model(self, model: Model, reference: Reference, example: pd.DataFrame) -> str:
        with tempfile.TemporaryDirectory(prefix="behavior-") as folder:
            behavior = Path(folder) / "behavior.json"
            behavior.write_text(reference.to_json(), encoding="utf-8")
            logged = mlflow.sklearn.log_model(
                model.pipeline,
                name="model",
                serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
                skops_trusted_types=list(TRUSTED_TYPES),
                signature=_signature(model),
                input_example=model.columns(example.head(5)),
                pip_requirements=[f"{name}=={installed(name)}" for name in ("scikit-learn", "numpy", "skops")],
                extra_files=[str(behavior)],
                metadata={"predict": "anomaly score, 0 to 1, higher is stranger", "preset": model.preset},
            )
        return str(logged.model_uri)

    def _register(self, logged: str, run_id: str, tags: dict[str, str]) -> str:
        client = self._client()
        if not client.search_registered_models(f"name = '{self.name}'"):
            client.create_registered_model(self.name, description="Strangeness of a user's minute, 0 to 1.")
        identity = logged.removeprefix("models:/")
        return str(client.create_model_version(self.name, logged, run_id, tags=tags, model_id=identity).version)

    def _check(self, found: ModelVersion) -> None:
        """Refuse a version whose tags say that it cannot be right, before anything is downloaded."""
        where = f"Version {found.version} of model '{self.name}'"
        trained_on = found.tags.get("feature_version")
        if trained_on != FEATURE_VERSION:
            raise ModelError(
                f"{where} was trained on feature version {trained_on}, this is version {FEATURE_VERSION}. "
                "Train a model on the new features: python -m jobs.train_model."
            )
        trained_with = json.loads(found.tags.get("libraries", "{}"))
        other = [
            f"{name} {trained_with.get(name)} (here {installed(name)})"
            for name in COMPARED
            if trained_with.get(name) != installed(name)
        ]
        if other and self.strict_libraries:
            raise ModelError(
                f"{where} was trained with {', '.join(other)}. Train it again here, or install those versions."
            )

    def _read(self, found: ModelVersion, target: Path) -> LoadedModel:
        uri = f"models:/{self.name}/{found.version}"
        folder = Path(
            mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(target), tracking_uri=self.tracking_uri)
        )
        for name in (MODEL_FILE, BEHAVIOR_FILE):
            _check_hash(
                folder / name, found.tags.get(_hash_tag(name)), f"version {found.version} of model '{self.name}'"
            )
        reference = from_json((folder / BEHAVIOR_FILE).read_text(encoding="utf-8"))
        model = Model(
            _unpacked(folder / MODEL_FILE), reference.feature_names, reference.preset, reference.feature_version
        )
        return LoadedModel.of(self.name, str(found.version), model, reference)

    def _download(self, uri: str, target: Path) -> Path:
        """A copy in ``target``: a local store would otherwise hand out its own files, which could change under us."""
        fetched = mlflow.artifacts.download_artifacts(
            artifact_uri=uri, dst_path=str(target), tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri
        )
        return Path(fetched)


def _tags(model: Model, reference: Reference, record: TrainingRecord, folder: Path) -> dict[str, str]:
    return {
        "feature_version": model.feature_version,
        "preset": model.preset,
        "source": record.source,
        "delta_version": str(record.delta_version),
        "threshold": repr(reference.threshold),
        "libraries": json.dumps({name: installed(name) for name in LIBRARIES}),
        **{_hash_tag(name): _sha256(folder / name) for name in (MODEL_FILE, BEHAVIOR_FILE)},
    }


def _compare(folder: Path, model: Model, example: pd.DataFrame) -> None:
    stored = _unpacked(folder / MODEL_FILE)
    if not np.array_equal(stored.predict(model.columns(example)), model.score(example)):
        raise ModelError("The stored model gives other scores than the trained one; it was not registered.")


def _signature(model: Model) -> ModelSignature:
    columns: list[ColSpec | TensorSpec] = [ColSpec("double", name) for name in model.feature_names]
    return ModelSignature(inputs=Schema(columns), outputs=Schema([ColSpec("double")]))


def _hash_tag(file: str) -> str:
    return f"sha256.{Path(file).name}"


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_hash(file: Path, recorded: str | None, what: str) -> None:
    if not file.is_file():
        raise ModelError(f"{file.name} of {what} is not in the artifact store. Promote another version or train again.")
    found = _sha256(file)
    if found != recorded:
        raise ModelError(
            f"{file.name} of {what} is not the file that was registered: its SHA-256 is {found[:12]}…, "
            f"recorded was {(recorded or 'nothing')[:12]}…. Promote another version or train again."
        )


def _unpacked(file: Path) -> Any:
    """The pipeline in a file; skops builds only types that it or we trust."""
    try:
        return skops.io.load(file, trusted=list(TRUSTED_TYPES))
    except UntrustedTypesFoundException as error:
        raise ModelError(f"{file.name} holds types that are not trusted and was not loaded: {error}") from error
    except Exception as error:  # whatever a damaged file makes skops raise
        raise ModelError(f"{file.name} cannot be read as a model: {error!r}") from error


def _short(error: MlflowException) -> str:
    return str(error.message).splitlines()[0][:300]
