"""The set-up: what it says when something lacks, and what it leaves alone."""

from __future__ import annotations

import ast
import errno
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import PROJECT
from tools import bootstrap, jars, machine
from tools.machine import Problem

DEAD = "exit 127"
OLD_JAVA = """echo 'openjdk version "11.0.2" 2019-01-15'"""
JAVA_8 = """echo 'java version "1.8.0_292"'"""
SMALL_JAVA = """test "$1" = -version && echo 'openjdk version "17.0.9"'"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH, on a machine with nothing else installed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(machine, "JAVA_PLACES", ())
    return folder


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the set-up needs of a clone, in a folder with blanks in its name."""
    root = tmp_path / "my  clone"
    shutil.copytree(PROJECT / "tools", root / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "conf").mkdir()
    for name in ("requirements.lock", "conf/bootstrap.lock", "conf/jars.lock"):
        shutil.copy(PROJECT / name, root / name)
    return root


def set_up(root: Path, **env: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "tools.bootstrap"]
    run = subprocess.run(command, cwd=root, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout + run.stderr


@pytest.mark.parametrize("name", ["bootstrap", "jars", "machine"])
def test_an_old_python_can_read_the_set_up(name: str) -> None:
    source = (PROJECT / "tools" / f"{name}.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 8))
    assert "from __future__ import annotations" in source


@pytest.mark.parametrize("version", [(3, 8, 18), (3, 10, 1), (3, 14, 0)])
@pytest.mark.usefixtures("path")
def test_a_python_that_does_not_fit_is_named_with_the_remedy(version: tuple[int, ...]) -> None:
    with pytest.raises(Problem, match=rf"or 3\.13 is needed, and this is Python {version[0]}\.{version[1]}: install"):
        machine.ensure_python(version)


def test_another_python_on_the_path_is_taken_but_no_dead_shim(path: Path) -> None:
    program(path / "python3.13", DEAD)
    program(path / "python3.12", "echo 3 12")
    assert machine.ensure_python((3, 9, 1)) == str(path / "python3.12")
    assert machine.ensure_python((3, 13, 5)) is None


@pytest.mark.parametrize(
    ("script", "found"),
    [
        (OLD_JAVA, "is Java 11"),
        (JAVA_8, "is Java 8"),
        (SMALL_JAVA, "lacks the module jdk.incubator.vector"),
        (DEAD, "there is no working one on the PATH"),
        (None, "there is no working one on the PATH"),
    ],
)
def test_a_java_that_spark_cannot_use_is_named_with_the_remedy(path: Path, script: str | None, found: str) -> None:
    if script:
        program(path / "java", script)
    program(path / "apt-get", "")
    with pytest.raises(Problem, match=rf"17 or newer .* {found}.*: install it with 'sudo apt-get install openjdk-17-"):
        machine.ensure_java()


def test_the_java_to_install_is_one_that_the_release_has(path: Path) -> None:
    program(path / "apt-get", "")
    known = "Candidate: 21.0.8+9-1"
    program(
        path / "apt-cache",
        f"""echo "$2:"; case $2 in openjdk-21-*) echo '  {known}';; openjdk-25-*) echo '  {known}'; esac""",
    )
    with pytest.raises(Problem, match="install it with 'sudo apt-get install openjdk-21-jre-headless'"):
        machine.ensure_java()
    program(path / "apt-cache", "echo '  Candidate: (none)'")
    with pytest.raises(Problem, match="install it with 'sudo apt-get install openjdk-17-jre-headless'"):
        machine.ensure_java()


def test_java_home_goes_before_the_path(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(path / "java", "echo 'openjdk version \"17.0.1\"'")
    assert machine.ensure_java() == (path / "java", 17)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nothing"))
    with pytest.raises(Problem, match=r"JAVA_HOME is .*nothing, where there is no working Java: .* unset JAVA_HOME"):
        machine.ensure_java()


@pytest.mark.usefixtures("path")
def test_a_java_elsewhere_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "jvm" / "jdk-21" / "bin" / "java", "echo 'openjdk version \"21\"'")
    program(tmp_path / "jvm" / "jdk-11" / "bin" / "java", OLD_JAVA)
    monkeypatch.setattr(machine, "JAVA_PLACES", ((tmp_path / "jvm", "*"),))
    with pytest.raises(Problem, match=r"set JAVA_HOME=.*jdk-21"):
        machine.ensure_java()


def test_folders_of_one_disk_need_their_space_together(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    machine.ensure_space({tmp_path / "a": free // 3, tmp_path / "b": free // 3})
    with pytest.raises(Problem, match=r"has [\d.]+ GB free, and the set-up needs [\d.]+ GB: free some space"):
        machine.ensure_space({tmp_path / "a": free // 3 * 2, tmp_path / "b" / "c": free // 3 * 2})


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "is full: free some space"),
        (errno.EROFS, "cannot be written by user"),
        (errno.EACCES, "cannot be written by user"),
        (errno.ENOTDIR, r"cannot be used \(Not a directory\)"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_sentence(number: int, sentence: str) -> None:
    problem = machine.file_problem("/x", OSError(number, os.strerror(number)))
    assert problem.args[0].startswith("/x") or problem.args[0].startswith("The disk of /x")
    with pytest.raises(Problem, match=sentence):
        raise problem


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("broken by 'NewConnectionError(...): Temporary failure in name resolution')", "The network gave no answer"),
        ("cause: dns error\n  cause: error resolving DNS", "The network gave no answer"),
        ("Server access error: java.net.UnknownHostException", "The network gave no answer"),
        (
            "javax.net.ssl.SSLHandshakeException: PKIX path building failed: unable to find",
            "certificate is not trusted",
        ),
        ("error sending request\n  cause: invalid peer certificate: UnknownIssuer", "certificate is not trusted"),
        ("failed to write file x.jar: No space left on device (os error 28)\ndns error", "The disk is full"),
        ("error: Failed to download `six==1.16.0`\n  cause: Hash mismatch for `six`", "not the one that the lock"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "not the one that the lock"),
        ("The virtual environment was not created because ensurepip is not available.", "cannot make virtual env"),
        ("error: failed to create directory: Permission denied (os error 13)", "A folder cannot be written"),
        ("something else", "The set-up stopped at doing it: .jars/doing-it.log has"),
    ],
)
def test_a_program_that_failed_is_one_sentence(output: str, sentence: str) -> None:
    with pytest.raises(Problem, match=sentence):
        raise machine.command_problem("doing it", output, Path(".jars/doing-it.log"))


def test_the_command_says_it_without_a_trace_and_leaves_no_half_set_up(checkout: Path, path: Path) -> None:
    program(path / "java", OLD_JAVA)
    code, said = set_up(checkout)
    assert code == 1
    assert said.startswith("set-up: Java 17 or newer is needed")
    assert said.count("\n") == 1
    assert not (checkout / ".venv").exists()


def test_a_folder_in_the_way_is_one_sentence(checkout: Path) -> None:
    (checkout / ".jars").touch()
    code, said = set_up(checkout)
    assert code == 1
    assert "cannot be used" in said
    assert said.count("\n") == 1


@pytest.mark.slow
def test_without_a_network_the_next_set_up_starts_over(checkout: Path, tmp_path: Path) -> None:
    code, said = set_up(checkout, PYPI_MIRROR="http://127.0.0.1:9/simple", HOME=str(tmp_path / "no" / "home"))
    assert code == 1
    assert said.splitlines()[-1].startswith("set-up: The network gave no answer (installing uv)")
    project = bootstrap.Project(checkout)
    assert project.venv_begun.exists()
    assert not project.venv_ready()


def test_a_second_set_up_waits_for_the_first(checkout: Path, path: Path) -> None:
    program(path / "java", OLD_JAVA)
    pipe = subprocess.PIPE
    with bootstrap.alone(bootstrap.Project(checkout)):
        second = subprocess.Popen(
            [sys.executable, "-m", "tools.bootstrap"], cwd=checkout, stdout=pipe, stderr=pipe, text=True
        )
        assert second.stdout is not None
        assert "another set-up is at work in this folder" in second.stdout.readline()
        assert second.poll() is None
    _, said = second.communicate(timeout=60)
    assert "Java 17 or newer is needed" in said


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def lock_of(**contents: str) -> list[jars.Jar]:
    return [jars.Jar("spark", f"org.x:{name}:1.0", sha256(text)) for name, text in contents.items()]


class Server:
    """Stands for Ivy: puts what it serves where Ivy would, and remembers what it was asked for."""

    def __init__(self, **contents: str) -> None:
        self.contents = contents
        self.asked: list[str] = []

    def __call__(self, what: str, command: list[str], folder: Path) -> None:
        wanted = (folder / "ivy.xml").read_text(encoding="utf-8")
        target = folder.parent / "spark"
        target.mkdir()
        for name, text in self.contents.items():
            if f'name="{name}"' in wanted:
                self.asked.append(name)
                (target / f"{name}-1.0.jar").write_text(text, encoding="utf-8")


def install(locked: list[jars.Jar], folder: Path, server: Server) -> list[str]:
    jars.install(locked, folder, Path("java"), Path("ivy.jar"), server)
    assert {path.name for path in folder.iterdir()} == {"spark"}
    return sorted(path.name for path in (folder / "spark").iterdir())


def test_only_what_lacks_or_is_damaged_is_fetched_and_what_is_not_locked_goes(tmp_path: Path) -> None:
    locked = lock_of(a="A", b="B")
    assert install(locked, tmp_path, Server(a="A", b="B")) == ["a-1.0.jar", "b-1.0.jar"]
    (tmp_path / "spark" / "b-1.0.jar").write_text("half of B", encoding="utf-8")
    (tmp_path / "spark" / "c-1.0.jar").write_text("of an older lock file", encoding="utf-8")
    server = Server(a="A", b="B")
    assert install(locked, tmp_path, server) == ["a-1.0.jar", "b-1.0.jar"]
    assert server.asked == ["b"]


def test_an_altered_jar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"org\.x:a:1\.0 was not installed, since it is not the one that conf/jars\.lock"):
        install(lock_of(a="A"), tmp_path, Server(a="something else"))
    assert not list((tmp_path / "spark").iterdir())


def test_a_jar_that_a_mirror_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"org\.x:a:1\.0 was not found: if MAVEN_MIRROR is set"):
        install(lock_of(a="A"), tmp_path, Server())


def test_mirrors_and_proxies_reach_ivy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAVEN_MIRROR", "https://mirror.example/maven?a=1&b=2")
    assert 'root="https://mirror.example/maven?a=1&amp;b=2/"' in jars.settings(transitive=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:8080")
    monkeypatch.setenv("NO_PROXY", "localhost,.example.org")
    options = jars.proxy_options()
    assert {"-Dhttps.proxyHost=proxy.example", "-Dhttps.proxyPort=8080"} <= set(options)
    assert "-Dhttp.nonProxyHosts=localhost|*.example.org" in options


def test_uv_trusts_the_authorities_of_the_system_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = bootstrap.Project(PROJECT)
    packages = bootstrap.Packages(project, bootstrap.Programs(project, 0))
    monkeypatch.delenv("UV_SYSTEM_CERTS", raising=False)
    assert packages.environment()["UV_SYSTEM_CERTS"] == "true"
    monkeypatch.setenv("UV_SYSTEM_CERTS", "false")
    assert packages.environment()["UV_SYSTEM_CERTS"] == "false"


def test_what_the_lock_files_name_is_here() -> None:
    project = bootstrap.Project(PROJECT)
    assert project.venv_ready()
    assert project.jars_ready()
