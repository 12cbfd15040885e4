"""The reference part of the documentation, written from the code each time the site is built.

Nothing of it is committed: a setting, table, feature, job, endpoint or metric that changes, changes here by itself.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pyspark.sql.types import ArrayType, StructField, StructType

from features import events
from features.definitions import FEATURE_VERSION, FEATURES, Feature
from features.tables import TABLES, Table
from serving.app import create_app
from settings import Settings, cli, load_settings
from tools.packages import top_level
from training.model import features_of

PROJECT = Path(__file__).resolve().parents[1]
SECRET = "(secret)"
SHOWN_PRESETS = ("default", "plain")


def pages() -> dict[str, str]:
    """Markdown by its path under ``docs/``."""
    made: dict[str, Callable[[], str]] = {
        "settings": settings_page,
        "events": events_page,
        "tables": tables_page,
        "features": features_page,
        "jobs": jobs_page,
        "endpoints": endpoints_page,
        "metrics": metrics_page,
        "make": make_page,
        "modules": modules_page,
    }
    return {f"reference/{name}.md": page() for name, page in made.items()}


def settings_page() -> str:
    """Every setting: what it is called in ``conf/`` and in the environment, its value in each, and its limits."""
    about, values = _comments(), {env: _flat(_yaml(env)) for env in ("base", *environments())}
    parts = [
        "# Settings",
        (
            "`conf/base.yaml` holds every value, `conf/ENV.yaml` what differs in the environment that `--env` names. "
            "An environment variable goes before both, and `--set section.key=value` before all. An unknown name is "
            "refused. The variable is `BEHAVIOR_`, the section, two underscores and the key, all in capitals: "
            "`kafka.topic` is `BEHAVIOR_KAFKA__TOPIC`. Secrets are only read from the environment."
        ),
        "Lists and maps are written as YAML: `--set kafka.topics=[web,mobile]`.",
    ]
    for section, field in Settings.model_fields.items():
        kind = field.annotation
        if not (inspect.isclass(kind) and issubclass(kind, BaseModel)):
            continue
        rows = [
            _setting(f"{section}.{name}", key, about.get(f"{section}.{name}", ""), values)
            for name, key in kind.model_fields.items()
        ]
        parts += [f"## {section}", inspect.getdoc(kind) or "", _table(("setting", "meaning", "value", "may be"), rows)]
    single = [
        (f"`BEHAVIOR_{name.upper()}`", field.description or "", SECRET, "text")
        for name, field in Settings.model_fields.items()
        if _is_secret(field)
    ]
    parts += ["## Secrets without a section", _table(("variable", "meaning", "value", "may be"), single)]
    return _page(parts)


def setting_names() -> list[str]:
    """``section.key`` of every setting."""
    return [
        f"{section}.{name}"
        for section, field in Settings.model_fields.items()
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel)
        for name in field.annotation.model_fields
    ]


def environments() -> list[str]:
    """What ``--env`` may name."""
    return sorted(path.stem for path in (PROJECT / "conf").glob("*.yaml") if path.stem != "base")


def events_page() -> str:
    """The contract of an event, and why a record is none."""
    reasons = [(f"`{name}`", about) for name, about in events.REASONS.items()]
    return _page(
        [
            "# Events",
            (
                "What `ingest_events` takes, and the collector at the door. The fields are the first columns of table "
                "[events](tables.md#events)."
            ),
            *_docstring(events.__doc__ or ""),
            "## Why a record is rejected",
            "The reason stands in table [rejected_events](tables.md#rejected_events), in the order of validation.",
            _table(("reason", "when"), reasons),
        ]
    )


def tables_page() -> str:
    """Every table with its columns."""
    parts = [
        "# Tables",
        (
            "Delta tables under `storage.root`, one folder each. Times are UTC. In a *revised* table a key may have "
            "several rows: the one with the greatest `(batch_time, batch_id)` is valid (`features.revisions.latest`)."
        ),
        _table(("table", "what"), [(f"[{table.name}](#{table.name})", table.about) for table in TABLES.values()]),
    ]
    for table in TABLES.values():
        parts += [f"## {table.name}", f"{_sentence(table.about)} {_traits(table)}"]
        parts += [_table(("column", "type", "meaning"), list(_columns(table.schema)))]
    return _page(parts)


def features_page() -> str:
    """Every feature, and which of them the presets use."""
    used = {preset: set(features_of(preset)) for preset in SHOWN_PRESETS}
    rows = [
        (
            f"`{one.name}`",
            f"{one.meaning} ({one.unit}{_range(one)})",
            one.low,
            one.high,
            {"high": "the high end", "low": "the low end", None: "both ends"}[one.strange],
            ", ".join(preset for preset in SHOWN_PRESETS if one.name in used[preset]),
        )
        for one in FEATURES
    ]
    return _page(
        [
            "# Features",
            (
                f"One row per user and minute, version {FEATURE_VERSION}. *Session so far* means up to and including "
                "the row's minute; *own past* is the `features.own_past_minutes` before. Features without a value (no "
                "pause yet, no past) are null and count as typical."
            ),
            (
                "*Strange* is the end that a forest takes as strange; *used by* names the presets of `model.preset` "
                "that look at it. All are kept in the table."
            ),
            _table(("feature", "meaning", "low means", "high means", "strange", "used by"), rows),
        ]
    )


def job_names() -> list[str]:
    """Modules of ``jobs/`` that are commands."""
    return sorted(path.stem for path in (PROJECT / "jobs").glob("[a-z]*.py"))


def jobs_page() -> str:
    """Every job with its help."""
    parts = [
        "# Jobs",
        (
            "`python -m jobs.NAME --env local` and `spark-submit --py-files dist/behavior-jobs.zip jobs/NAME.py --env "
            "cluster` do the same. Exit codes: 0 done, 1 failed, 2 bad usage or configuration. `--help` prints what "
            "stands here."
        ),
        _table(
            ("job", "does"),
            [(f"[{name}](#{name})", _first(f"jobs.{name}")) for name in job_names()]
            + [("[the server](#serving)", _first("serving.__main__"))],
        ),
    ]
    for name in job_names():
        parts += [f"## {name}", *_command(f"jobs.{name}", f"python -m jobs.{name}")]
    parts += ["## serving", *_command("serving.__main__", "python -m serving")]
    return _page(parts)


def options_of(module: str) -> list[Any]:
    """The parameters of a job's command line, as Typer made them (``opts``, ``help``, ``default``, …)."""
    main: Callable[..., Any] = importlib.import_module(module).main
    return [one for one in typer.main.get_command(cli.app_of(main)).params if one.name != "help"]


def endpoints_page() -> str:
    """Every endpoint of the server, from its OpenAPI document."""
    parts = [
        "# Endpoints",
        (
            "The server (`python -m serving`, [`make run`](make.md)) answers these on `serving.host`:`serving.port`. "
            "The same as a document is at `/openapi.json`, and to be tried at `/docs`. What errors look like and who "
            "may ask: [the API](../how-to/api.md); what happens to events: [the collector](../how-to/collector.md)."
        ),
    ]
    for path, operations in openapi()["paths"].items():
        for method, operation in operations.items():
            parts += [f"## {method.upper()} {path}", *_operation(operation)]
    return _page(parts)


def openapi() -> dict[str, Any]:
    """The server's OpenAPI document."""
    return create_app(load_settings("local")).openapi()


def metrics_page() -> str:
    """Every series for Prometheus."""
    parts = [
        "# Metrics",
        (
            "Jobs answer Prometheus where `metrics.port` is set, the server at `/metrics`. A counter's series ends in "
            "`_total`, a histogram has `_bucket`, `_sum` and `_count`. Rules, dashboard and what to do when one fires: "
            "[runbook](../deploy/monitoring/runbook.md)."
        ),
    ]
    for title, folders in (("Jobs", sorted({*top_level()} - {"serving"})), ("Server", ["serving"])):
        metrics = [metric for folder in folders for metric in metrics_in(PROJECT / folder)]
        rows = [
            (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), about)
            for name, kind, about, labels in metrics
        ]
        parts += [f"## {title}", _table(("series", "type", "labels", "meaning"), rows)]
    return _page(parts)


def metrics_in(folder: Path) -> Iterator[tuple[str, str, str, list[str]]]:
    """Name, type, meaning and labels of each series that code under ``folder`` makes, in the order of the code."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) >= 2):
                continue
            kind, given = node.func.id, [_literal(one) for one in node.args]
            if kind in ("Counter", "Gauge", "Histogram") and str(given[0]).startswith("behavior_"):
                labels = next((_literal(one.value) for one in node.keywords if one.arg == "labelnames"), None)
                yield str(given[0]), kind.lower(), str(given[1]), list(labels or (given[2] if len(given) > 2 else []))


def make_page() -> str:
    """What ``make help`` prints."""
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):.*?## (.*)$", makefile, re.MULTILINE)
    notes = [line for line in re.findall(r'^\t@echo "(.*)"$', makefile, re.MULTILINE)[1:] if line]
    return _page(
        [
            "# Make targets",
            "Each target sets up first what it needs, once.",
            _table(("target", "does"), [(f"`make {name}`", about) for name, about in targets]),
            "```text\n" + "\n".join(notes) + "\n```",
        ]
    )


def modules_page() -> str:
    """Every module by package, in its own first line."""
    parts = ["# Modules", "What stands where; the picture of it is on the page [Architecture](../architecture.md)."]
    for package in (*top_level(), "tools", "benchmarks"):
        rows = [
            (f"`{path.relative_to(PROJECT).as_posix()}`", _first_line(path))
            for path in sorted((PROJECT / package).rglob("*.py"))
            if path.name != "__init__.py"
        ]
        parts += [f"## {package}", _table(("module", "what"), rows)]
    return _page(parts)


def _first_line(path: Path) -> str:
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return _code(said.partition("\n")[0])


def _page(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _code(text: str) -> str:
    """reStructuredText's marks as Markdown's."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")


def _docstring(text: str) -> Iterator[str]:
    """Unindented lines are headings of what is indented below them; the first paragraph has none."""
    first, *rest = inspect.cleandoc(text).split("\n\n", 1)
    yield _code(first).replace("->", "→")
    for block in re.split(r"\n(?=\S)", "\n".join(rest)):
        head, _, below = block.partition("\n")
        yield f"### {head}"
        yield _code(inspect.cleandoc(below))


def _yaml(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PROJECT / "conf" / f"{name}.yaml").read_text(encoding="utf-8")) or {}
    return loaded


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{section}.{key}": value for section, keys in values.items() for key, value in keys.items()}


def _comments() -> dict[str, str]:
    """What ``conf/base.yaml`` says beside each setting; "..." continues the line above."""
    section, comments, above = "", dict[str, str](), ""
    for line in (PROJECT / "conf" / "base.yaml").read_text(encoding="utf-8").splitlines():
        if opened := re.match(r"^(\w+):", line):
            section = opened[1]
        elif said := re.match(r"^  (\w+):.*?\s#\s(.*)$", line):
            name, text = said[1], said[2]
            text = f"({above}) {text}" if text.startswith("...") else text
            comments[f"{section}.{name}"] = text
            above = text if not text.startswith("(") else above
    return comments


def _setting(
    name: str, field: FieldInfo, comment: str, values: Mapping[str, Mapping[str, Any]]
) -> tuple[str, str, str, str]:
    """Row of a setting: name, meaning, values, limits."""
    if _is_secret(field):
        section, key = name.upper().split(".")
        meaning = field.description or comment
        return f"`{name}`", meaning, f"`BEHAVIOR_{section}__{key}` {SECRET}", "text"
    default = values["base"].get(name, field.get_default(call_default_factory=True))
    shown = [f"`{_written(default)}`"]
    shown += [f"{env}: `{_written(conf[name])}`" for env, conf in values.items() if env != "base" and name in conf]
    return f"`{name}`", comment or field.description or "", "; ".join(shown), _limits(field)


def _is_secret(field: FieldInfo) -> bool:
    kinds = (field.annotation, *get_args(field.annotation))
    return any(kind is SecretStr or SecretStr in get_args(kind) for kind in kinds)


def _written(value: Any) -> str:
    if value is None:
        return "null"
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).replace("\n...", "").strip()
    return text.strip("'\"")


def _limits(field: FieldInfo) -> str:
    """The type and what its values are bounded by."""
    limits = _kind(field.annotation)
    for rule in field.metadata:
        for sign, word in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            if (limit := getattr(rule, sign, None)) is not None:
                limits += f", {word} {limit:g}"
    return limits


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(f"`{one}`" for one in get_args(kind))
    choices = [one for one in get_args(kind) if one not in (type(None), ...)]
    if get_origin(kind) in (tuple, list):
        return "a list"
    if get_origin(kind) is dict:
        return "a map"
    if choices:
        named = _kind(choices[0])
        return f"{named} or `null`" if type(None) in get_args(kind) else named
    words = {int: "whole number", float: "number", str: "text", bool: "`true` or `false`"}
    return words.get(kind, "a time with an offset")


def _traits(table: Table) -> str:
    keys = ", ".join(f"`{key}`" for key in table.keys)
    traits = [
        f"Key: {keys}",
        f"time: `{table.time}`",
        f"laid out by {', '.join(f'`{one}`' for one in table.cluster_by)}",
    ]
    traits += ["revised"] if table.revised else []
    traits += ["made by the job that fills it"] if table.on_demand else []
    return "; ".join(traits) + "."


def _columns(schema: StructType, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    for field in schema.fields:
        kind, nested = field.dataType.simpleString(), _nested(field)
        if nested is not None:
            kind = "array of structs" if isinstance(field.dataType, ArrayType) else "struct"
        meaning = str(field.metadata.get("comment", ""))
        yield f"`{prefix}{field.name}`", kind if field.nullable else f"{kind}, never null", meaning
        if nested is not None:
            yield from _columns(nested, f"{prefix}{field.name}.")


def _nested(field: StructField) -> StructType | None:
    kind = field.dataType.elementType if isinstance(field.dataType, ArrayType) else field.dataType
    return kind if isinstance(kind, StructType) else None


def _range(feature: Feature) -> str:
    return f", {feature.least:g} to {feature.most:g}" if feature.most is not None else f", {feature.least:g} and more"


def _first(module: str) -> str:
    return _code((importlib.import_module(module).__doc__ or "").strip().splitlines()[0])


def _command(module: str, call: str) -> Iterator[str]:
    yield from (_code(part) for part in inspect.cleandoc(importlib.import_module(module).__doc__ or "").split("\n\n"))
    options = options_of(module)
    words = [f"{one.name.upper()}" if not one.opts[0].startswith("-") else "[OPTIONS]" for one in options]
    yield f"```text\n{call} {' '.join(dict.fromkeys(sorted(words)))}\n```"
    yield _table(("option", "meaning", "default"), [_option(one) for one in options])


def _option(one: Any) -> tuple[str, str, str]:
    name = one.opts[0] if one.opts[0].startswith("-") else one.name.upper()
    switch = bool(getattr(one, "is_flag", False))
    argument = "" if switch or not one.opts[0].startswith("-") else f" {one.metavar or one.name.upper()}"
    default = one.default() if callable(one.default) else one.default
    default = getattr(default, "value", default)
    needed = "needed" if one.required else "" if default in (None, False, ()) else f"`{default}`"
    return f"`{name}{argument}`", one.help or "", needed


def _operation(operation: Mapping[str, Any]) -> Iterator[str]:
    yield _code(operation.get("description", ""))
    parameters = [
        (f"`{one['name']}`", one["in"], _schema_kind(one["schema"]), one.get("description", ""))
        for one in operation.get("parameters", [])
    ]
    if parameters:
        yield _table(("parameter", "in", "type", "meaning"), parameters)
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        rows = list(_properties(content.get("schema", {})))
        yield f"Body, `{kind}`:" if rows else f"Body: `{kind}`"
        yield _table(("field", "type", "meaning"), rows) if rows else ""
    for status, answer in operation["responses"].items():
        schema: dict[str, Any] = next((one.get("schema", {}) for one in answer.get("content", {}).values()), {})
        if status.startswith("2") and (rows := list(_properties(schema))):
            yield f"Answer {status}: {answer['description']}"
            yield _table(("field", "type", "meaning"), rows)
    yield _table(("status", "means"), [(code, one["description"]) for code, one in operation["responses"].items()])


def _properties(schema: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """The fields of a JSON schema, nested ones dotted; the whole set of features is one row."""
    inner = schema
    while inner.get("type") == "array" or (len(inner.get("anyOf", ())) and "properties" not in inner):
        prefix += "[]." if inner.get("type") == "array" and prefix == "" else ""
        inner = inner.get("items") or next((one for one in inner.get("anyOf", ()) if one.get("type") != "null"), {})
    properties = dict(inner.get("properties", {}))
    if {one.name for one in FEATURES} <= properties.keys():
        yield f"`{prefix}FEATURE`", "number or null", "each by its name: see [features](features.md)"
        properties = {
            name: one for name, one in properties.items() if name not in {feature.name for feature in FEATURES}
        }
    for name, one in properties.items():
        yield f"`{prefix}{name}`", _schema_kind(one), one.get("description", "")
        yield from _properties(one, f"{prefix}{name}.")


def _schema_kind(schema: Mapping[str, Any]) -> str:
    if choices := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(_schema_kind(one) for one in choices))
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    kind = schema.get("type", "any")
    text = " or ".join(kind) if isinstance(kind, list) else str(kind)
    text = f"{text} ({schema['format']})" if "format" in schema else text
    low, high = schema.get("minimum"), schema.get("maximum")
    text += f", {low:g} to {high:g}" if low is not None and high is not None else ""
    return f"{text} = {schema['default']}" if schema.get("default") is not None else text


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
