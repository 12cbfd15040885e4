"""``POST /predict_behavior`` and ``/predict_behavior/batch``: is this behaviour strange, how strange, and why."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from features.definitions import FEATURE_VERSION, FEATURES
from serving.requests.feature_values import parse_row, parse_rows
from serving.requests.json_body import read_json
from serving.responses.orjson_response import OrjsonResponse
from serving.responses.problems import RETRY_SECONDS, ProblemError
from serving.routes import openapi
from serving.services import Services

if TYPE_CHECKING:
    from serving.predictor import Predictor

ROWS_ON_THE_LOOP = 20
"""More rows are scored in a thread, so that other requests are answered meanwhile."""

Count = Callable[[str, int], None]
"""Called with verdicts and how many."""


def router(services: Services, count: Count) -> APIRouter:
    routes = APIRouter(tags=["predictions"])
    limits = services.settings.serving

    @routes.post("/predict_behavior", **openapi.PREDICT)
    async def predict_behavior(request: Request) -> Response:
        """Score one row of features; those left out are assumed typical and named in the answer."""
        values = await read_json(request, services, parse_row)
        answer = predictor_of(services).answer(values)
        count(answer["verdict"], 1)
        return OrjsonResponse(answer)

    @routes.post("/predict_behavior/batch", **openapi.PREDICT_BATCH)
    async def predict_behavior_batch(request: Request) -> Response:
        """Score many rows by one version of the model; either all are answered or none."""
        most = limits.max_rows
        rows = await read_json(request, services, lambda batch: parse_rows(batch, most), rows=max(2, most))
        predictor = predictor_of(services)
        if len(rows) <= ROWS_ON_THE_LOOP:
            answers = predictor.answers(rows)
        else:
            answers = await asyncio.to_thread(predictor.answers, rows)
        for verdict, times in Counter(answer["verdict"] for answer in answers).items():
            count(verdict, times)
        return OrjsonResponse({"predictions": answers, **predictor.origin})

    @routes.get("/features", **openapi.FEATURE_LIST)
    async def features() -> Response:
        """The names, meanings and bounds of the features, and what the champion takes as typical."""
        predictor = services.champion.predictor
        typical = {} if predictor is None else predictor.typical
        return OrjsonResponse(
            {
                "feature_version": FEATURE_VERSION,
                "features": [
                    {
                        "name": feature.name,
                        "meaning": feature.meaning,
                        "unit": feature.unit,
                        "most": feature.most,
                        "used": feature.name in typical,
                        "typical": typical.get(feature.name),
                    }
                    for feature in FEATURES
                ],
            }
        )

    return routes


def predictor_of(services: Services) -> Predictor:
    """The champion now.

    Raises:
        ProblemError: there is none, and why.
    """
    predictor = services.champion.predictor
    if predictor is None:
        raise no_champion(services)
    return predictor


def no_champion(services: Services, **members: Any) -> ProblemError:
    detail = services.champion.trouble or "There is no champion."
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=RETRY_SECONDS, **members)
