"""Runs one verb. Knows how a verb is found, begun and ended; must not know what any of them does.

Only what the verb itself needs is imported: an agent calls these commands all day.
"""

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TextIO

from greenroom.cli import exits
from greenroom.cli.parser import parse
from greenroom.cli.streams import hush, settle_streams
from greenroom.cli.text import settle_text
from greenroom.cli.verbs import PROJECT, SELF, Verb
from greenroom.domain.errors import GreenroomError
from greenroom.domain.reliability import DEFAULTS
from greenroom.settings.resolve import Settings, resolve

Run = Callable[[Namespace, Settings | None, TextIO, TextIO], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that `argv` names; return its exit code."""
    settle_streams()
    try:
        code = run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except OSError as error:
        hush(sys.stdout)
        if not isinstance(error, BrokenPipeError):  # the reader has seen enough
            tell(f"error: {error}\nSee that what it names can be read and written, and try again.")
        return exits.FAILED
    return code


def tell(text: str) -> None:
    """Say it to whoever still listens."""
    try:
        print(text, file=sys.stderr)
    except OSError:
        hush(sys.stderr)


def run(argv: list[str]) -> int:
    """Parse, settle the configuration, and call the verb's function."""
    try:
        verb, arguments = parse(argv)
        settings = settle(verb, arguments)
        if verb.text is not None:
            bytes_max = (settings.limits if settings is not None else DEFAULTS).text_bytes_max
            arguments.text = settle_text(arguments.text, verb.text == "required", sys.stdin, sys.stderr, bytes_max)
        return function_of(verb)(arguments, settings, sys.stdout, sys.stderr)
    except SystemExit as end:  # argparse has printed its help or what is wrong
        return end.code if isinstance(end.code, int) else exits.USAGE
    except GreenroomError as error:
        sys.stdout.flush()
        print(exits.explain(error), file=sys.stderr)
        return exits.code_of(error)


def settle(verb: Verb, arguments: Namespace) -> Settings | None:
    """The configuration in force for a verb; None for one that looks at it by itself."""
    if verb.reads == SELF:
        return None
    return resolve(vars(arguments), os.environ, Path.cwd() if verb.reads == PROJECT else None)


def function_of(verb: Verb) -> Run:
    """Import the function that carries the verb out."""
    module, _, name = verb.function.partition(":")
    function: Run = getattr(import_module(module), name)
    return function
