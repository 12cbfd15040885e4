"""The files of a registered model: compared with what was registered, and read with our own list of trusted types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import skops.io
from sklearn.pipeline import Pipeline
from skops.io.exceptions import UntrustedTypesFoundException

from features.definitions import FEATURE_NAMES, FEATURE_VERSION
from features.errors import ModelError
from registry.trust import check_files
from scoring.model import Model, Parameters
from scoring.reference import Reference, from_json
from training.detectors import FROM_PYOD

TRUSTED_TYPES = (
    "numpy.clip",
    "numpy.dtype",
    "pyod.models.knn.KNN",
    "pyod.models.knn.KNN.decision_function",
    "pyod.models.pca.PCA",
    "pyod.models.pca.PCA.decision_function",
    "sklearn.ensemble._iforest.IsolationForest",
    "sklearn.ensemble._iforest.IsolationForest.score_samples",
    "sklearn.neighbors._lof.LocalOutlierFactor",
    "sklearn.neighbors._lof.LocalOutlierFactor.score_samples",
    "sklearn.tree._tree.Tree",
)
"""What a model of ours may hold besides what skops trusts by itself."""

MODEL_FILE = "model.skops"
SCHEMA = "schema.json"
"""Of the archive: which objects there are, and in which of its files their numbers are."""
BEHAVIOR_FILE = "extra_files/behavior.json"

MAX_BYTES = 268_435_456
"""Of a model once it is unpacked, thirty times what the default takes: a small archive may unpack to anything."""
MAX_SCHEMA_BYTES, MAX_SCHEMA_PARTS = 67_108_864, 2_000_000
"""Of the schema among them, ten times what the default takes; each part is an object in memory."""
MAX_BEHAVIOR_BYTES = 16_777_216

LIBRARIES = ("scikit-learn", "numpy", "skops", "numba", "pandas", "mlflow", "pyod")
"""Recorded with each version."""
COMPARED = ("scikit-learn", "numpy")
"""Those that all scores depend on; compared when a version is loaded."""


def libraries() -> dict[str, str]:
    """The versions that are installed here."""
    return {name: installed(name) for name in LIBRARIES}


def needed(preset: str) -> tuple[str, ...]:
    """The libraries that a preset's scores depend on."""
    return (*COMPARED, "pyod") if preset in FROM_PYOD else COMPARED


def other_libraries(trained_with: Mapping[str, str], preset: str) -> str:
    """Which of the libraries a preset's scores depend on differ, in words; empty when none does."""
    here = libraries()
    names = [name for name in needed(preset) if trained_with.get(name) != here[name]]
    return ", ".join(f"{name} {trained_with.get(name)} (here {here[name]})" for name in names)


def read(folder: Path, tags: Mapping[str, str], what: str) -> tuple[Model, Reference]:
    """The model in a folder, after all its files were compared with the hashes in ``tags``.

    Raises ModelError when a file is missing, another one than was registered or added, or holds what is not trusted.
    """
    check_files(folder, tags, what)
    behavior = folder / BEHAVIOR_FILE
    if behavior.stat().st_size > MAX_BEHAVIOR_BYTES:
        raise too_large(behavior.name, behavior.stat().st_size, MAX_BEHAVIOR_BYTES)
    reference = from_json(behavior.read_text(encoding="utf-8"))
    pipeline = unpack(folder / MODEL_FILE)
    check_signature(pipeline, reference, what)
    parameters = _parameters(tags, what)
    return Model(pipeline, reference.feature_names, reference.preset, reference.feature_version, parameters), reference


def check_signature(pipeline: Pipeline, reference: Reference, what: str) -> None:
    """Refuse a model that asks for features we do not make, or whose two files are of different models."""
    unknown = [name for name in reference.feature_names if name not in FEATURE_NAMES]
    if unknown:
        raise ModelError(
            f"The {what} needs the features {', '.join(unknown)}, which feature version {FEATURE_VERSION} has not. "
            "Train a model on features of this version: python -m jobs.train_model."
        )
    fitted = tuple(str(name) for name in pipeline.feature_names_in_)
    if fitted != reference.feature_names:
        raise ModelError(
            f"The {what} takes the columns {', '.join(fitted)}, and its {Path(BEHAVIOR_FILE).name} describes "
            f"{', '.join(reference.feature_names)}. Train the model again."
        )


def _parameters(tags: Mapping[str, str], what: str) -> Parameters:
    """What the model was fitted with; a version of before they were kept has the defaults."""
    try:
        return Parameters(**json.loads(tags.get("parameters", "{}")))
    except (ValueError, TypeError) as error:
        raise ModelError(f"The tag 'parameters' of {what} cannot be read: {error}. Train the model again.") from error


def unpack(file: Path) -> Pipeline:
    """The pipeline in a file; skops builds only types that it or we trust."""
    try:
        check_size(file)
        pipeline = skops.io.load(file, trusted=list(TRUSTED_TYPES))
    except ModelError:
        raise
    except UntrustedTypesFoundException as error:
        raise ModelError(f"{file.name} holds types that are not trusted and was not loaded: {error}") from error
    except Exception as error:  # whatever a damaged file makes skops raise
        raise ModelError(f"{file.name} cannot be read as a model: {error!r}") from error
    if not isinstance(pipeline, Pipeline) or [name for name, _ in pipeline.steps] != ["prepare", "detector", "mirror"]:
        raise ModelError(
            f"{file.name} holds a {type(pipeline).__name__} and not a pipeline of ours. Train a model again."
        )
    return pipeline


def check_size(file: Path) -> None:
    """Refuse an archive that would take too much memory, before any of it is unpacked but its schema.

    The sizes are those that the archive says, and Python reads no more than it says. A file counts as often as the
    schema names it: each time it is read anew.
    """
    with ZipFile(file) as archive:
        sizes = {part.filename: part.file_size for part in archive.infolist()}
        if sizes[SCHEMA] > MAX_SCHEMA_BYTES:
            raise too_large(f"The schema of {file.name}", sizes[SCHEMA], MAX_SCHEMA_BYTES)
        schema = archive.read(SCHEMA)
        parts = sum(map(schema.count, (b"[", b"{", b",")))
        if parts > MAX_SCHEMA_PARTS:
            raise too_large(f"The schema of {file.name}", parts, MAX_SCHEMA_PARTS, "parts")
        size = sizes[SCHEMA]
        waiting: list[Any] = [json.loads(schema)]
        while waiting:
            node = waiting.pop()
            if isinstance(node, dict):
                name = node.get("file")
                size += sizes.get(name, 0) if isinstance(name, str) else 0
                waiting += node.values()
            elif isinstance(node, list):
                waiting += node
    if size > MAX_BYTES:
        raise too_large(file.name, size, MAX_BYTES)


def too_large(what: str, size: int, most: int, of: str = "bytes") -> ModelError:
    return ModelError(
        f"{what} has {size:,} {of} unpacked; a model may have {most:,}, and it was not loaded. "
        "Promote another version, or train a smaller one: python -m jobs.train_model."
    )


def compare(folder: Path, model: Model, example: pd.DataFrame) -> None:
    """Refuse a stored model that does not give the example the scores of the one in hand."""
    stored = unpack(folder / MODEL_FILE)
    if not np.array_equal(stored.predict(model.columns(example)), model.score(example)):
        raise ModelError("The stored model gives other scores than the trained one; it was not registered.")
