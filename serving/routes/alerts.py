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

from alerts import feedback
from features.tables import ALERTS, FEEDBACK
from lake.reader import LakeReader
from serving.requests.feedback import parse_feedback
from serving.requests.json_body import read_json
from serving.responses.orjson_response import OrjsonResponse
from serving.responses.problems import ProblemError
from serving.routes import openapi
from serving.services import Services
from serving.user_ids import names_of
from settings import Settings

State = Literal["open", "closed", "withdrawn", "merged"]
AlertId = Annotated[str, InPath(max_length=200, description="alert_id of an alert")]
Limit = Annotated[int, Query(ge=1, le=500)]
Before = Annotated[AwareDatetime, Query(description="only sessions that began before this time, for the next page")]


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["alerts"])
    settings, lake = services.settings, services.lake

    @routes.get("/alerts", **openapi.ALERTS)
    async def alerts(
        limit: Limit = 50,
        state: State | None = None,
        user_id: Annotated[str | None, Query(max_length=1000)] = None,
        before: Before | None = None,
    ) -> Response:
        """Alerts in their newest revision, those of the newest sessions first, with the newest feedback on each."""
        conditions = {"state": state, "before": before, "user_id": user_id}
        return OrjsonResponse(await lake.run(newest_alerts, lake, settings, limit, conditions))

    @routes.post("/alerts/{alert_id}/feedback", status_code=HTTPStatus.CREATED, **openapi.FEEDBACK)
    async def give_feedback(alert_id: AlertId, request: Request) -> Response:
        """Say whether an alert was right. The newest word counts; training reads it."""
        word = await read_json(request, services, parse_feedback)
        word["analyst"] = word["analyst"] or request.scope["who"].signed_in_as
        row = await lake.run(record, lake, settings, alert_id, word)
        if row is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "There is no such alert: GET /alerts has the ids.")
        return OrjsonResponse(row, HTTPStatus.CREATED)

    return routes


def newest_alerts(lake: LakeReader, settings: Settings, limit: int, conditions: dict[str, Any]) -> dict[str, Any]:
    """Alerts and the feedback on them. Blocks."""
    newest = lake.newest_time(ALERTS)
    before, user_id = conditions["before"], conditions["user_id"]
    end = min(before, newest + timedelta(days=1)) if before and newest else newest
    since = None if end is None else end - timedelta(days=settings.serving.look_back_days)
    who = None if user_id is None else pc.field("user_id").isin(names_of(user_id, settings))
    state = None if conditions["state"] is None else pc.field("state") == conditions["state"]
    alerts = lake.newest(ALERTS, limit + 1, since=since, until=before, keys=who, where=state)
    rows = alerts.slice(0, limit).drop_columns(["batch_time", "batch_id"]).to_pylist()
    feedback_of = feedback_on(lake, [row["alert_id"] for row in rows])
    more = alerts.num_rows > limit
    return {
        "alerts": [{**row, "feedback": feedback_of.get(row["alert_id"])} for row in rows],
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
    alerts = lake.newest(ALERTS, 1, keys=pc.field("alert_id") == alert_id).to_pylist()
    if not alerts:
        return None
    row = feedback.record(settings.storage.root, alerts[0], **word)
    lake.expire(FEEDBACK)
    return row
