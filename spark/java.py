"""The Java of this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from features.errors import EnvironmentProblem

NEEDED = "Java 17 or newer is needed: set JAVA_HOME to its folder. 'make setup' tells how to install it."


def java_program() -> str:
    """The Java that Spark takes, too: JAVA_HOME before the PATH.

    Raises:
        EnvironmentProblem: there is none.
    """
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home, "bin", "java")) if home else "java"
    java = shutil.which(program)
    if java is None:
        raise EnvironmentProblem(f"There is no Java{f' at {program}' if home else ''}. {NEEDED}")
    return java
