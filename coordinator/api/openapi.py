"""The OpenAPI document of the operators' API.

Source: docs/operations.md, "Operator access".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from coordinator.api.routes import ApiRoute, Json


def describe(routes: Sequence[ApiRoute]) -> Json:
    """The OpenAPI 3.1 document of a table of routes."""
    paths: dict[str, Json] = {}
    for route in routes:
        operation: Json = {
            "summary": route.about,
            "responses": {
                str(route.success): {"description": "done"},
                "401": {"description": "not the operator's token"},
            },
        }
        names = re.findall(r"\{(\w+)\}", route.path)
        if names:
            operation["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in names
            ]
            operation["responses"]["404"] = {"description": "no such thing"}
        if route.body:
            schema = {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    name: {"type": field.kind, "description": field.about}
                    for name, field in route.body.items()
                },
                "required": [name for name, field in route.body.items() if field.required],
            }
            operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
            operation["responses"]["400"] = {"description": "a field is missing or wrong"}
            operation["responses"]["409"] = {"description": "it conflicts with what there is"}
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Alveary coordinator", "version": "1"},
        "security": [{"operator": []}],
        "components": {"securitySchemes": {"operator": {"type": "http", "scheme": "bearer"}}},
        "paths": paths,
    }
