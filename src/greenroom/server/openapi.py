"""Builds the API's OpenAPI 3.1 document from the table of calls, with the links between calls.

The schemas are msgspec's own, because msgspec decodes and encodes the bodies. A link says which values of one call and
its response the next call takes; calls are named by their operation ids, values by OpenAPI's runtime expressions.
"""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

from greenroom import __version__
from greenroom.domain.ids import USER
from greenroom.server.auth import PUBLIC_PATHS
from greenroom.server.endpoints import Endpoint
from greenroom.server.response import JSON
from greenroom.wire.problems import CONTENT_TYPE, Problem

SCHEMA_REFERENCE: Final = "#/components/schemas/{name}"
PROBLEM_STATUSES: Final = (400, 403, 404, 405, 409, 413, 415, 422, 500, 503)
KEY_PARAMETER: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "For 24 hours, a request repeated with the same key and the same body is carried out once.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}

PARAMETER: Final = re.compile(r"\{(\w+)\}")

CONNECTION: Final = "$request.body#/connection_id"

PATH_VALUES: Final[Mapping[str, Mapping[str, str]]] = {
    "create_room": {"room": "$response.body#/id", "role": "$request.body#/roles/0"},
    "send_message": {"task": "$response.body#/task/id"},
    "add_to_backlog": {"task": "$response.body#/id"},
    "join": {"role": "$request.path.role", "room": "$request.path.room"},
    "claim_task": {"task": "$response.body#/id", "room": "$request.path.room"},
    "hand_off_task": {"task": "$response.body#/next_task"},
    "complete_task": {"task": "$response.body#/promoted"},
    "decline_task": {"task": "$response.body#/id"},
    "register_machine": {"machine": "$request.path.machine"},
}
"""By call: values of its request or response, under the path parameter of a following call that takes them.

The first entry is what the call is about.
"""

BODY_VALUES: Final[Mapping[str, Mapping[str, str]]] = {
    "create_room": {"role": "$request.body#/roles/0", "sender": USER, "to": "$request.body#/roles/0"},
    "join": {"role": "$request.path.role", "connection_id": CONNECTION},
    "claim_task": {
        "role": "$request.body#/role",
        "connection_id": CONNECTION,
        "attempt": "$response.body#/attempt",
        "to": USER,
    },
    "decline_task": {"connection_id": CONNECTION, "attempt": "$request.body#/attempt"},
    "register_machine": {"machine": "$request.path.machine"},
}
"""By call: values or constants under the body field of a following call that takes them, if it has that field."""


def build_document(operations: Iterable[Endpoint]) -> bytes:
    """Return the document, encoded as JSON."""
    calls = list(operations)
    types = [kind for call in calls for kind in (call.body, call.query, call.reply) if kind is not None]
    schemas, components = msgspec.json.schema_components([*types, Problem], ref_template=SCHEMA_REFERENCE)
    schema_of = dict(zip(map(repr, [*types, Problem]), schemas, strict=True))
    queries = {call.query.__name__: components[call.query.__name__] for call in calls}
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        paths.setdefault(call.path, {})[str(call.method.value).lower()] = describe_call(call, calls, schema_of, queries)
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


def describe_call(
    call: Endpoint, calls: list[Endpoint], schema_of: dict[str, Any], queries: dict[str, Any]
) -> dict[str, Any]:
    """Describe one call, with its links to the calls that can follow it."""
    properties: dict[str, Any] = queries[call.query.__name__].get("properties", {})
    parameters = [
        *(
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in PARAMETER.findall(call.path)
        ),
        *({"name": name, "in": "query", "schema": schema} for name, schema in properties.items()),
        *([KEY_PARAMETER] if call.accepts_key else []),
    ]
    description: dict[str, Any] = {
        "operationId": call.name,
        "summary": call.summary,
        "parameters": parameters,
        "responses": describe_responses(call, schema_of),
    }
    links = build_links(call, calls)
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


def describe_responses(call: Endpoint, schema_of: dict[str, Any]) -> dict[str, Any]:
    """Describe every response of a call: its success, and each problem by its status."""
    refusals = {str(status): describe_problem(status, schema_of) for status in PROBLEM_STATUSES}
    if call.path in PUBLIC_PATHS:
        refusals.pop("404")
    else:
        refusals["401"] = describe_problem(401, schema_of)
    if call.reply is None:
        return {"204": {"description": "Success, without a body."}, **refusals}
    empty = {"204": {"description": "No result in time."}} if type(None) in getattr(call.reply, "__args__", ()) else {}
    content = {call.media_type: {"schema": schema_of[repr(call.reply)]}}
    if call.streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {str(int(call.status)): {"description": "Success.", "content": content}, **empty, **refusals}


def describe_problem(status: int, schema_of: dict[str, Any]) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    return {"description": f"{phrase}.", "content": {CONTENT_TYPE: {"schema": schema_of[repr(Problem)]}}}


def build_links(call: Endpoint, calls: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI link object to every call that can follow this one, by link name."""
    links = {f"{call.name}_to_{following.name}": build_link(call, following) for following in calls}
    return {name: link_object for name, link_object in links.items() if link_object is not None}


def build_link(call: Endpoint, following: Endpoint) -> dict[str, Any] | None:
    """Return the link to one other call: its path parameters and the known fields of its body. None if unrelated."""
    given, path_parameters = PATH_VALUES.get(call.name, {}), parameter_names(following)
    fields = getattr(following.body, "__struct_fields__", ())
    body = {name: value for name, value in BODY_VALUES.get(call.name, {}).items() if name in fields}
    is_related = bool(given) and (next(iter(given)) in path_parameters or bool(body))
    if not path_parameters or not path_parameters <= given.keys() or not is_related:
        return None
    link_object: dict[str, Any] = {
        "operationId": following.name,
        "parameters": {name: given[name] for name in sorted(path_parameters)},
    }
    return {**link_object, "requestBody": body} if body else link_object


def parameter_names(call: Endpoint) -> frozenset[str]:
    """Return the names of the parameters in a call's path."""
    return frozenset(PARAMETER.findall(call.path))
