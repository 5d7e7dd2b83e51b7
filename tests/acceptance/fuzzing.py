"""Hooks for schemathesis: they replace generated values by ids of existing objects, so that requests find something.

Schemathesis loads this module (`SCHEMATHESIS_HOOKS`). The existing values stand in the environment, as JSON, by the
name of the parameter or field. A generated value is replaced only if it could be such a value, so that values which
are invalid on purpose stay invalid.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from typing import Any, Final

import schemathesis

KNOWN: Final = "GREENROOM_FUZZ_KNOWN"
known: Final[dict[str, list[Any]]] = json.loads(os.environ.get(KNOWN, "{}"))
NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
INTEGER_MAX: Final = 2**53
LEFT_ALONE: Final = 3
"""One of so many generated values, chosen by its bytes, is kept."""


def known_for(name: str, made_up: Any) -> Any:
    """An existing value for that name, or the generated one."""
    values = known.get(name)
    if isinstance(made_up, str):
        fits = NAME.fullmatch(made_up) is not None
    else:
        fits = type(made_up) is int and 0 < made_up <= INTEGER_MAX
    if not values or not fits or type(values[0]) is not type(made_up):
        return made_up
    draw = zlib.crc32(repr(made_up).encode())
    return values[draw // LEFT_ALONE % len(values)] if draw % LEFT_ALONE else made_up


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    return exchanged(path_parameters)


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    return exchanged(body)


def exchanged(fields: Any) -> Any:
    if not isinstance(fields, dict):
        return fields
    return {name: known_for(name, value) for name, value in fields.items()}
