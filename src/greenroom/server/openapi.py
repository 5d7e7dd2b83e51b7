"""Builds the API's OpenAPI 3.1 document from the table of calls.

The schemas are msgspec's own, because msgspec decodes and encodes the bodies.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

import msgspec

from greenroom import __version__
from greenroom.server.answer import JSON
from greenroom.server.auth import PUBLIC_PATHS
from greenroom.server.links import PARAMETER, links_from
from greenroom.server.operations import Operation
from greenroom.wire.problems import CONTENT_TYPE, Problem

REFERENCE: Final = "#/components/schemas/{name}"
PROBLEM_STATUSES: Final = (400, 403, 404, 405, 409, 413, 415, 422, 500, 503)
KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "For 24 hours, a request repeated with the same key and the same body is carried out once.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}


def document(operations: Iterable[Operation]) -> bytes:
    """Return the document, encoded as JSON."""
    calls = list(operations)
    types = [kind for call in calls for kind in (call.body, call.query, call.reply) if kind is not None]
    schemas, components = msgspec.json.schema_components([*types, Problem], ref_template=REFERENCE)
    schema_of = dict(zip(map(repr, [*types, Problem]), schemas, strict=True))
    queries = {call.query.__name__: components[call.query.__name__] for call in calls}
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        paths.setdefault(call.path, {})[str(call.method.value).lower()] = described(call, calls, schema_of, queries)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "Greenroom", "version": __version__},
            "paths": paths,
            "components": {
                "schemas": {name: schema for name, schema in components.items() if name not in queries},
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
            "security": [{"token": []}],
        }
    )


def described(
    call: Operation, calls: list[Operation], schema_of: dict[str, Any], queries: dict[str, Any]
) -> dict[str, Any]:
    """Describe one call, with its links to the calls that can follow it."""
    properties: dict[str, Any] = queries[call.query.__name__].get("properties", {})
    parameters = [
        *(
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in PARAMETER.findall(call.path)
        ),
        *({"name": name, "in": "query", "schema": schema} for name, schema in properties.items()),
        *([KEY] if call.keyed else []),
    ]
    description: dict[str, Any] = {
        "operationId": call.name,
        "summary": call.summary,
        "parameters": parameters,
        "responses": answers(call, schema_of),
    }
    links = links_from(call, calls)
    if links:
        description["responses"][str(int(call.status))]["links"] = links
    if call.body is not None:
        fields = msgspec.structs.fields(call.body)
        description["requestBody"] = {
            "required": any(field.required for field in fields),
            "content": {JSON: {"schema": schema_of[repr(call.body)]}},
        }
    if call.path in PUBLIC_PATHS:
        description["security"] = []
    return description


def answers(call: Operation, schema_of: dict[str, Any]) -> dict[str, Any]:
    """Describe every response of a call: its success, and each problem by its status."""
    refusals = {str(status): refusal(status, schema_of) for status in PROBLEM_STATUSES}
    if call.path in PUBLIC_PATHS:
        refusals.pop("404")
    else:
        refusals["401"] = refusal(401, schema_of)
    if call.reply is None:
        return {"204": {"description": "Success, without a body."}, **refusals}
    empty = {"204": {"description": "No result in time."}} if type(None) in getattr(call.reply, "__args__", ()) else {}
    content = {call.media_type: {"schema": schema_of[repr(call.reply)]}}
    if call.streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {str(int(call.status)): {"description": "Success.", "content": content}, **empty, **refusals}


def refusal(status: int, schema_of: dict[str, Any]) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    return {"description": f"{phrase}.", "content": {CONTENT_TYPE: {"schema": schema_of[repr(Problem)]}}}
