"""Builds the OpenAPI links between calls: which values of one call and its response the next call takes.

Calls are named by their operation ids, values by OpenAPI's runtime expressions.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from greenroom.domain.ids import USER
from greenroom.server.operations import Operation

PARAMETER: Final = re.compile(r"\{(\w+)\}")

CONNECTION: Final = "$request.body#/connection_id"

GIVES: Final[Mapping[str, Mapping[str, str]]] = {
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

TELLS: Final[Mapping[str, Mapping[str, str]]] = {
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


def links_from(call: Operation, calls: Iterable[Operation]) -> dict[str, Any]:
    """Return the OpenAPI link object to every call that can follow this one, by link name."""
    links = {f"{call.name}_to_{following.name}": link(call, following) for following in calls}
    return {name: link_object for name, link_object in links.items() if link_object is not None}


def link(call: Operation, following: Operation) -> dict[str, Any] | None:
    """Return the link to one other call: its path parameters and the known fields of its body. None if unrelated."""
    given, path_parameters = GIVES.get(call.name, {}), parameters(following)
    fields = getattr(following.body, "__struct_fields__", ())
    body = {name: value for name, value in TELLS.get(call.name, {}).items() if name in fields}
    is_related = bool(given) and (next(iter(given)) in path_parameters or bool(body))
    if not path_parameters or not path_parameters <= given.keys() or not is_related:
        return None
    link_object: dict[str, Any] = {
        "operationId": following.name,
        "parameters": {name: given[name] for name in sorted(path_parameters)},
    }
    return {**link_object, "requestBody": body} if body else link_object


def parameters(call: Operation) -> frozenset[str]:
    """Return the names of the parameters in a call's path."""
    return frozenset(PARAMETER.findall(call.path))
