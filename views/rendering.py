"""Views as the statements that an engine takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from graphlib import TopologicalSorter
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from features.errors import UsageError
from features.tables import TABLES

SOURCE = "behavior"
"""dbt's name for the tables of the platform."""
_REFERENCES = re.compile(r"ref\(\"(\w+)\"\)")
_TABLES = re.compile(r"source\(\"behavior\", \"(\w+)\"\)")

Named = Callable[[str], str]
"""How an engine calls a table, by its name."""


@dataclass(frozen=True)
class View:
    """A view.

    Attributes:
        about: the comment at its head.
        body: its query, with references as dbt has them.
        of: names of the views that it reads.
        tables: names of the tables that it reads itself.
    """

    name: str
    about: str
    body: str
    of: tuple[str, ...]
    tables: tuple[str, ...]

    def query(self, table: Named, view: Named = str) -> str:
        """The query, with tables and views as an engine calls them.

        Raises:
            UsageError: it names a table that is none.
        """

        def source(_: str, name: str) -> str:
            if name not in TABLES:
                raise UsageError(f"View {self.name}: found no table {name!r}; there are: {', '.join(sorted(TABLES))}.")
            return table(name)

        # SQL is no markup: nothing is to be escaped, and nothing but these names of ours is filled in.
        environment = Environment(undefined=StrictUndefined, keep_trailing_newline=False)
        return environment.from_string(self.body).render(source=source, ref=view).strip()


def views() -> list[View]:
    """All of them, each after those that it reads."""
    found = {}
    for file in sorted((files("views") / "sql").iterdir(), key=lambda each: each.name):
        if file.name.endswith(".sql"):
            name, text = file.name.removesuffix(".sql"), file.read_text(encoding="utf-8")
            head = [line.removeprefix("--").strip() for line in text.splitlines() if line.startswith("--")]
            body = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
            read = tuple(tuple(dict.fromkeys(pattern.findall(body))) for pattern in (_REFERENCES, _TABLES))
            found[name] = View(name, " ".join(head), body, *read)
    order = TopologicalSorter({name: view.of for name, view in found.items()}).static_order()
    return [found[name] for name in order]


def named_tables(schema: str) -> Named:
    """Tables that a catalog knows by name, such as Trino's; ``schema`` may have a catalog before it, or be empty."""
    return lambda name: f"{schema}.{name}" if schema else name


def statements(
    table: Named, *, there: Collection[str] | None = None, temporary: bool = False, schema: str = ""
) -> list[str]:
    """A statement for each view, in an order in which they can be run.

    Args:
        there: names of the tables that there are; for a view of others there is a comment in its place.
    """
    kind = "TEMPORARY VIEW" if temporary else "VIEW"
    own = named_tables(schema)
    made: list[str] = []
    lacking: dict[str, str] = {}
    for view in views():
        absent = [name for name in view.tables if there is not None and name not in there]
        absent += [lacking[name] for name in view.of if name in lacking]
        if absent:
            lacking[view.name] = absent[0]
            made.append(f"-- {view.name} is left out: there is no table {absent[0]} yet.")
        else:
            made.append(f"-- {view.about}\nCREATE OR REPLACE {kind} {own(view.name)} AS\n{view.query(table, own)};")
    return made
