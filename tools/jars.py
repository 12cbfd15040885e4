"""Jars from their lock file, fetched by the Ivy that PySpark ships.

``conf/jars.lock`` has a line for each: the folder below ``.jars``, ``group:name:version`` and its sha256. Since every
jar is named, nothing is resolved; each is checked before it comes into its place by a rename.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import shutil
import tempfile
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import quoteattr

from tools.machine import Problem

OPTIONAL = ("s3",)
"""Folders that a set-up leaves out; see tools.s3_jars."""

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    Run = Callable[[str, list[str], Path], None]
    """Runs a program: what it does, the command, its folder."""


class Jar(NamedTuple):
    """A line of the lock file."""

    folder: str
    coordinates: str
    sha256: str

    @property
    def file(self) -> str:
        _, name, version = self.coordinates.split(":")
        return f"{name}-{version}.jar"

    def path(self, jars: Path) -> Path:
        return jars / self.folder / self.file


def read_lock(path: Path, only: str | None = None) -> list[Jar]:
    """The jars of a set-up, or those of one folder."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    return [
        Jar(folder, coordinates, sha256.split(":")[-1])
        for folder, coordinates, sha256 in rows
        if (folder == only if only else folder not in OPTIONAL)
    ]


def digest(path: Path) -> str:
    whole = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            whole.update(block)
    return whole.hexdigest()


def missing(locked: list[Jar], jars: Path) -> list[Jar]:
    return [jar for jar in locked if not jar.path(jars).exists()]


def remove_unlocked(locked: list[Jar], jars: Path) -> None:
    """What the lock file does not name, or names with another sha256, goes."""
    sha256 = {jar.path(jars): jar.sha256 for jar in locked}
    for folder in {path.parent for path in sha256}:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if sha256.get(path) != digest(path):
                path.unlink()


def install(locked: list[Jar], jars: Path, java: Path, ivy: Path, run: Run) -> None:
    """Brings ``jars`` to what the lock file says; sound jars are left alone."""
    remove_unlocked(locked, jars)
    downloads = missing(locked, jars)
    if not downloads:
        return
    work = Path(tempfile.mkdtemp(prefix="work-", dir=str(jars)))
    try:
        folders = sorted({jar.folder for jar in downloads})
        with concurrent.futures.ThreadPoolExecutor(len(folders)) as pool:
            runs = []
            for folder in folders:
                coordinates = [jar.coordinates for jar in downloads if jar.folder == folder]
                runs.append(pool.submit(fetch, work, folder, coordinates, java, ivy, run))
            for one in runs:
                one.result()
        for jar in downloads:
            place(jar, work, jars)
    finally:
        shutil.rmtree(str(work), ignore_errors=True)


def place(jar: Jar, work: Path, jars: Path) -> None:
    fetched = jar.path(work)
    if not fetched.exists():
        raise Problem(f"The jar {jar.coordinates} was not found: if MAVEN_MIRROR is set, see that it has this jar.")
    sha256 = digest(fetched)
    if sha256 != jar.sha256:
        raise Problem(
            f"The jar {jar.coordinates} was not installed, since it is not the one that conf/jars.lock names (its"
            f" sha256 is {sha256}): do without the proxy or mirror that altered it, and start again."
        )
    fetched.replace(jar.path(jars))


def fetch(
    work: Path,
    folder: str,
    coordinates: list[str],
    java: Path,
    ivy: Path,
    run: Run,
    transitive: bool = False,
    without: Collection[str] = (),
) -> None:
    """Lets Ivy put jars into ``work/folder``, by relative paths only: the project's own may have any character."""
    base = work / f"{folder}-ivy"
    base.mkdir()
    (base / "ivysettings.xml").write_text(settings(transitive), encoding="utf-8")
    (base / "ivy.xml").write_text(module(coordinates, transitive, without), encoding="utf-8")
    name = "[organisation]__[artifact]__[revision].[ext]" if transitive else "[artifact]-[revision].[ext]"
    command = [str(java), "-Duser.home=.", *proxy_options(), "-jar", str(ivy)]
    command += ["-settings", "ivysettings.xml", "-ivy", "ivy.xml", "-types", "jar", "bundle"]
    command += ["-retrieve", f"../{folder}/{name}"]
    run(f"fetching the jars of the {folder}", command, base)


def settings(transitive: bool) -> str:
    """MAVEN_MIRROR, or the repository that Ivy has built in. The cache is in the working folder, never in the home."""
    mirror = os.environ.get("MAVEN_MIRROR")
    root = "root=" + quoteattr(mirror.rstrip("/") + "/") if mirror else ""
    # Locked jars need no descriptor, and their sha256 is in the lock: one request for each jar instead of four.
    detail = 'usepoms="true" checksums="sha1"' if transitive else 'usepoms="false" checksums=""'
    return (
        '<ivysettings><settings defaultResolver="jars"/><caches defaultCacheDir="${ivy.settings.dir}/cache"/>'
        f'<resolvers><ibiblio name="jars" m2compatible="true" {detail} {root}/></resolvers></ivysettings>'
    )


def module(coordinates: list[str], transitive: bool, without: Collection[str] = ()) -> str:
    """The dependencies, for Ivy; ``without``: ``group:name`` that nobody gets, whoever asks for it."""
    conf = "default->runtime,master" if transitive else "default"
    dependencies = ""
    for one in coordinates:
        group, name, version = one.split(":")
        dependencies += (
            f'<dependency org="{group}" name="{name}" rev="{version}" transitive="{str(transitive).lower()}"'
            f' conf="{conf}"/>'
        )
    for one in sorted(without):
        group, name = one.split(":")
        dependencies += f'<exclude org="{group}" module="{name}"/>'
    return (
        '<ivy-module version="2.0"><info organisation="behavior" module="jars"/>'
        '<configurations><conf name="default"/></configurations>'
        f"<dependencies>{dependencies}</dependencies></ivy-module>"
    )


def proxy_options() -> list[str]:
    """HTTPS_PROXY and NO_PROXY, which Java does not read, as options that it does."""
    env = {name.upper(): value for name, value in os.environ.items() if value}
    proxy = env.get("HTTPS_PROXY") or env.get("ALL_PROXY")
    if not proxy:
        return []
    parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    options = []
    for scheme in ("http", "https"):
        options += [f"-D{scheme}.proxyHost={parts.hostname}", f"-D{scheme}.proxyPort={parts.port or 3128}"]
    hosts = [host.strip() for host in env.get("NO_PROXY", "").split(",") if host.strip()]
    if hosts:
        options.append("-Dhttp.nonProxyHosts=" + "|".join(f"*{host}" if host[0] == "." else host for host in hosts))
    return options
