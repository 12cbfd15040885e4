"""What is wrong with a setting, as a sentence that never shows a secret."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from settings.settings import Settings


def explain(error: ValidationError) -> str:
    sentences = []
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"]) or "settings"
        if problem["type"] == "extra_forbidden":
            sentences.append(f"Unknown setting {key}: see conf/base.yaml for the known ones.")
        elif problem["type"] == "missing":
            sentences.append(f"Setting {key} is missing: give it in conf/ or with --set {key}=….")
        else:
            quote = f" (found {problem['input']!r})" if may_quote(problem["loc"]) else ""
            sentences.append(f"Setting {key}: {_said(problem)}{quote}.")
    return " ".join(sentences)


def _said(problem: ErrorDetails) -> str:
    """What is wrong, in our words where a validator of ours found it: pydantic puts "Value error, " before them."""
    return str(problem["ctx"]["error"]) if problem["type"] == "value_error" else problem["msg"]


SECRETIVE = re.compile(r"password|token|secret|key|webhook|ur[il]$|endpoint|servers|options|conf$")
"""Settings whose values may hold a secret: addresses, too, for a login can be written into one."""


def may_quote(place: Sequence[str | int]) -> bool:
    """Whether an error may quote the value at this place: of a known setting only, and of none that may be a secret."""
    kind: Any = Settings
    for name in place:
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return True  # a part of a list or of a choice
        if name not in kind.model_fields or SECRETIVE.search(str(name)):
            return False
        kind = kind.model_fields[str(name)].annotation
        if "SecretStr" in str(kind):
            return False
    return not (isinstance(kind, type) and issubclass(kind, BaseModel))
