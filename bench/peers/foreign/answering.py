"""A process that is asked in lines of words, and answers each with a line of JSON. Must not know what is asked."""

import json
import sys
from collections.abc import Callable, Mapping


def answer(calls: Mapping[str, Callable[..., object]]) -> None:
    """Until stdin ends: call what the first word names with the other words. An error ends the process and says why."""
    for line in sys.stdin:
        name, *words = line.split()
        print(json.dumps(calls[name](*words)), flush=True)
