"""``GET /alerts`` and ``POST /alerts/{id}/feedback``: what needs a look, and what came of looking."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from fastapi.responses import Response
from pydantic import AwareDatetime

from features.errors import EnvironmentProblem, UsageError
from features.tables import ALERTS, FEEDBACK
from jobs.runtime import feedback
from jobs.runtime.settings import Settings
from serving import schemas
from serving.answers import Json
from serving.asked import Fault, fault, json_of, kind_of, quoted, refusal
from serving.collector import RefusedError
from serving.people import names_of
from serving.problems import problem
from serving.reading import LakeReader
from serving.services import Services

VERDICTS = {True: True, False: False, "true": True, "false": False}
FIELDS = ("verdict", "note", "analyst")
LONGEST = {"note": 10_000, "analyst": 200}
"""Characters."""

State = Literal["open", "closed", "withdrawn", "merged"]
AlertId = Annotated[str, InPath(max_length=200, description="alert_id of an alert")]
Limit = Annotated[int, Query(ge=1, le=500)]
Before = Annotated[AwareDatetime, Query(description="only sessions that began before this time, for the next page")]


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["alerts"])
    settings, lake = services.settings, services.lake

    @routes.get("/alerts", **schemas.ALERTS)
    async def alerts(
        limit: Limit = 50,
        state: State | None = None,
        user_id: Annotated[str | None, Query(max_length=1000)] = None,
        before: Before | None = None,
    ) -> Response:
        """Alerts in their newest revision, those of the newest sessions first, with the newest feedback on each."""
        conditions = {"state": state, "before": before, "user_id": user_id}
        try:
            return Json(await lake.run(newest_alerts, lake, settings, limit, conditions))
        except EnvironmentProblem as reason:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(reason), retry_after=5)

    @routes.post("/alerts/{alert_id}/feedback", status_code=HTTPStatus.CREATED, **schemas.FEEDBACK)
    async def give_feedback(alert_id: AlertId, request: Request) -> Response:
        """Say whether an alert was right. The newest word counts; training reads it."""
        try:
            word, faults = await json_of(request, services, word_of)
            if faults:
                return refusal(faults)
            word["analyst"] = word["analyst"] or request.scope["who"].signed_in_as
            row = await lake.run(record, lake, settings, alert_id, word)
        except RefusedError as refused:
            return refused.answer
        except UsageError as wrong:
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(wrong))
        except EnvironmentProblem as reason:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(reason), retry_after=5)
        if row is None:
            return problem(HTTPStatus.NOT_FOUND, "There is no such alert: GET /alerts has the ids.")
        return Json(row, HTTPStatus.CREATED)

    return routes


def newest_alerts(lake: LakeReader, settings: Settings, limit: int, asked: dict[str, Any]) -> dict[str, Any]:
    """Alerts and the feedback on them. Blocks."""
    newest = lake.newest_time(ALERTS)
    end = min(asked["before"], newest + timedelta(days=1)) if asked["before"] and newest else newest
    since = None if end is None else end - timedelta(days=settings.serving.look_back_days)
    who = None if asked["user_id"] is None else pc.field("user_id").isin(names_of(asked["user_id"], settings))
    state = None if asked["state"] is None else pc.field("state") == asked["state"]
    found = lake.newest(ALERTS, limit + 1, since=since, until=asked["before"], keys=who, where=state)
    rows = found.slice(0, limit).drop_columns(["batch_time", "batch_id"]).to_pylist()
    said = feedback_on(lake, [row["alert_id"] for row in rows])
    more = found.num_rows > limit
    return {
        "alerts": [{**row, "feedback": said.get(row["alert_id"])} for row in rows],
        "next_before": rows[-1]["session_start"] if more else None,
    }


def feedback_on(lake: LakeReader, alert_ids: list[str]) -> dict[str, dict[str, Any]]:
    """The newest feedback on each of the alerts, by id."""
    columns = ["alert_id", "feedback_id", "verdict", "note", "analyst", "at"]
    among = pc.field("alert_id").isin(pa.array(alert_ids, pa.string()))
    rows = lake.rows(FEEDBACK, columns=columns, where=among).sort_by(
        [("at", "ascending"), ("feedback_id", "ascending")]
    )
    return {row.pop("alert_id"): row for row in rows.to_pylist()}


def record(lake: LakeReader, settings: Settings, alert_id: str, word: dict[str, Any]) -> dict[str, Any] | None:
    """Keep the word; None where there is no such alert. Blocks."""
    found = lake.newest(ALERTS, 1, keys=pc.field("alert_id") == alert_id).to_pylist()
    if not found:
        return None
    row = feedback.record(settings.storage.root, found[0], **word)
    lake.expire(FEEDBACK)
    return row


def word_of(found: Any) -> tuple[dict[str, Any], list[Fault]]:
    """Verdict, note and analyst, and what is wrong with them."""
    if type(found) is not dict:
        return {}, [
            fault("(body)", "wrong_type", f'found {kind_of(found)}; needed an object such as {{"verdict": true}}')
        ]
    faults = [
        fault(quoted(name), "unknown_field", f"there is no such field; needed {', '.join(FIELDS)}")
        for name in list(found)[:20]
        if name not in FIELDS
    ]
    verdict = found.get("verdict")
    if not isinstance(verdict, bool | str) or verdict not in VERDICTS:
        faults.append(fault("verdict", "wrong_value", f"found {kind_of(verdict)}; needed true or false"))
    faults += [
        fault(name, "wrong_type", f"found {kind_of(found[name])}; needed text")
        for name in ("note", "analyst")
        if not isinstance(found.get(name), str | None)
    ]
    faults += [
        fault(name, "too_long", f"found {len(found[name])} characters; needed at most {most}")
        for name, most in LONGEST.items()
        if isinstance(found.get(name), str) and len(found[name]) > most
    ]
    if faults:
        return {}, faults
    return {"is_true": VERDICTS[verdict], "note": found.get("note"), "analyst": found.get("analyst")}, []
