"""Where one call's answer leads: which values of it name the room, role, task or machine of the next call.

Knows calls by their names, and the values by OpenAPI's runtime expressions. Must not know what a call does.
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
"""What the answer of a call names, by the parameter that it is good for. The first is what it is about."""

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
"""What of it, or what constant, belongs into the body of the next call, where that has such a field."""


def links_from(call: Operation, calls: Iterable[Operation]) -> dict[str, Any]:
    """Every call to which this one's answer leads, as OpenAPI's link objects by name."""
    links = {f"{call.name}_to_{following.name}": link(call, following) for following in calls}
    return {name: told for name, told in links.items() if told is not None}


def link(call: Operation, following: Operation) -> dict[str, Any] | None:
    """The link to one other call: parameters in the path, and fields of the body that are known. None if unrelated."""
    given, wanted = GIVES.get(call.name, {}), parameters(following)
    fields = getattr(following.body, "__struct_fields__", ())
    body = {name: value for name, value in TELLS.get(call.name, {}).items() if name in fields}
    is_about_it = bool(given) and (next(iter(given)) in wanted or bool(body))
    if not wanted or not wanted <= given.keys() or not is_about_it:
        return None
    told: dict[str, Any] = {
        "operationId": following.name,
        "parameters": {name: given[name] for name in sorted(wanted)},
    }
    return {**told, "requestBody": body} if body else told


def parameters(call: Operation) -> frozenset[str]:
    """The names in a call's path."""
    return frozenset(PARAMETER.findall(call.path))
