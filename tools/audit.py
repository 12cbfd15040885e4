"""Asks for known vulnerabilities of everything that the lock files name (``make audit``).

Packages are asked for by pip-audit, jars by their package URLs, both at an advisory database that speaks OSV's protocol
(OSV_URL names another one than osv.dev). Exit codes: 0 looked and nothing is known, 1 something is known, 3 it could
not look at all of them, which is never told as nothing known.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from tools import sbom

OSV = "https://api.osv.dev"
SECONDS = 30.0
SOME, UNKNOWN = 1, 3


@dataclass(frozen=True)
class Looked:
    """What was found: the things that were looked at, and a line for each known vulnerability of one of them."""

    things: int
    known: tuple[str, ...]


class CannotLookError(Exception):
    """The database could not be asked; says why."""


def packages(root: Path, address: str) -> Looked:
    """The packages of requirements.lock, by pip-audit.

    Raises:
        CannotLookError: it could not ask, or left a package out.
    """
    lock = root / "requirements.lock"
    command = [sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--require-hashes", "--format", "json"]
    command += ["--progress-spinner", "off", "--timeout", f"{SECONDS:.0f}"]
    command += ["--vulnerability-service", "osv", "--osv-url", f"{address}/v1/query", "-r", str(lock)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        dependencies = json.loads(run.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        said = [line for line in run.stderr.splitlines() if line.strip()]
        raise CannotLookError(said[-1][:300] if said else f"pip-audit ended with {run.returncode}") from None
    left_out = [one["name"] for one in dependencies if "skip_reason" in one]
    if left_out or not dependencies:
        raise CannotLookError(f"pip-audit left out {', '.join(left_out) or 'everything'}")
    known = [
        f"{one['name']} {one['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'none'}"
        for one in dependencies
        for fault in one["vulns"]
    ]
    return Looked(len(dependencies), tuple(known))


def jars(root: Path, address: str) -> Looked:
    """The jars of conf/jars.lock.

    Raises:
        CannotLookError: the database cannot be asked, or its answer is not one for each jar.
    """
    names = [str(one["purl"]) for one in sbom.jar_components(root)]
    queries = [{"package": {"purl": name}} for name in names]
    try:
        answer = httpx.post(f"{address}/v1/querybatch", json={"queries": queries}, timeout=SECONDS).raise_for_status()
        results = answer.json()["results"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise CannotLookError(f"{type(error).__name__}: {str(error)[:200]}") from None
    if len(results) != len(names):
        raise CannotLookError(f"{len(results)} answers to {len(names)} questions")
    known = [
        f"{name}: {one['id']}" for name, result in zip(names, results, strict=True) for one in result.get("vulns", [])
    ]
    return Looked(len(names), tuple(known))


def audit(root: Path, address: str) -> int:
    """Look at both, tell it, and return the exit code."""
    code = 0
    for what, look in (("packages of requirements.lock", packages), ("jars of conf/jars.lock", jars)):
        try:
            looked = look(root, address)
        except CannotLookError as error:
            print(
                f"audit: the {what} were NOT looked at: {address} could not be asked ({error}). Run it where that is "
                "reached, or name another one with OSV_URL.",
                file=sys.stderr,
            )
            code = code or UNKNOWN
            continue
        summary = f"{len(looked.known)} known vulnerabilities" if looked.known else "no known vulnerability"
        print(f"audit: {looked.things} {what}: {summary}")
        for line in looked.known:
            print(f"  {line}")
            code = SOME
    return code


def main() -> int:
    root = Path(__file__).absolute().parent.parent
    return audit(root, (os.environ.get("OSV_URL") or OSV).rstrip("/"))


if __name__ == "__main__":
    sys.exit(main())
