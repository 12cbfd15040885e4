"""Show what the first records of a file become, by the contract or by a mapping; where there is none, propose one.

Reads a file of records, one a line (or an array); writes nothing. The topic's own mapping is taken from
``ingest.mappings``; a shipped one is tried with ``--mapping``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table as Printed
from rich.text import Text

from features.errors import UsageError
from features.events import ValidationRules
from features.schemas.mapping import EventMapping, mapping_of
from features.schemas.proposals import proposed
from features.schemas.shipped import SHIPPED
from features.validation import Event, Rejection
from features.verdicts import Source, verdicts_of
from replay.file_lines import lines
from replay.json_objects import object_in
from settings import cli, load_settings
from streams.rules import known_mapping, validation_rules

TRIED = 200
"""Records by which mappings are compared."""
SOURCE = "try_mapping"


def verdicts(values: Sequence[bytes], rules: ValidationRules, mapping: EventMapping | None) -> list[Event | Rejection]:
    """What ingest would say of the events in these records from a topic that has this mapping."""
    chosen, now = replace(rules, mappings={} if mapping is None else {SOURCE: mapping}), time.time_ns() // 1000
    return [verdict for value in values for _, verdict in verdicts_of(value, chosen, now, None, Source(SOURCE))]


def accepted(values: Sequence[bytes], rules: ValidationRules, mapping: EventMapping | None) -> float:
    """The share of the events in these records that are accepted."""
    found = verdicts(values, rules, mapping)
    return sum(isinstance(verdict, Event) for verdict in found) / len(found)


def best(values: Sequence[bytes], rules: ValidationRules) -> tuple[str | None, EventMapping | None]:
    """The shipped mapping by which most records are events, if more than without one and at least half are."""
    shares = {name: accepted(values, rules, mapping_of(name, spec)) for name, spec in SHIPPED.items()}
    name = max(shares, key=lambda one: shares[one])
    if shares[name] < 0.5 or shares[name] <= accepted(values, rules, None):
        return None, None
    return name, mapping_of(name, SHIPPED[name])


def show(found: Sequence[Event | Rejection], count: int, console: Console) -> None:
    """Print what the first records become, and how many of all are events."""
    table = Printed(title=f"the first {min(count, len(found))} events", title_justify="left")
    for title in ("", "user", "action", "page", "time", "else"):
        table.add_column(title)
    for number, verdict in enumerate(found[:count], 1):
        if isinstance(verdict, Rejection):
            why = f"{verdict.field or ''} {verdict.detail or ''}".strip()
            table.add_row(str(number), Text(f"{verdict.reason}: {why}"), "", "", "", "")
            continue
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(verdict.timestamp // 1_000_000))
        names = ", ".join(verdict.properties or ())
        table.add_row(str(number), Text(verdict.user_id), Text(verdict.action), Text(verdict.page), at, Text(names))
    console.print(table)
    events = sum(isinstance(verdict, Event) for verdict in found)
    console.print(f"{events:,} of {len(found):,} records are events.", highlight=False)


def main(
    file: Annotated[Path, typer.Option("--input", help="Records, one a line, or an array of them.")],
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    mapping: Annotated[str | None, typer.Option(help=f"A shipped mapping: {', '.join(SHIPPED)}.")] = None,
    topic: Annotated[str | None, typer.Option(help="The topic whose mapping in ingest.mappings is tried.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Records that are shown.")] = 10,
) -> None:
    """Show what records become as events, and propose a mapping where there is none. Reads a file; writes nothing."""
    settings = load_settings(env, overrides or ())
    rules = validation_rules(settings.ingest)
    values = [line.text for line in islice((line for line in lines(file) if line.text.strip()), TRIED)]
    if not values:
        raise UsageError(f"{file} has no records.")
    console = Console(soft_wrap=True)
    chosen = known_mapping("--mapping", mapping) if mapping is not None else rules.mappings.get(topic or "")
    spec: object = mapping
    if chosen is None and topic is not None:
        raise UsageError(f"ingest.mappings has none for {topic}; it has {', '.join(rules.mappings) or 'none'}.")
    if chosen is None and accepted(values, rules, None) < 0.5:
        name, chosen = best(values, rules)
        spec = name
        if chosen is None:
            records = [record for record in map(object_in, values) if record is not None]
            spec = proposed(records) if records else None
            chosen = None if spec is None else mapping_of("proposed", spec)
        told = "No mapping is found for them" if chosen is None else f"They look like {name or 'a schema of their own'}"
        console.print(f"Most records are no events of the contract. {told}.", highlight=False)
    show(verdicts(values, rules, chosen), count, console)
    if chosen is not None and topic is None:
        console.print("\nIn conf, for the topic that has such records:\n", highlight=False)
        plain = yaml.safe_dump({"ingest": {"mappings": {settings.kafka.topic: spec}}}, sort_keys=False)
        console.print(Text(plain), highlight=False)


if __name__ == "__main__":
    cli.run(main)
