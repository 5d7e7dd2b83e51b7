"""Answers calls on stdin: a line of words each, answered with a line of JSON."""

import json
import sys
from collections.abc import Callable, Mapping


def answer_calls(calls: Mapping[str, Callable[..., object]]) -> None:
    """For each line until stdin ends, call the named function with the other words. An error ends the process."""
    for line in sys.stdin:
        name, *words = line.split()
        print(json.dumps(calls[name](*words)), flush=True)
