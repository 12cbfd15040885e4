"""What the machine must have: a Python, a Java, room on its disk. What lacks is told in one sentence with the remedy.

Pure standard library, and readable by every Python from 3.8 on, as all of the set-up.
"""

from __future__ import annotations

import errno
import getpass
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
OLDEST_JAVA, TRIED_JAVAS = 17, (17, 21, 25)
GIGABYTE = 1024**3
JAVA_PLACES = (
    (Path("/usr/lib/jvm"), "*"),
    (Path("/Library/Java/JavaVirtualMachines"), "*/Contents/Home"),
    (Path("~/.sdkman/candidates/java"), "*"),
)


class Problem(Exception):
    """What is wrong and what helps, in one sentence."""


def answer(*command: str | Path) -> tuple[int, str]:
    """Exit code and all output of a short command; 127 where it cannot be started or does not end."""
    try:
        run = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return 127, str(error)
    return run.returncode, run.stdout


def install_command(apt: str, dnf: str, brew: str) -> str:
    """How this machine's package manager installs something."""
    for tool, command in (
        ("apt-get", f"'sudo apt-get install {apt}'"),
        ("dnf", f"'sudo dnf install {dnf}'"),
        ("brew", f"'brew install {brew}'"),
    ):
        if shutil.which(tool):
            return command
    return "your system's package manager"


def known_to_apt(*packages: str) -> str:
    """The first of the packages that this release has: Debian 13 has no Java 17. The first where it cannot be told."""
    for package in packages:
        code, said = answer("apt-cache", "policy", package)
        if code == 0 and re.search(r"Candidate: [^(\s]", said):
            return package
    return packages[0]


def python_fits(version: tuple[int, ...]) -> bool:
    return OLDEST_PYTHON <= tuple(version[:2]) <= NEWEST_PYTHON


def other_python() -> str | None:
    """A Python on the PATH that fits. Each is asked for its version: a version manager's shim may be a dead one."""
    for minor in range(NEWEST_PYTHON[1], OLDEST_PYTHON[1] - 1, -1):
        path = shutil.which(f"python3.{minor}")
        if path is None:
            continue
        code, said = answer(path, "-I", "-c", "import sys; print(*sys.version_info[:2])")
        if code == 0 and re.match(r"\d+ \d+$", said) and python_fits(tuple(map(int, said.split()))):
            return path
    return None


def ensure_python(version: tuple[int, ...]) -> str | None:
    """None where ``version`` fits, else the path of a Python that does. Neither: a problem."""
    if python_fits(version):
        return None
    path = other_python()
    if path is None:
        remedy = install_command("python3.11 python3.11-venv", "python3.11", "python@3.12")
        raise Problem(
            f"Python 3.11, 3.12 or 3.13 is needed, and this is Python {version[0]}.{version[1]}:"
            f" install one with {remedy}, or name one that you have with PYTHON=path."
        )
    return path


def java_path() -> Path | None:
    """The Java that Spark would take: JAVA_HOME before the PATH."""
    home = os.environ.get("JAVA_HOME")
    if home:
        return Path(home, "bin", "java")
    path = shutil.which("java")
    return Path(path) if path else None


def java_version(java: Path) -> int | None:
    """The major version, or None where this is no working Java."""
    code, said = answer(java, "-version")
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(match.group(1)) if match and code == 0 else None


def installed_java() -> Path | None:
    """The home of a Java that fits, at the places where systems keep them: to name it in a message."""
    for place, pattern in JAVA_PLACES:
        for home in sorted(place.expanduser().glob(pattern)):
            if java_version(home / "bin" / "java") in TRIED_JAVAS:
                return home
    return None


def ensure_java() -> tuple[Path, int]:
    """Path and major version of the Java that Spark will use."""
    java, home = java_path(), os.environ.get("JAVA_HOME")
    version = java_version(java) if java else None
    if java and version is not None and version >= OLDEST_JAVA:
        # Spark adds this module; small runtimes, such as those that come as Python packages, are built without it.
        code, _ = answer(java, "--add-modules", "jdk.incubator.vector", "-version")
        if code == 0:
            return java, version
        what = f"the Java at {java} lacks the module jdk.incubator.vector that Spark uses"
    elif java and version is not None:
        what = f"the one at {java} is Java {version}"
    elif home:
        what = f"JAVA_HOME is {home}, where there is no working Java"
    else:
        what = "there is no working one on the PATH"
    fitting = installed_java()
    if fitting:
        remedy = f"set JAVA_HOME={fitting}"
    else:
        java_of_apt = known_to_apt("openjdk-17-jre-headless", "openjdk-21-jre-headless", "openjdk-25-jre-headless")
        package = install_command(java_of_apt, "java-17-openjdk-headless", "openjdk@17")
        remedy = f"install it with {package}" + (" and unset JAVA_HOME" if home else "")
    raise Problem(f"Java 17 or newer is needed, and {what}: {remedy}.")


def java_mark(java: Path | None) -> list[str | int] | None:
    """Tells whether the Java of an earlier check is still the same, without starting it."""
    try:
        return [str(java.resolve()), int(java.stat().st_mtime)] if java else None
    except OSError:
        return None


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    while not path.exists():
        path = path.parent
    return path


def ensure_space(needs: dict[Path, int]) -> None:
    """Refuses where a file system has fewer bytes free than the folders on it need together."""
    devices: dict[int, list[Path]] = {}
    for path in needs:
        devices.setdefault(existing(path).stat().st_dev, []).append(path)
    for paths in devices.values():
        free, needed = shutil.disk_usage(existing(paths[0])).free, sum(needs[path] for path in paths)
        if free < needed:
            raise Problem(
                f"The disk of {existing(paths[0])} has {free / GIGABYTE:.1f} GB free, and the set-up needs"
                f" {needed / GIGABYTE:.1f} GB: free some space, or clone the repository to another disk."
            )


def can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def file_problem(path: str | Path, error: OSError) -> Problem:
    """The sentence for a file or folder that could not be used."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Problem(f"The disk of {path} is full: free some space and start again.")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return Problem(
            f"{path} cannot be written by user {getpass.getuser()}: clone the repository to a folder of your own, or"
            " mend the rights."
        )
    return Problem(f"{path} cannot be used ({error.strerror}): see to it and start again.")


NO_NETWORK = re.compile(
    r"NewConnectionError|Name or service not known|[Tt]emporary failure in name resolution|Failed to establish"
    r"|ConnectTimeout|ReadTimeout|ProxyError|dns error|error sending request|[Cc]onnection (?:refused|reset|timed out)"
    r"|tcp connect|Network is unreachable|operation timed out|Request failed after|UnknownHostException"
    r"|ConnectException|SocketTimeoutException|Host .* not found|No route to host"
)

NOT_TRUSTED = re.compile(r"PKIX path building failed|CERTIFICATE_VERIFY_FAILED|invalid peer certificate|UnknownIssuer")


def command_problem(what: str, output: str, log: Path) -> Problem:
    """The sentence for a program that failed with this output, kept in ``log``."""
    if re.search(r"No space left on device|Disk quota exceeded|os error 28\b", output):
        return Problem(f"The disk is full ({what}): free some space and start again.")
    if "ensurepip" in output:
        minor = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        command = install_command(f"{minor}-venv", minor, "python@3.12")
        return Problem(f"This Python cannot make virtual environments: install what it lacks with {command}.")
    if NOT_TRUSTED.search(output):
        return Problem(
            f"A certificate is not trusted ({what}), as behind a proxy that opens connections: give its authority to"
            " this system (update-ca-certificates, and for Java its cacerts), or name mirrors with PYPI_MIRROR and"
            " MAVEN_MIRROR."
        )
    if NO_NETWORK.search(output):
        return Problem(
            f"The network gave no answer ({what}): see to the connection and start again; behind a proxy set"
            " HTTPS_PROXY, and for mirrors PYPI_MIRROR and MAVEN_MIRROR."
        )
    if re.search(r"[Hh]ash mismatch|DO NOT MATCH THE HASHES", output):
        return Problem(
            f"A package was not installed, since it is not the one that the lock file names ({what}, see {log}):"
            " do without the proxy or mirror that altered it, and start again."
        )
    if re.search(r"Read-only file system|Permission denied|os error (?:13|30)\b", output):
        return Problem(f"A folder cannot be written ({what}): {log} tells which; mend its rights and start again.")
    return Problem(f"The set-up stopped at {what}: {log} has the last words of the program.")
