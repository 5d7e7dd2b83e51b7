"""Hooks for the tool that makes requests up: half of them are to meet things that are there. Must not know any test.

Loaded by that tool (`SCHEMATHESIS_HOOKS`). What is there stands in the environment, as JSON: for each parameter or
field the values that mean something. A made-up value is exchanged for one of them only if it could be one, so that what
was made wrong on purpose stays wrong.
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
"""Every third value, by its own bytes, stays as it was made up."""


def known_for(name: str, made_up: Any) -> Any:
    """A value that means something, or the one that was made up."""
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
