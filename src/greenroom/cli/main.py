"""Runs one verb: parses its arguments, resolves the settings, calls its function and returns its exit code.

Only what the verb itself needs is imported, because agents call these commands often.
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
    """Run the verb that `argv` (by default the process's arguments) names; return its exit code (see `exits`)."""
    settle_streams()
    try:
        code = run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except OSError as error:
        hush(sys.stdout)
        if not isinstance(error, BrokenPipeError):  # a closed pipe, as by `head`, needs no error text
            tell(f"error: {error}\nCheck that the file or stream it names can be read and written, then try again.")
        return exits.FAILED
    return code


def tell(text: str) -> None:
    """Print a text to standard error, if that is still open."""
    try:
        print(text, file=sys.stderr)
    except OSError:
        hush(sys.stderr)


def run(argv: list[str]) -> int:
    """Parse the arguments, resolve the settings and call the verb's function; return the exit code."""
    try:
        verb, arguments = parse(argv)
        settings = settle(verb, arguments)
        if verb.text is not None:
            bytes_max = (settings.limits if settings is not None else DEFAULTS).text_bytes_max
            arguments.text = settle_text(arguments.text, verb.text == "required", sys.stdin, sys.stderr, bytes_max)
        return function_of(verb)(arguments, settings, sys.stdout, sys.stderr)
    except SystemExit as end:  # argparse has printed its help or the error
        return end.code if isinstance(end.code, int) else exits.USAGE
    except GreenroomError as error:
        sys.stdout.flush()
        print(exits.explain(error), file=sys.stderr)
        return exits.code_of(error)


def settle(verb: Verb, arguments: Namespace) -> Settings | None:
    """Resolve the settings for a verb; None for a verb that resolves them itself. Raises ConfigurationError."""
    if verb.reads == SELF:
        return None
    return resolve(vars(arguments), os.environ, Path.cwd() if verb.reads == PROJECT else None)


def function_of(verb: Verb) -> Run:
    """Import the function of a verb."""
    module, _, name = verb.function.partition(":")
    function: Run = getattr(import_module(module), name)
    return function
