"""What an analyst says of an alert: verdict, note and name."""

from __future__ import annotations

from typing import Any

from serving.requests.json_body import kind_of, quoted
from serving.responses.problems import FieldFault, InvalidFieldsError

VERDICTS = {True: True, False: False, "true": True, "false": False}
FIELDS = ("verdict", "note", "analyst")
MAX_LENGTH = {"note": 10_000, "analyst": 200}
"""Characters."""


def parse_feedback(word: Any) -> dict[str, Any]:
    """Arguments of :func:`alerts.feedback.record`.

    Raises:
        InvalidFieldsError: what is wrong with them.
    """
    if type(word) is not dict:
        detail = f'found {kind_of(word)}; needed an object such as {{"verdict": true}}'
        raise InvalidFieldsError([FieldFault(field="(body)", reason="wrong_type", detail=detail)])
    unknown = f"there is no such field; needed {', '.join(FIELDS)}"
    faults = [
        FieldFault(field=quoted(name), reason="unknown_field", detail=unknown)
        for name in list(word)[:20]
        if name not in FIELDS
    ]
    verdict = word.get("verdict")
    if not isinstance(verdict, bool | str) or verdict not in VERDICTS:
        detail = f"found {kind_of(verdict)}; needed true or false"
        faults.append(FieldFault(field="verdict", reason="wrong_value", detail=detail))
    faults += [
        FieldFault(field=name, reason="wrong_type", detail=f"found {kind_of(word[name])}; needed text")
        for name in ("note", "analyst")
        if not isinstance(word.get(name), str | None)
    ]
    faults += [
        FieldFault(
            field=name, reason="too_long", detail=f"found {len(word[name])} characters; needed at most {longest}"
        )
        for name, longest in MAX_LENGTH.items()
        if isinstance(word.get(name), str) and len(word[name]) > longest
    ]
    if faults:
        raise InvalidFieldsError(faults)
    return {"is_true": VERDICTS[verdict], "note": word.get("note"), "analyst": word.get("analyst")}
