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
from serving import schemas
from serving.answers import Json
from serving.asked import json_of, refusal, rows_of, values_of
from serving.collector import RefusedError
from serving.problems import problem
from serving.services import Services

if TYPE_CHECKING:
    from serving.predictor import Predictor

ROWS_ON_THE_LOOP = 20
"""More rows are judged in a thread, so that other requests are answered meanwhile."""

Count = Callable[[str, int], None]
"""Told of verdicts and how many."""


def router(services: Services, count: Count) -> APIRouter:
    routes = APIRouter(tags=["predictions"])
    limits = services.settings.serving

    @routes.post("/predict_behavior", **schemas.PREDICT)
    async def predict_behavior(request: Request) -> Response:
        """Judge one row of features; those left out are assumed typical and named in the answer."""
        try:
            values, faults = await json_of(request, services, values_of)
            if faults:
                return refusal(faults)
            answer = predictor_of(services).answer(values)
        except RefusedError as refused:
            return refused.answer
        count(answer["verdict"], 1)
        return Json(answer)

    @routes.post("/predict_behavior/batch", **schemas.PREDICT_BATCH)
    async def predict_behavior_batch(request: Request) -> Response:
        """Judge many rows by one version of the model; either all are answered or none."""
        try:
            most = limits.max_rows
            rows = await json_of(request, services, lambda found: rows_of(found, most), rows=max(2, most))
            predictor = predictor_of(services)
        except RefusedError as refused:
            return refused.answer
        if len(rows) <= ROWS_ON_THE_LOOP:
            answers = predictor.answers(rows)
        else:
            answers = await asyncio.to_thread(predictor.answers, rows)
        for verdict, times in Counter(answer["verdict"] for answer in answers).items():
            count(verdict, times)
        return Json({"predictions": answers, **predictor.origin})

    @routes.get("/features", **schemas.FEATURE_LIST)
    async def features() -> Response:
        """The names, meanings and bounds of the features, and what the champion takes as typical."""
        predictor = services.champion.predictor
        typical = {} if predictor is None else predictor.typical
        return Json(
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
        RefusedError: there is none, and why.
    """
    predictor = services.champion.predictor
    if predictor is None:
        raise RefusedError(no_champion(services))
    return predictor


def no_champion(services: Services, **members: Any) -> Response:
    told = services.champion.trouble or "There is no champion."
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, told, retry_after=5, **members)
