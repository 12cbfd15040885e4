"""``GET /users/{id}`` and ``POST /users/{id}/predict``: what the tables know of one user, read without Spark."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from fastapi.responses import Response

from features.definitions import FEATURE_NAMES
from features.tables import ALERTS, FEATURE_TABLE, SCORES, Table
from lake.reader import LakeReader
from online.entries import PAST, SCORE_COLUMNS
from serving.online_view import NEWEST_ALERTS
from serving.requests.feature_values import parse_changes
from serving.requests.json_body import read_json
from serving.responses.orjson_response import OrjsonResponse
from serving.responses.problems import ProblemError
from serving.routes import openapi
from serving.routes.predictions import Count, predictor_of
from serving.services import Services
from serving.user_ids import names_of
from serving.user_segments import segment_of
from settings import Settings

UserId = Annotated[str, InPath(max_length=1000, description="the user id as events have it", examples=["user-123"])]
Limit = Annotated[int, Query(ge=1, le=1000, description="minutes of history at most")]


def router(services: Services, count: Count) -> APIRouter:
    routes = APIRouter(tags=["users"])
    settings, lake, online = services.settings, services.lake, services.online

    @routes.get("/users/{user_id:path}", **openapi.USER)
    async def user(user_id: UserId, limit: Limit = 60) -> Response:
        """A user's latest features, score and reasons, segment, newest alerts, and minutes before."""
        if online.is_current:
            known = await online.person(names_of(user_id, settings).to_pylist(), limit)
        else:
            known = await lake.run(person, lake, settings, user_id, limit)
        if known is None:
            raise unknown(settings)
        return OrjsonResponse(known)

    @routes.post("/users/{user_id:path}/predict", **openapi.USER_PREDICT)
    async def predict(user_id: UserId, request: Request) -> Response:
        """Score the user's newest minute with the current champion. Values in the body replace those of the minute."""
        changes = await read_json(request, services, parse_changes, empty={})
        predictor = predictor_of(services)
        if online.is_current:
            row = await online.newest_minute(names_of(user_id, settings).to_pylist())
        else:
            row = await lake.run(newest_minute, lake, settings, user_id)
        if row is None:
            raise unknown(settings)
        if row["feature_version"] != predictor.model.model.feature_version:
            detail = (
                f"The user's features are of version {row['feature_version']}, the champion's of "
                f"{predictor.model.model.feature_version}: build features anew, or promote a model of their version."
            )
            raise ProblemError(HTTPStatus.CONFLICT, detail)
        features = row["features"]
        answer = predictor.answer({**{name: value for name, value in features.items() if value is not None}, **changes})
        count(answer["verdict"], 1)
        return OrjsonResponse(
            {
                "user_id": row["user_id"],
                "window_start": row["window_start"],
                "session_start": row["session_start"],
                **answer,
                "features": {**features, **changes},
                "replaced": sorted(changes),
            }
        )

    return routes


def unknown(settings: Settings) -> ProblemError:
    days = settings.serving.look_back_days
    detail = f"The tables have no minute of this user in the newest {days} days (serving.look_back_days)."
    return ProblemError(HTTPStatus.NOT_FOUND, detail)


def person(lake: LakeReader, settings: Settings, user_id: str, limit: int) -> dict[str, Any] | None:
    """What the tables know of a user; None for nothing. Blocks."""
    who = names_of(user_id, settings)
    scored = minutes(lake, settings, SCORES, who, limit)
    feature_rows = minutes(lake, settings, FEATURE_TABLE, who, 1)
    if not scored and not feature_rows:
        return None
    latest = feature_rows[0] if feature_rows else scored[0]
    alerts = lake.newest(ALERTS, NEWEST_ALERTS, since=back(lake, settings, ALERTS), keys=pc.field("user_id").isin(who))
    return {
        "user_id": latest["user_id"],
        "latest": {
            "window_start": latest["window_start"],
            "session_start": latest["session_start"],
            "features": features_of(latest),
        },
        "judgement": score_of(scored[0]) if scored else None,
        "segment": segment_of(lake, who),
        "alerts": alerts.drop_columns(["batch_time", "batch_id"]).to_pylist(),
        "history": [{name: row[name] for name in PAST} for row in scored],
    }


def newest_minute(lake: LakeReader, settings: Settings, user_id: str) -> dict[str, Any] | None:
    """The newest feature row, its features by name under ``features``; None where there is none. Blocks."""
    rows = minutes(lake, settings, FEATURE_TABLE, names_of(user_id, settings), 1)
    return {**rows[0], "features": features_of(rows[0])} if rows else None


def minutes(lake: LakeReader, settings: Settings, table: Table, who: pa.Array, limit: int) -> list[dict[str, Any]]:
    """The newest minutes of the user, newest first."""
    since = back(lake, settings, table)
    rows: list[dict[str, Any]] = lake.newest(table, limit, since=since, keys=pc.field("user_id").isin(who)).to_pylist()
    return rows


def back(lake: LakeReader, settings: Settings, table: Table) -> datetime | None:
    """As far back as users are looked for: counted from the table's newest row, which may be of a replayed past."""
    newest = lake.newest_time(table)
    return None if newest is None else newest - timedelta(days=settings.serving.look_back_days)


def features_of(row: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: row.get(name) for name in FEATURE_NAMES}


def score_of(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"window_start": row["window_start"], **{name: row[name] for name in SCORE_COLUMNS}}
