"""``GET /docs``: the API's own pages to read and try it, from the files inside the package swagger-ui-bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from swagger_ui_bundle import swagger_ui_path

from serving.answers import Json
from serving.security import CONTENT_SECURITY_POLICY

FILES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
START = "start.js"

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>User behaviour: API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="docs/favicon-32x32.png">
</head>
<body>
<main id="api">
<noscript>This page needs JavaScript; <a href="openapi.json">openapi.json</a> says the same.</noscript>
</main>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
SCRIPT = """"use strict";
SwaggerUIBundle({ url: "docs/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null });
"""
POLICY = CONTENT_SECURITY_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
"""Swagger UI writes styles into its elements; its scripts come from here like all others."""
KEPT = {"Cache-Control": "public, max-age=86400"}


def router() -> APIRouter:
    routes = APIRouter(include_in_schema=False)
    folder = Path(swagger_ui_path)

    @routes.get("/docs")
    async def page() -> Response:
        return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})

    @routes.get("/docs/openapi.json")
    async def document(request: Request) -> Response:
        return Json({**as_of_3_0(request.app.openapi()), "openapi": "3.0.3"})

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


NULL = {"type": "null"}


def as_of_3_0(node: Any) -> Any:
    """A part of an OpenAPI 3.1 document in the words of 3.0, which is what this Swagger UI reads.

    3.1 says that something may be null by a type of its own, 3.0 by ``nullable``; and 3.0 knows no lists of examples.
    """
    if isinstance(node, list):
        return [as_of_3_0(one) for one in node]
    if not isinstance(node, dict):
        return node
    found = {name: as_of_3_0(value) for name, value in node.items() if not _is_list_of_examples(name, value)}
    if isinstance(found.get("type"), list):
        kinds = [kind for kind in found["type"] if kind != "null"]
        found |= {"type": kinds[0], "nullable": len(kinds) < len(found["type"])}
    choices = found.get("anyOf")
    if isinstance(choices, list) and NULL in choices:
        del found["anyOf"]
        others = [choice for choice in choices if choice != NULL]
        found |= {"nullable": True, **(others[0] if len(others) == 1 else {"anyOf": others})}
    return found


def _is_list_of_examples(name: str, value: Any) -> bool:
    return name == "examples" and isinstance(value, list)
