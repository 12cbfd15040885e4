"""Reading settings: files, environment variables and overrides become one :class:`Settings`, or a sentence."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsError

from features.errors import ConfigurationError
from settings.errors import explain
from settings.settings import Settings

PROJECT = Path(__file__).resolve().parents[1]
"""Folder that holds ``conf/``; with spark-submit --py-files this is the zip, see :func:`configuration_folder`."""


def configuration_folder() -> Traversable:
    """``BEHAVIOR_CONF_DIR``, else ``conf/`` of the working folder, else the one beside the code, in the zip too."""
    named = os.environ.get("BEHAVIOR_CONF_DIR")
    beside: Traversable = zipfile.Path(PROJECT) if zipfile.is_zipfile(PROJECT) else PROJECT
    for folder in [Path(named)] if named else [Path.cwd() / "conf", beside.joinpath("conf")]:
        if folder.joinpath("base.yaml").is_file():
            return folder
    raise ConfigurationError(
        f"No base.yaml in {named or 'conf/ of the working folder or of the code'}. "
        "Run from the project's folder or set BEHAVIOR_CONF_DIR to the folder that holds base.yaml."
    )


def load_settings(env: str, overrides: Iterable[str] = ()) -> Settings:
    """Read the settings of environment ``env`` with ``section.key=value`` overrides.

    What they say of an object store is put into this process's environment, where its clients look.

    Raises:
        ConfigurationError: a file or key is unknown, or a value cannot be taken; says what was found and needed.
    """
    folder = configuration_folder()
    if not folder.joinpath(f"{env}.yaml").is_file():
        files = [path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml")]
        known = sorted(name for name in files if name != "base")
        raise ConfigurationError(
            f"Unknown environment {env!r}: {folder} has {', '.join(known)}. Choose one with --env."
        )
    values = _merge(_read(folder.joinpath("base.yaml")), _read(folder.joinpath(f"{env}.yaml")))

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, values)

    try:
        loaded = Loaded(**_merge({"env": env}, _parse_overrides(overrides)))
    except ValidationError as error:
        raise ConfigurationError(explain(error)) from None
    except SettingsError as error:
        # Of its words only the field's name: the value may hold a password.
        match = re.search(r'field "(\w+)"', str(error))
        name = f"BEHAVIOR_{match[1].upper()}" if match else "BEHAVIOR_…"
        raise ConfigurationError(
            f"The environment variable {name} (or {name}__…) cannot be read: lists and sections are JSON there."
        ) from None
    loaded.s3.tell_clients()
    return loaded


def local_overrides(local: Path) -> list[str]:
    """Settings that keep everything of a run under ``local``."""
    place = local.resolve()
    return [
        f"storage.root={json.dumps(str(place / 'lake'))}",
        f"storage.checkpoints={json.dumps(str(place / 'checkpoints'))}",
        f"model.tracking_uri={json.dumps(f'sqlite:///{place}/mlflow.db')}",
        f"patterns.reports={json.dumps(str(place / 'reports'))}",
    ]


def _read(path: Traversable) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not valid YAML: {_yaml_fault(error)}.") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} must hold sections with keys, found {type(content).__name__}.")
    return content


def _yaml_fault(error: yaml.YAMLError) -> str:
    """What is wrong and where, without the line itself, which may hold a secret."""
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    return f"{getattr(error, 'problem', None) or type(error).__name__}{where}"


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for text in overrides:
        name, equals, value = text.partition("=")
        parts = name.strip().split(".")
        if not equals or not all(parts) or len(parts) < 2:
            shown = name if re.fullmatch(r"[a-z0-9_.]{1,60}", name) else "…"
            raise ConfigurationError(
                f"--set {shown}{equals and '=…'}: needed section.key=value, for example --set kafka.topic=clicks."
            )
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigurationError(
                f"--set {name}: the value is not valid YAML: {_yaml_fault(error)}. Put it in quotes."
            ) from None
        if isinstance(parsed, datetime):
            parsed = value
        for part in reversed(parts):
            parsed = {part: parsed}
        result = _merge(result, parsed)
    return result
