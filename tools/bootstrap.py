"""Sets the project up: a virtual environment from requirements.lock, and the jars of conf/jars.lock.

``python3 -m tools.bootstrap`` as often as you like: what is there is not touched, and then no network is needed.
All is kept in ``.venv`` and ``.jars`` of this folder, nothing is installed system-wide. A killed set-up is repaired by
the next one: the stamps are written last. PYPI_MIRROR and MAVEN_MIRROR name mirrors, HTTPS_PROXY a proxy, UV_CACHE_DIR
another cache of downloads.

Pure standard library, and readable by every Python from 3.8 on, so that it can say that a Python is too old.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tools import jars, machine
from tools.jars import digest
from tools.machine import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    import fcntl
except ImportError:
    sys.exit("set-up: Windows itself is not supported: use the Windows Subsystem for Linux.")

VENV_BYTES, CACHE_BYTES, JARS_BYTES = 2 * machine.GIGABYTE, 2 * machine.GIGABYTE, machine.GIGABYTE // 5
LOG_STORE_SOURCE = Path("tools/java/behavior/LocalLogStore.java")
PYTHON_VARIABLES = {"PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__"}
INSTALL_OPTIONS = re.compile(
    r"PIP_(TARGET|PREFIX|USER|REQUIRE_VIRTUALENV|CONSTRAINT|NO_BINARY|NO_DEPS)"
    r"|UV_(PYTHON|SYSTEM_PYTHON|TARGET|PREFIX|CONSTRAINT|BUILD_CONSTRAINT|OVERRIDE|OFFLINE|NO_DEPS)"
)


def say(text: str) -> None:
    print(f"set-up: {text}", flush=True)


def read_stamp(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_stamp(path: Path, content: dict[str, object]) -> None:
    """In one step: after a kill there is the old file or the new one."""
    new = path.with_suffix(".new")
    with new.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(str(path))
    else:
        path.unlink()


class Project:
    """The paths of one checkout, and what of its set-up is ready."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.jars = root / ".jars"
        self.python = self.venv / "bin" / "python"
        self.uv = self.venv / "bin" / "uv"
        self.packages_lock = root / "requirements.lock"
        self.tools_lock = root / "conf" / "bootstrap.lock"
        self.jars_lock = root / "conf" / "jars.lock"
        self.log_store = self.jars / "spark" / "behavior-local-log-store.jar"
        self.venv_stamp = self.venv / "stamp.json"
        self.venv_begun = self.venv / "begun"
        self.jars_stamp = self.jars / "stamp.json"
        self.java_stamp = self.jars / "java.json"

    def venv_fingerprint(self) -> dict[str, object]:
        return {
            "packages": digest(self.packages_lock),
            "tools": digest(self.tools_lock),
            "interpreter": str(self.python.resolve()),
        }

    def venv_ready(self) -> bool:
        # A link to a Python that has been removed since does not exist.
        return self.python.exists() and read_stamp(self.venv_stamp) == self.venv_fingerprint()

    def jars_fingerprint(self) -> dict[str, object]:
        return {"jars": digest(self.jars_lock), "log_store": digest(self.root / LOG_STORE_SOURCE)}

    def jars_ready(self) -> bool:
        stamped = read_stamp(self.jars_stamp) == self.jars_fingerprint() and self.log_store.exists()
        return stamped and not jars.missing(jars.read_lock(self.jars_lock), self.jars)

    def ready(self) -> bool:
        mark = machine.java_mark(machine.java_path())
        known = mark is not None and read_stamp(self.java_stamp).get("java") == mark
        return known and self.venv_ready() and self.jars_ready()


class Programs:
    """Runs programs, their output in log files. :meth:`end` stops all, when one has failed."""

    def __init__(self, project: Project, lock: int) -> None:
        self.project = project
        self.lock = lock
        self.running: list[subprocess.Popen[bytes]] = []
        self.mutex = threading.Lock()
        self.ended = False

    def run(self, what: str, command: list[str], folder: Path, env: dict[str, str] | None = None) -> None:
        log = self.project.jars / f"{what.replace(' ', '-')}.log"
        with log.open("wb") as output:
            with self.mutex:
                if self.ended:
                    raise Problem(f"The set-up stopped before {what}.")
                # The programs hold the set-up's lock too: if we are killed, the next set-up waits until they are gone.
                process = subprocess.Popen(
                    command,
                    env=clean_environment() if env is None else env,
                    cwd=str(folder),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(self.lock,),
                )
                self.running.append(process)
            code = process.wait()
        if code != 0:
            output_text = log.read_text(encoding="utf-8", errors="replace")
            raise machine.command_problem(what, output_text, log.relative_to(self.project.root))
        log.unlink()

    def end(self) -> None:
        with self.mutex:
            self.ended = True
        for process in self.running:
            if process.poll() is None:
                process.terminate()
                process.wait()


def clean_environment() -> dict[str, str]:
    """The environment without what would lead pip or uv to another place than our .venv."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in PYTHON_VARIABLES and not INSTALL_OPTIONS.fullmatch(name)
    }


class Packages:
    """The virtual environment and what is in it."""

    def __init__(self, project: Project, programs: Programs) -> None:
        self.project = project
        self.programs = programs
        self.cache = usual_cache()
        self.private_cache = not machine.can_write(self.cache)
        if self.private_cache:  # the home folder cannot be written
            self.cache = project.jars / "cache"

    def make_venv(self) -> None:
        """Takes the environment that is there; one whose making was interrupted is made anew."""
        project = self.project
        if project.venv_begun.exists() or not self.sound():
            project.venv.mkdir(exist_ok=True)
            project.venv_begun.touch()
            for path in project.venv.iterdir():
                if path != project.venv_begun:
                    remove(path)
            say("virtual environment in .venv")
            self.run("making the virtual environment", sys.executable, "-I", "-m", "venv", ".venv")
        project.venv_begun.touch()
        if project.venv_stamp.exists():
            project.venv_stamp.unlink()

    def sound(self) -> bool:
        """Whether the interpreter works, has pip, and looks for packages where they are (else: a system upgrade)."""
        program = "import pip, sysconfig; print(sysconfig.get_path('purelib'))"
        code, said = machine.answer(self.project.python, "-I", "-c", program)
        return code == 0 and Path(said.strip()).is_dir()

    def install_uv(self) -> None:
        options = ["--quiet", "--retries", "1", "--require-hashes", "--no-deps"]
        options += ["--no-cache-dir"] if self.private_cache else []
        pip = [str(self.project.python), "-I", "-m", "pip", "install", *options]
        with self.locked(self.project.tools_lock, "uv") as lines:
            self.run("installing uv", *pip, "-r", lines)

    def install_pyspark(self) -> None:
        """First and alone: it is half of the work, and Ivy, which fetches the jars meanwhile, is a part of it."""
        with self.locked(self.project.packages_lock, "pyspark") as lines:
            self.uv_pip("installing pyspark", "install", "--no-deps", "-r", lines)

    def install_rest(self) -> None:
        self.uv_pip("installing packages", "sync", "requirements.lock")

    def finish(self) -> None:
        if self.private_cache:
            shutil.rmtree(str(self.cache), ignore_errors=True)
        write_stamp(self.project.venv_stamp, self.project.venv_fingerprint())
        self.project.venv_begun.unlink()

    @contextlib.contextmanager
    def locked(self, lock: Path, name: str) -> Iterator[str]:
        """A file with one package's lines of a lock file: its version, then its hashes."""
        match = re.search(rf"^{name}==.*\n(?: .*\n)*", lock.read_text(encoding="utf-8"), re.MULTILINE)
        if not match:
            raise Problem(f"{lock.name} has no line for {name}: renew it with 'make lock'.")
        folder = str(self.project.jars)
        with tempfile.NamedTemporaryFile("w", prefix="work-", suffix=".txt", dir=folder, encoding="utf-8") as file:
            file.write(match.group())
            file.flush()
            yield file.name

    def uv_pip(self, what: str, *arguments: str) -> None:
        options = ["--python", ".venv/bin/python", "--require-hashes", "--build-constraints", "conf/bootstrap.lock"]
        self.run(what, str(self.project.uv), "pip", *arguments, *options)

    def run(self, what: str, *command: str) -> None:
        self.programs.run(what, list(command), self.project.root, self.environment())

    def environment(self) -> dict[str, str]:
        """The mirror for pip and uv, and pip's own configuration told to uv, which does not read it."""
        env = clean_environment()
        env.update(UV_CACHE_DIR=str(self.cache), PIP_DISABLE_PIP_VERSION_CHECK="1", UV_NO_PROGRESS="1")
        env.setdefault("UV_SYSTEM_CERTS", "true")  # else uv trusts its own list, not what was given to the system
        mirror = os.environ.get("PYPI_MIRROR")
        if mirror:
            env.update(PIP_INDEX_URL=mirror, UV_DEFAULT_INDEX=mirror)
            env.pop("UV_INDEX_URL", None)
            return env
        _, said = machine.answer(self.project.python, "-I", "-m", "pip", "config", "list")
        pip = dict(re.findall(r"^(?:global|install|:env:)\.([\w-]+)='(.*)'$", said, re.MULTILINE))
        if "index-url" in pip and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & set(env):
            env["UV_DEFAULT_INDEX"] = pip["index-url"]
        if "cert" in pip:
            env.setdefault("SSL_CERT_FILE", pip["cert"])
        return env


def usual_cache() -> Path:
    """Where uv keeps its downloads for all projects of a user."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(os.environ.get("UV_CACHE_DIR") or Path(home, "uv")).absolute()


def install_jars(project: Project, programs: Programs, java: Path) -> None:
    if project.jars_stamp.exists():
        project.jars_stamp.unlink()
    jars.install(jars.read_lock(project.jars_lock), project.jars, java, ivy_jar(project), programs.run)


def build_log_store(project: Project, programs: Programs) -> None:
    """Last: it needs the packages and the jars."""
    programs.run("building the log store", [str(project.python), "-m", "tools.log_stores"], project.root)
    write_stamp(project.jars_stamp, project.jars_fingerprint())


def make_class_archive(project: Project, *, anew: bool) -> None:
    """Let another process make what jobs start sooner with (``tools.class_data``), when nobody else needs the cores.

    It takes a minute or some, and jobs start without it as well; so nobody waits for it.
    """
    nice, folder = shutil.which("nice"), project.jars / "classes"
    if nice is None or (any(folder.glob("*.jsa")) and not anew):
        return
    folder.mkdir(exist_ok=True)
    with (folder / "log").open("w", encoding="utf-8") as log:
        subprocess.Popen(
            [nice, "-n", "19", str(project.python), "-m", "tools.class_data"],
            cwd=project.root,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def ivy_jar(project: Project) -> Path:
    for path in project.venv.glob("lib/python3*/site-packages/pyspark/jars/ivy-[0-9]*.jar"):
        return path
    raise Problem("PySpark's ivy jar is not in .venv: remove the folder .venv and start again.")


@contextlib.contextmanager
def alone(project: Project) -> Iterator[int]:
    """Only one set-up works in a folder at a time, others wait for it. Gives the lock's file descriptor."""
    try:
        project.jars.mkdir(exist_ok=True)
        file = (project.jars / ".lock").open("a")
    except OSError as error:
        raise machine.file_problem(project.root, error) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another set-up is at work in this folder; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def set_up(project: Project, lock: int) -> None:
    """All that is not ready. Jars are fetched while packages are installed."""
    started = time.monotonic()
    java, version = machine.ensure_java()
    if version not in machine.TRIED_JAVAS:
        say(f"Java {version} has not been tried with this Spark; should something fail, use Java 17, 21 or 25")
    packages_ready, jars_ready = project.venv_ready(), project.jars_ready()
    programs = Programs(project, lock)
    packages = Packages(project, programs)
    needs = {} if jars_ready else {project.jars: JARS_BYTES}
    if not packages_ready and not project.venv_stamp.exists():
        needs.update({project.venv: VENV_BYTES, packages.cache: CACHE_BYTES})
    machine.ensure_space(needs)
    if not (packages_ready and jars_ready):
        say(f"Python {sys.version_info[0]}.{sys.version_info[1]}, Java {version}; this takes a minute or two, once")
    for left in project.jars.glob("work-*"):  # by a set-up that was killed
        remove(left)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        try:
            if not packages_ready:
                packages.make_venv()
                say("pyspark (450 MB)")
                wait(pool.submit(packages.install_uv), started=started)
                wait(pool.submit(packages.install_pyspark), started=started)
                say("the other packages of requirements.lock")
            if not jars_ready:
                say("the jars of conf/jars.lock")
            wait(
                *([] if packages_ready else [pool.submit(packages.install_rest)]),
                *([] if jars_ready else [pool.submit(install_jars, project, programs, java)]),
                started=started,
            )
            if not jars_ready:
                wait(pool.submit(build_log_store, project, programs), started=started)
        finally:
            programs.end()
    if not packages_ready:
        packages.finish()
    write_stamp(project.java_stamp, {"java": machine.java_mark(java)})
    if not (packages_ready and jars_ready):
        say(f"ready after {time.monotonic() - started:.0f} s")
    make_class_archive(project, anew=not (packages_ready and jars_ready))


def wait(*runs: concurrent.futures.Future[None], started: float) -> None:
    """Waits for all, with a sign of life now and then; the first failure is raised."""
    waiting = set(runs)
    while waiting:
        done, waiting = concurrent.futures.wait(waiting, 20, return_when=concurrent.futures.FIRST_EXCEPTION)
        for run in done:
            run.result()
        if waiting and not done:
            say(f"still at it after {time.monotonic() - started:.0f} s")


def bootstrap(root: Path) -> None:
    project = Project(root)
    if project.ready():
        return
    other = machine.ensure_python(sys.version_info[:3])
    if other:
        os.chdir(str(root))
        os.execv(other, [other, "-m", "tools.bootstrap"])
    with alone(project) as lock:
        if not project.ready():
            set_up(project, lock)


def main() -> int:
    if len(sys.argv) > 1:
        print(__doc__)
        return 0 if sys.argv[1:] == ["--help"] else 2
    root = Path(__file__).absolute().parent.parent
    try:
        bootstrap(root)
    except Problem as problem:
        print(f"set-up: {problem}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"set-up: {machine.file_problem(error.filename or root, error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up: interrupted; the next start goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
