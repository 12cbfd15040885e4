"""Writes dist/sbom.cdx.json (``make sbom``): every package and jar that the lock files name, in one CycloneDX document.

Packages come from requirements.lock by cyclonedx-py; those that only developers need have the scope ``excluded``. Jars
come from conf/jars.lock, with the folder they are used in. What a package carries inside (PySpark its own jars) is part
of that package. The same lock files give the same document, byte for byte.
"""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.utils import canonicalize_name

from tools import jars, pack_environment
from tools.machine import Problem

TARGET = Path("dist/sbom.cdx.json")
VERSION = SchemaVersion.V1_6


def document(root: Path) -> dict[str, Any]:
    """The whole of it, validated against CycloneDX' schema.

    Raises:
        Problem: a lock file cannot be read, or the document is not valid.
    """
    bom = packages(root)
    bom["metadata"]["component"] = ours(root / "setup.cfg")
    bom["components"] = sorted([*bom["components"], *jar_components(root)], key=lambda one: str(one["bom-ref"]))
    references = {one["ref"] for one in bom["dependencies"]}
    bom["dependencies"] += [{"ref": one["bom-ref"]} for one in bom["components"] if one["bom-ref"] not in references]
    fault = JsonStrictValidator(VERSION).validate_str(json.dumps(bom))
    if fault is not None:
        raise Problem(f"The document does not fit CycloneDX' schema: {str(fault)[:500]}")
    return bom


def packages(root: Path) -> dict[str, Any]:
    """What cyclonedx-py makes of requirements.lock."""
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--output-reproducible", "--of", "JSON"]
    command += ["--sv", VERSION.to_version(), "--no-validate", str(root / "requirements.lock")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise Problem(f"cyclonedx-py could not read requirements.lock: {run.stderr.strip()[-500:]}")
    bom: dict[str, Any] = json.loads(run.stdout)
    used = pack_environment.needed(root / "setup.cfg") | pack_environment.OF_THE_CLUSTER
    for one in bom["components"]:
        one["bom-ref"] = one["purl"]
        one["scope"] = "required" if canonicalize_name(one["name"]) in used else "excluded"
    bom["dependencies"] = []
    return bom


def jar_components(root: Path) -> list[dict[str, Any]]:
    """A component for each jar; one that is used in several folders comes once."""
    lock = root / "conf" / "jars.lock"
    components: dict[str, dict[str, Any]] = {}
    for jar in [*jars.read_lock(lock), *(one for folder in jars.OPTIONAL for one in jars.read_lock(lock, folder))]:
        group, name, version = jar.coordinates.split(":")
        purl = PackageURL("maven", group, name, version).to_string()
        component = components.setdefault(
            purl,
            {
                "type": "library",
                "bom-ref": purl,
                "group": group,
                "name": name,
                "version": version,
                "scope": "required",
                "hashes": [{"alg": "SHA-256", "content": jar.sha256}],
                "purl": purl,
                "properties": [],
            },
        )
        component["properties"].append({"name": "behavior:folder", "value": jar.folder})
    return list(components.values())


def ours(setup: Path) -> dict[str, str]:
    """The platform itself, which the document is about."""
    parser = configparser.ConfigParser()
    parser.read(setup, encoding="utf-8")
    about = parser["metadata"]
    reference = f"{about['name']}@{about['version']}"
    return {"type": "application", "bom-ref": reference, "name": about["name"], "version": about["version"]}


def main() -> int:
    root = Path(__file__).absolute().parent.parent
    try:
        bom = document(root)
    except Problem as problem:
        print(f"sbom: {problem}", file=sys.stderr)
        return 1
    target = root / TARGET
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(bom, indent=1) + "\n", encoding="utf-8")
    kinds = [str(one["purl"]).partition("/")[0].removeprefix("pkg:") for one in bom["components"]]
    print(f"{TARGET}: {kinds.count('pypi')} packages, {kinds.count('maven')} jars, CycloneDX {VERSION.to_version()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
