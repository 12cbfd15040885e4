"""The model registry: the only file that imports MLflow.

What is registered is a plain scikit-learn pipeline in skops' format with ``behavior.json`` beside it, so that
``mlflow.pyfunc.load_model("models:/NAME@champion").predict(frame)`` gives the platform's scores without this package.

That call is no border: MLflow runs what the model's own folder names, its list of trusted types and its code. So a
version carries the SHA-256 of every file of the folder, signed where there is a key (:mod:`registry.trust`), and
:meth:`Registry.load` compares them and then loads with our own constant list (:mod:`registry.artifact`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import mlflow.sklearn
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.types import ColSpec, Schema, TensorSpec

from features.definitions import FEATURE_VERSION
from features.errors import ModelError
from registry import artifact
from registry.trust import FILES, Trust
from scoring.champion import LoadedModel, Resolved
from scoring.model import Model
from scoring.reference import Reference
from training.gate import Verdict
from training.pictures import pictures

log = logging.getLogger(__name__)

CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous_champion", "challenger"
EXAMPLE_FILES = ("input_example.json", "serving_input_example.json")


@dataclass(frozen=True)
class TrainingRecord:
    """What is written down about a training besides the model: where its rows come from and what was measured.

    ``personas`` is what a trial found (:func:`training.evaluate.by_persona`), drawn as a picture; ``tables`` are kept
    as they are, by name.
    """

    source: str = ""
    delta_version: int | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    personas: pd.DataFrame | None = None
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """What the registry knows of a version: when it was registered, its tags, and the figures of its training run."""

    version: str
    registered_at: datetime
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass
class Registry:
    """One registered model in one MLflow. Every method raises ModelError when MLflow cannot be reached.

    ``artifacts`` is where files go when the experiment does not exist yet; None means beside an sqlite file,
    and for a server that the server decides. With ``strict_libraries`` a model that was trained with other
    libraries is refused, else it is loaded with a warning. ``trust`` signs what is registered, and says whose versions
    are loaded.
    """

    name: str
    tracking_uri: str
    experiment: str = "user_behavior"
    artifacts: str | None = None
    strict_libraries: bool = True
    trust: Trust = field(default_factory=Trust)
    _loaded: dict[str, LoadedModel] = field(default_factory=dict, init=False, repr=False)

    # --- writing ---

    def log_and_register(
        self, model: Model, reference: Reference, example: pd.DataFrame, record: TrainingRecord | None = None
    ) -> str:
        """Log a run with everything about the model, register it, and return the version's number.

        ``example`` is some training rows: the registered model must give them the scores of the one in hand, and the
        influence of features is drawn from them. MLflow's input example is a row of typical values, which nobody had.
        """
        record = record or TrainingRecord()
        with self._translated(), self._run() as run_id, tempfile.TemporaryDirectory(prefix="model-") as target:
            _log(run_id, model, reference, example, record)
            logged = _log_model(model, reference)
            folder = self._download(logged, Path(target))
            artifact.compare(folder, model, example)
            tags = _tags(model, reference, record) | {"run_id": run_id}
            return self._register(logged, run_id, tags | self.trust.seal(self.name, folder, tags))

    def promote(self, version: str, why: str = "", gate: str = "") -> None:
        """Make a version the champion after loading it once; the champion so far becomes ``previous_champion``.

        ``gate``, what the gate said of it, is kept with the version; to ask it is the caller's business.
        """
        self.load(version)
        with self._translated():
            client, before = self._client(), self._version_of(CHAMPION)
            if before is not None and str(before.version) != version:
                client.set_registered_model_alias(self.name, PREVIOUS, str(before.version))
            client.set_registered_model_alias(self.name, CHAMPION, version)
            client.set_model_version_tag(self.name, version, "promoted_at", datetime.now(UTC).isoformat())
            client.set_model_version_tag(self.name, version, "promoted_why", why)
            client.set_model_version_tag(self.name, version, "gate", gate)
            challenger = self._version_of(CHALLENGER)
            if challenger is not None and str(challenger.version) == version:
                client.delete_registered_model_alias(self.name, CHALLENGER)

    def rollback(self) -> str:
        """Exchange champion and previous champion; returns the version that is champion now."""
        previous = self.resolve(PREVIOUS)
        if previous is None:
            raise ModelError(
                f"Model '{self.name}' has no '{PREVIOUS}' to go back to: a champion was never replaced. "
                "Promote another version instead: python -m jobs.promote_model --version N."
            )
        self.promote(previous.version, why="rollback")
        return previous.version

    def log_gate(self, verdict: Verdict, limits: Mapping[str, object], forced: str | None = None) -> str:
        """Write a run about a gate: its table, what was found and asked, and the outcome; returns the run's id."""
        outcome = "passed" if verdict.passed else "refused" if forced is None else "forced"
        with self._translated(), self._run() as run_id:
            mlflow.set_tags(
                {
                    "mlflow.runName": f"gate: {verdict.challenger} against {verdict.champion}",
                    "gate": outcome,
                    "gate.sentence": verdict.sentence(),
                    "gate.forced_why": forced or "",
                    "champion": verdict.champion,
                    "challenger": verdict.challenger,
                }
            )
            mlflow.log_params({f"gate.{name}": value for name, value in limits.items()})
            mlflow.log_metrics(verdict.metrics())
            mlflow.log_table(verdict.table(), "gate.json")
            for name, value in {"gate": outcome, "gate_run_id": run_id}.items():
                self._client().set_model_version_tag(self.name, verdict.challenger, name, value)
            return run_id

    def challenge(self, version: str) -> None:
        """Give a version the alias ``challenger``, after loading it once."""
        self.load(version)
        with self._translated():
            self._client().set_registered_model_alias(self.name, CHALLENGER, version)

    def set_threshold(self, version: str, threshold: float) -> None:
        """Change a version's threshold without training; streams take it at their next micro-batch."""
        with self._translated():
            self._client().set_model_version_tag(self.name, version, "threshold", repr(float(threshold)))

    def remove_examples(self) -> list[str]:
        """Delete the input examples of old versions, which were some people's rows; returns these versions.

        Old are those without a list of their files, which are not loaded any more. Later examples are typical values.
        """
        removed = []
        with self._translated():
            self._point_mlflow_here()
            client = self._client()
            for version in client.search_model_versions(f"name = '{self.name}'"):
                if FILES in version.tags:
                    continue
                place = client.get_logged_model(str(version.source).removeprefix("models:/")).artifact_location
                store: Any = get_artifact_repository(place)
                kept = {one.path for one in store.list_artifacts()}.intersection(EXAMPLE_FILES)
                for file in kept:
                    store.delete_artifacts(file)
                removed += [str(version.version)] if kept else []
        return sorted(removed, key=int)

    # --- reading ---

    def resolve(self, alias: str = CHAMPION) -> Resolved | None:
        """What an alias points to, None when nothing has it. One small request: fit for every micro-batch."""
        with self._translated():
            model_version = self._version_of(alias)
        if model_version is None:
            return None
        threshold = model_version.tags.get("threshold")
        return Resolved(str(model_version.version), None if threshold is None else float(threshold))

    def threshold(self, version: str) -> float | None:
        """The threshold that a version's tag says, None when it has none (that of its training counts then)."""
        with self._translated():
            threshold = self._client().get_model_version(self.name, version).tags.get("threshold")
        return None if threshold is None else float(threshold)

    def resolve_champion(self) -> str | None:
        """The champion's version, None when there is none."""
        champion = self.resolve(CHAMPION)
        return None if champion is None else champion.version

    def describe(self, alias: str = CHAMPION) -> Description | None:
        """What people want to know of the version that an alias points to, None when nothing has it."""
        with self._translated():
            model_version = self._version_of(alias)
            if model_version is None:
                return None
            run = self._client().get_run(model_version.run_id) if model_version.run_id else None
        at = datetime.fromtimestamp(model_version.creation_timestamp / 1000, UTC)
        return Description(
            str(model_version.version), at, dict(model_version.tags), dict(run.data.metrics) if run else {}
        )

    def latest(self) -> str | None:
        """The newest version, whatever its alias; None when nothing is registered."""
        with self._translated():
            versions = self._client().search_model_versions(f"name = '{self.name}'")
        return max((str(each.version) for each in versions), key=int, default=None)

    def load(self, version: str) -> LoadedModel:
        """Download a version, check it, load it; a version that was loaded before is not fetched again.

        Raises ModelError when the version is not there, its files are not those that were registered, its signature
        is missing or wrong, it holds a type that is not trusted, or it was trained with another feature version or
        other libraries.
        """
        if version not in self._loaded:
            with self._translated(), tempfile.TemporaryDirectory(prefix="model-") as target:
                model_version = self._client().get_model_version(self.name, version)
                what = f"version {version} of model '{self.name}'"
                self._check(model_version, what)
                folder = self._download(f"models:/{self.name}/{version}", Path(target))
                model, reference = artifact.read(folder, model_version.tags, what)
                self._loaded[version] = LoadedModel.of(self.name, version, model, reference)
        return self._loaded[version]

    # --- inside ---

    @property
    def _place(self) -> str:
        """The address without a login that may be written into it."""
        return re.sub(r"//[^/@]*@", "//…@", self.tracking_uri)

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
                raise ModelError(f"The registry at {self._place} does not have it: {error.message}") from error
            raise ModelError(
                f"The model registry at {self._place} did not answer as needed: {_first_line(error)}. "
                "Check that it runs and that model.tracking_uri is right."
            ) from error
        except OSError as error:
            raise ModelError(f"Files of model '{self.name}' cannot be read or written: {error}") from error

    @contextmanager
    def _run(self) -> Iterator[str]:
        self._point_mlflow_here()
        with mlflow.start_run(experiment_id=self._experiment_id()) as run:
            yield run.info.run_id

    def _experiment_id(self) -> str:
        client = self._client()
        experiment = client.get_experiment_by_name(self.experiment)
        if experiment is not None:
            return str(experiment.experiment_id)
        location = self.artifacts
        if location is None and self.tracking_uri.startswith("sqlite:///"):
            database = Path(self.tracking_uri.removeprefix("sqlite:///")).resolve()
            location = (database.parent / "mlartifacts").as_uri()
        return str(client.create_experiment(self.experiment, artifact_location=location))

    def _register(self, logged: str, run_id: str, tags: dict[str, str]) -> str:
        client = self._client()
        if not client.search_registered_models(f"name = '{self.name}'"):
            client.create_registered_model(self.name, description="Strangeness of a user's minute, 0 to 1.")
        model_id = logged.removeprefix("models:/")
        return str(client.create_model_version(self.name, logged, run_id, tags=tags, model_id=model_id).version)

    def _check(self, model_version: ModelVersion, what: str) -> None:
        """Refuse a version whose tags or place say that it cannot be right, before anything is downloaded."""
        if not str(model_version.source).startswith("models:/m-"):
            raise ModelError(
                f"The {what} lies at {model_version.source}, outside of the registry at {self._place}, and was not "
                "loaded. Only models that train_model registered there are used."
            )
        self.trust.check_tags(self.name, model_version.tags, what)
        trained_on = model_version.tags.get("feature_version")
        if trained_on != FEATURE_VERSION:
            raise ModelError(
                f"The {what} was trained on feature version {trained_on}, this is version {FEATURE_VERSION}. "
                "Train a model on the new features: python -m jobs.train_model."
            )
        others = artifact.other_libraries(
            json.loads(model_version.tags.get("libraries", "{}")), model_version.tags.get("preset", "")
        )
        if others and self.strict_libraries:
            raise ModelError(f"The {what} was trained with {others}. Train it again here, or install those versions.")
        if others:
            log.warning("The %s was trained with %s; its scores may differ.", what, others)

    def _point_mlflow_here(self) -> None:
        """MLflow resolves ``models:/`` addresses by its global setting, whatever a call is told."""
        mlflow.set_tracking_uri(self.tracking_uri)
        mlflow.set_registry_uri(self.tracking_uri)

    def _download(self, uri: str, target: Path) -> Path:
        """A copy in ``target``: a local store would otherwise hand out its own files, which could change under us."""
        self._point_mlflow_here()
        fetched = mlflow.artifacts.download_artifacts(
            artifact_uri=uri, dst_path=str(target), tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri
        )
        return Path(fetched)


def _log(run_id: str, model: Model, reference: Reference, example: pd.DataFrame, record: TrainingRecord) -> None:
    settings = {f"detector.{name}": value for name, value in model.detector.get_params().items()}
    origin = {"preset": model.preset, "feature_version": model.feature_version, "source": record.source}
    mlflow.log_params({**settings, **origin, "delta_version": record.delta_version, **record.parameters})
    counted = {"rows": reference.rows, "users": reference.users, "days": reference.days}
    mlflow.log_metrics({**counted, "threshold": reference.threshold, **record.metrics})
    mlflow.set_tags(dict(record.tags))
    if record.source:
        MlflowClient().log_inputs(run_id, [_dataset(record)])
    for name, figure in pictures(model, reference, example, record.personas).items():
        mlflow.log_figure(figure, f"pictures/{name}.png")
    mlflow.log_dict(artifact.libraries(), "libraries.json")
    mlflow.log_text(reference.to_json(), "behavior.json")
    for name, table in record.tables.items():
        mlflow.log_table(table, f"tables/{name}.json")


def _dataset(record: TrainingRecord) -> DatasetInput:
    """The training table as MLflow lists it: a Delta table at a version."""
    source = json.dumps({"path": record.source, "delta_table_version": record.delta_version})
    digest = hashlib.sha256(source.encode()).hexdigest()[:8]
    table = Dataset(name="features", digest=digest, source_type="delta_table", source=source)
    return DatasetInput(table, [InputTag("mlflow.data.context", "training")])


def _log_model(model: Model, reference: Reference) -> str:
    """Store the pipeline and ``behavior.json``; returns MLflow's address of both."""
    with tempfile.TemporaryDirectory(prefix="behavior-") as folder:
        behavior = Path(folder) / Path(artifact.BEHAVIOR_FILE).name
        behavior.write_text(reference.to_json(), encoding="utf-8")
        versions = artifact.libraries()
        logged = mlflow.sklearn.log_model(
            model.pipeline,
            name="model",
            serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
            skops_trusted_types=list(artifact.TRUSTED_TYPES),
            signature=_signature(model),
            input_example=pd.DataFrame([reference.typical()], columns=list(model.feature_names)),
            pip_requirements=[f"{name}=={versions[name]}" for name in (*artifact.needed(model.preset), "skops")],
            extra_files=[str(behavior)],
            metadata={"predict": "anomaly score, 0 to 1, higher is stranger", "preset": model.preset},
        )
    return str(logged.model_uri)


def _tags(model: Model, reference: Reference, record: TrainingRecord) -> dict[str, str]:
    return {
        "feature_version": model.feature_version,
        "preset": model.preset,
        "parameters": json.dumps(asdict(model.parameters)),
        "source": record.source,
        "delta_version": str(record.delta_version),
        "threshold": repr(reference.threshold),
        "libraries": json.dumps(artifact.libraries()),
    }


def _signature(model: Model) -> ModelSignature:
    columns: list[ColSpec | TensorSpec] = [ColSpec("double", name) for name in model.feature_names]
    return ModelSignature(inputs=Schema(columns), outputs=Schema([ColSpec("double")]))


def _first_line(error: MlflowException) -> str:
    return str(error.message).strip().splitlines()[0][:300]
