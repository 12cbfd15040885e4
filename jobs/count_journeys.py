"""Count where people go: how many take which steps of a funnel, where the others go, and who comes back.

Reads tables events, features, scores and pattern_days with DuckDB, without Spark; writes nothing.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from features.errors import UsageError
from features.tables import EVENTS
from jobs.shared.days import parsed_day
from journeys import funnels
from journeys.acts import BEGINNING, TRAFFIC, Traffic, acts_in
from journeys.configured import Span, ends_of, funnel_of, how_of, span_of
from journeys.definitions import Funnel, step_of
from journeys.findings import find
from journeys.proposals import propose
from journeys.retention import AGES, Retention, retention
from lake.reader import LakeReader
from settings import Settings, cli, load_settings


def main(
    env: cli.Environment = "local",
    overrides: cli.Overrides = None,
    funnel: Annotated[str | None, typer.Option(help="One of journeys.funnels; all of them if left out.")] = None,
    step: Annotated[
        list[str] | None,
        typer.Option(
            help="A step of a funnel that conf does not have: ACTION, ACTION:PAGE or :PAGE; repeated, in order."
        ),
    ] = None,
    within: Annotated[
        float | None, typer.Option(help="Minutes from the first --step to the last [default: the same session].")
    ] = None,
    any_order: Annotated[bool, typer.Option("--any-order", help="The --step may come in any order.")] = False,
    since: Annotated[
        str | None,
        typer.Option(help="First UTC day, e.g. 2026-03-01 [default: journeys.days before the newest event]."),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Last UTC day [default: that of the newest event].")] = None,
    traffic: Annotated[
        str, typer.Option(help="Sessions: all, ordinary (no flagged minute in them), flagged.")
    ] = "ordinary",
) -> None:
    """Count funnels, findings and retention. Reads events, features, scores, pattern_days; writes nothing."""
    settings = load_settings(env, overrides or ())
    lake = LakeReader(settings.storage.root)
    span = _span(lake, settings, since, until)
    sessions = _traffic(traffic)
    console = Console(width=None if sys.stdout.isatty() else 120)
    acts, how = acts_in(lake, *span), how_of(settings, lake, sessions)
    chosen = _funnels(settings, funnel, step or [], within, any_order=any_order)
    proposed = [] if chosen else propose(acts, *span, **how)
    for each in chosen or proposed:
        _show_funnel(console, funnels.count(acts, each, *span, **how), is_proposed=bool(proposed))
    if funnel is None and not step:
        for one in find(acts, *span, **how, meant=ends_of((*chosen, *proposed))):
            console.print(f"- {one.text} For example {', '.join(one.examples)}.", markup=False, highlight=False)
        everything = acts_in(lake, BEGINNING, span[1])
        _show_retention(console, retention(everything, BEGINNING, *span, traffic=sessions), span)
    lake.close()


def _funnels(
    settings: Settings, name: str | None, steps: list[str], within: float | None, *, any_order: bool
) -> list[Funnel]:
    """What is asked for.

    Raises:
        UsageError: it makes no sense.
    """
    if name is not None and steps:
        raise UsageError(f"--funnel {name} and --step: found both, needed: one of them.")
    if not steps and (within is not None or any_order):
        raise UsageError("--within and --any-order: found without --step, whose funnel they are of.")
    if steps:
        window = None if within is None else timedelta(minutes=within)
        return [Funnel("steps", tuple(map(step_of, steps)), window, not any_order)]
    return [funnel_of(settings.journeys, each) for each in ([name] if name else settings.journeys.funnels)]


def _span(lake: LakeReader, settings: Settings, since: str | None, until: str | None) -> Span:
    """What is asked for.

    Raises:
        UsageError: that is nothing.
    """
    first, last = (
        None if text is None else parsed_day(text, option).date()
        for text, option in ((since, "--since"), (until, "--until"))
    )
    span = span_of(lake, settings.journeys.days, first, last)
    if span is None:
        raise UsageError(f"Table {EVENTS.name} under {lake.root} has no rows yet: nobody went anywhere.")
    return span


def _traffic(text: str) -> Traffic:
    found: list[Traffic] = [each for each in TRAFFIC if each == text]
    if not found:
        raise UsageError(f"--traffic {text}: needed: {', '.join(TRAFFIC)}.")
    return found[0]


def _show_funnel(console: Console, counted: funnels.Counted, *, is_proposed: bool) -> None:
    how = "within a session" if counted.funnel.within is None else f"within {counted.funnel.within}"
    order = "" if counted.funnel.in_order else ", in any order"
    name = f"{counted.funnel.name}{' (proposed)' if is_proposed else ''}"
    table = Table(title=f"{escape(name)}: people, {how}{order} ({counted.traffic} sessions)")
    for name in ("step", "people", "of the first", "of the step before", "median", "9 in 10 within"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for step in counted.steps:
        table.add_row(
            escape(step.name), f"{step.people:,}", _share(step.of_first), _share(step.of_previous),
            _seconds(step.seconds_median), _seconds(step.seconds_p90),
        )  # fmt: skip
    console.print(table)
    for way in counted.exits:
        what = "nothing more" if way.action is None else f"{way.action} {way.kind}"
        console.print(f"  after {way.step}: {way.people:,} do {what}", markup=False, highlight=False)


def _show_retention(console: Console, found: Retention, span: Span) -> None:
    if found.through is None:
        console.print(f"Who comes back: no day of {span[0]:%Y-%m-%d} to {span[1]:%Y-%m-%d} is over yet.")
        return
    ages = [age for age in AGES if any(age in cohort.on for cohort in found.cohorts)]
    table = Table(title="Who comes back: of those first seen on a day, the share seen again so many days later")
    for name in ("first seen", "people", *(f"day {age}" for age in ages)):
        table.add_column(name, justify="right")
    for cohort in found.cohorts:
        table.add_row(
            f"{cohort.day:%Y-%m-%d}", f"{cohort.people:,}", *(_share(cohort.on.get(age)) for age in ages)
        )  # fmt: skip
    console.print(table)
    table = Table(title="Day by day")
    for name in ("day", "people", "new", "returning", "back", "gone", "of the month's"):
        table.add_column(name, justify="right")
    for day in found.days:
        numbers = (day.people, day.new, day.returning, day.back, day.gone)
        table.add_row(f"{day.day:%Y-%m-%d}", *(f"{number:,}" for number in numbers), _share(day.stickiness))
    console.print(table)


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} s"


if __name__ == "__main__":
    cli.run(main)
