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

KNOWN_VARIABLE: Final = "GREENROOM_FUZZ_KNOWN"
known_values: Final[dict[str, list[Any]]] = json.loads(os.environ.get(KNOWN_VARIABLE, "{}"))
NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
INTEGER_MAX: Final = 2**53
KEPT_ONE_IN: Final = 3
"""One of so many generated values, chosen by its bytes, is kept."""


def known_value(name: str, generated: Any) -> Any:
    """An existing value for that name, or the generated one."""
    values = known_values.get(name)
    if isinstance(generated, str):
        fits = NAME.fullmatch(generated) is not None
    else:
        fits = type(generated) is int and 0 < generated <= INTEGER_MAX
    if not values or not fits or type(values[0]) is not type(generated):
        return generated
    draw = zlib.crc32(repr(generated).encode())
    return values[draw // KEPT_ONE_IN % len(values)] if draw % KEPT_ONE_IN else generated


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    return replace_values(path_parameters)


@schemathesis.hook
def map_query(context: Any, query: Any) -> Any:
    return replace_values(query)


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    return replace_values(body)


def replace_values(fields: Any) -> Any:
    if not isinstance(fields, dict):
        return fields
    return {name: known_value(name, value) for name, value in fields.items()}
