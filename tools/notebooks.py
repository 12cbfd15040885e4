"""Starts JupyterLab on the notebooks with everything set (``make notebooks``); Ctrl-C twice ends it.

The kernels get the packages of this folder, the Java that the set-up found, and LOCAL, the folder of the run whose
tables are read. It listens on loopback only and asks for the token in the address it prints. Whatever Jupyter and
matplotlib keep goes to LOCAL/jupyter, so the home folder need not be written to, and no news are fetched from outside.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tools import machine

PROJECT = Path(__file__).absolute().parent.parent
DEFAULTS = {
    # A click on a .py file opens it as the notebook it is.
    "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"python": "Jupytext Notebook"}},
    "@jupyterlab/notebook-extension:tracker": {"autoStartDefaultKernel": True},  # there is only the one
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}


def environment(local: Path) -> dict[str, str]:
    """This process's environment with what Jupyter and its kernels need; ``local`` is the run's folder."""
    kept = local / "jupyter"
    java = machine.java_path()
    added = {
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "LOCAL": str(local),
        "BEHAVIOR_CONF_DIR": os.environ.get("BEHAVIOR_CONF_DIR") or str(PROJECT / "conf"),
        "JUPYTER_CONFIG_DIR": str(kept / "config"),
        "JUPYTER_DATA_DIR": str(kept / "data"),
        "JUPYTER_RUNTIME_DIR": str(kept / "runtime"),
        "IPYTHONDIR": str(kept / "ipython"),
        "MPLCONFIGDIR": str(kept / "matplotlib"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    if "JAVA_HOME" not in os.environ and java is not None:
        added["JAVA_HOME"] = str(Path(java).resolve().parent.parent)
    return {**os.environ, **added}


def command() -> list[str]:
    """Starts JupyterLab; a browser is opened only where there is a screen."""
    has_screen = sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return [
        *(sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={PROJECT}"),
        *(
            "--LabApp.default_url=/lab/tree/notebooks",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ),
        *([] if has_screen else ["--no-browser"]),
        *(["--allow-root"] if os.geteuid() == 0 else []),  # in a container everybody is
    ]


def main() -> None:
    local = PROJECT / (os.environ.get("LOCAL") or ".local")
    env = environment(local)
    settings = Path(env["JUPYTER_CONFIG_DIR"], "labconfig", "default_setting_overrides.json")
    try:
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(json.dumps(DEFAULTS), encoding="utf-8")
    except OSError as error:
        sys.exit(
            f"make notebooks: {settings.parent} cannot be written: {error.strerror}. Name another folder: LOCAL=dir."
        )
    if not (local / "lake").is_dir():
        print(f"make notebooks: there are no tables under {local} yet; `make run DURATION=180` makes some.", flush=True)
    os.execve(sys.executable, command(), env)


if __name__ == "__main__":
    main()
