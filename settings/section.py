"""A section of the settings: frozen, and unknown keys are refused."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _web_address(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s?#@]+[^\s?#@]*", text):
        raise ValueError("needed an address such as https://host:8081/path, without a login in it")
    return text


WebAddress = Annotated[str, AfterValidator(_web_address)]
"""Of a server; who signs in there is a setting of its own."""
