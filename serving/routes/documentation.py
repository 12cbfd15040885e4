"""``GET /docs``: the API to read and try: Swagger UI, from the files inside the package fastapi-swagger."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response

from serving.access.security import CONTENT_SECURITY_POLICY
from serving.responses.swagger_ui import FILES, PAGE, SCRIPT, START

POLICY = CONTENT_SECURITY_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
"""Swagger UI writes styles into its elements; its scripts come from here like all others."""
KEPT = {"Cache-Control": "public, max-age=86400"}


def router() -> APIRouter:
    routes = APIRouter(include_in_schema=False)
    folder = Path(str(files("fastapi_swagger.resources")))

    @routes.get("/docs")
    async def page() -> Response:
        return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})

    @routes.get(f"/docs/{START}")
    async def start() -> Response:
        return Response(SCRIPT, media_type="text/javascript", headers=KEPT)

    def served(name: str, kind: str) -> None:
        @routes.get(f"/docs/{name}")
        async def file() -> Response:
            return FileResponse(folder / name, media_type=kind, headers=KEPT)

    for name, kind in FILES.items():
        served(name, kind)
    return routes
