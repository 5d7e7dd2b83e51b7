"""Generates the table of the API's calls from the table of the routes."""

from typing import Any, get_args

import msgspec

from greenroom.server.endpoints import Endpoint
from greenroom.server.routes import OPERATIONS
from tools.table import format_code, format_table


def draw_calls() -> str:
    """A row for each call. A field with `?` is optional; a call marked `key` accepts an `Idempotency-Key`."""
    rows = [
        (
            f"`{call.method.value} {call.path}`",
            format_fields(call.body) or format_fields(call.query),
            format_answer(call),
            "key" if call.accepts_key else "",
            call.summary,
        )
        for call in OPERATIONS
    ]
    return format_table(("call", "body or query", "answer", " ", "what it does"), rows)


def format_fields(kind: Any) -> str:
    """The names of the fields of a body or a query."""
    if kind is None:
        return ""
    names = [field.encode_name + ("" if field.required else "?") for field in msgspec.structs.fields(kind)]
    return format_code(" ".join(names))


def format_answer(call: Endpoint) -> str:
    """The status and the type of a call's answer."""
    if call.reply is None:
        return "204"
    kinds = get_args(call.reply)
    if type(None) in kinds:
        return f"{int(call.status)} {kinds[0].__name__}, or 204"
    name = f"{kinds[0].__name__}[]" if kinds else call.reply.__name__
    return f"{int(call.status)} {'text' if name == 'str' else name}" + (", or a stream" if call.streams else "")
