"""The commands that the documentation tells people to type, and how they are run.

A comment before a fenced block says what the tests do with it: ``<!-- run -->`` runs it in each ``make test``,
``<!-- stack -->`` in one sequence with the whole platform (``make test-slow``), ``<!-- stack: server -->`` there too
while a server runs, ``<!-- not run: why -->`` not at all. Whatever stands there, jobs, options and settings must exist.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.paths import PROJECT

PAGES = (*sorted((PROJECT / "docs").rglob("*.md")), PROJECT / "README.md", PROJECT / "CONTRIBUTING.md")
BLOCK = re.compile(
    r"^(?:[ ]*<!-- (?P<mark>[a-z ]+)(?::(?P<note>[^\n]*))? -->\n)?"
    r"(?P<indent>[ ]*)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
CALL = re.compile(r"(?:-m (?P<module>jobs\.\w+|serving)|spark-submit[^`]*?jobs/(?P<file>\w+)\.py)\b(?P<rest>[^`\n]*)")
ENDS = re.compile(r"\s(?:#|\||&|;|>|<)")
LOCAL = "http://127.0.0.1:5000"


@dataclass(frozen=True)
class Block:
    """A fenced block. ``mark`` is run, stack, not run or empty; ``note`` what follows it after a colon."""

    page: Path
    line: int
    language: str
    mark: str
    note: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(PROJECT)}:{self.line}"


@dataclass(frozen=True)
class Call:
    """A job as a page calls it: the module, and the words after it."""

    place: str
    module: str
    words: list[str]


def blocks(page: Path) -> Iterator[Block]:
    """The shell and Python blocks of a page."""
    whole = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(whole):
        indent, line = found["indent"], whole[: found.start("text")].count("\n")
        text = "\n".join(one.removeprefix(indent) for one in found["text"].splitlines())
        if found["language"] in ("", "sh", "python"):
            mark, note = (found["mark"] or "").strip(), (found["note"] or "").strip()
            yield Block(page, line, found["language"], mark, note, text)


def calls(page: Path) -> Iterator[Call]:
    """Every call of a job or of the server on a page, in blocks and in sentences."""
    text = page.read_text(encoding="utf-8").replace("\\\n", "  ")
    for found in CALL.finditer(text):
        rest = ENDS.split(found["rest"], maxsplit=1)[0].rstrip(".,:)")
        module = found["module"] or f"jobs.{found['file']}"
        place = f"{page.relative_to(PROJECT)}:{text[: found.start()].count(chr(10)) + 1}"
        yield Call(place, "serving.__main__" if module == "serving" else module, shlex.split(rest.replace("…", "")))


def clone(target: Path) -> Path:
    """The project's files in ``target``, and its set-up by links: what a new user has after ``make setup``."""
    named = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, named.stdout.split("\0")):
        if (PROJECT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((PROJECT / name).read_bytes())
    for name in (".venv", ".jars"):
        (target / name).symlink_to(PROJECT / name)
    return target


def script(chosen: list[Block], port: int) -> str:
    """One shell script of the blocks in their order; stops at the first command that fails."""
    lines = ["set -euo pipefail", f"export BEHAVIOR_SERVING__PORT={port}"]
    for block in chosen:
        lines += [f"echo '### {block.place}'"]
        text = block.text.replace(LOCAL, f"http://127.0.0.1:{port}")
        if block.language == "python":
            text = f"python - <<'END_OF_BLOCK'\n{text}\nEND_OF_BLOCK"
        lines += [f"{SERVED}\n{text}\necho\nkill $server; wait $server" if block.note == "server" else text]
    return "\n".join(lines).replace("{port}", str(port)) + "\n"


SERVED = """python -m serving --env local & server=$!
trap 'kill $server 2>/dev/null || true' EXIT
curl -sS --retry 300 --retry-delay 2 --retry-all-errors --fail -o /dev/null http://127.0.0.1:{port}/ready"""


def run(commands: str, folder: Path, seconds: int) -> str:
    """Run a script in ``folder`` with the set-up's Python; its output.

    Raises:
        AssertionError: a command failed; the message has the end of the output.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BEHAVIOR_", "MAKE", "MFLAGS"))}
    path = f"{folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", commands],
        cwd=folder,
        env={**kept, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout
