"""Runs one verb: parses its arguments, resolves the settings, calls its function and returns its exit code.

Only what the verb itself needs is imported, because agents call these commands often.
"""

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TextIO

from greenroom.cli import errors, standard_streams
from greenroom.cli.parser import parse
from greenroom.cli.standard_streams import discard_output
from greenroom.cli.terminal import read_text
from greenroom.cli.verbs import AGENTS, OWN_RESOLUTION, PROJECT, Verb
from greenroom.domain.errors import GreenroomError
from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.exit_codes import ExitCode
from greenroom.settings.paths import working_directory
from greenroom.settings.resolve import Settings, resolve_settings

Run = Callable[[Namespace, Settings | None, TextIO, TextIO], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that `argv` names; return its exit code (see `exit_codes`).

    By default these are the process's own arguments, and its standard streams are set up for the verb.
    """
    if argv is None:
        standard_streams.set_up_streams()
    else:
        standard_streams.replace_closed_streams()
    try:
        code = run(sys.argv[1:]) if argv is None else run(list(argv), lambda verb: None)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except OSError as error:
        discard_output(sys.stdout)
        if not isinstance(error, BrokenPipeError):  # a closed pipe, as by `head`, needs no error text
            print_error(
                f"error: {error}\nCheck that the file or stream it names can be read and written, then try again."
            )
        return ExitCode.FAILED
    return code


def print_error(text: str) -> None:
    """Print a text to standard error, if that is still open."""
    try:
        print(text, file=sys.stderr)
    except OSError:
        discard_output(sys.stderr)


def adapt_streams(verb: Verb) -> None:
    """Adapt what writes to the standard streams do to a verb: nothing that it prints may hold up its work."""
    if verb.is_long_running:
        standard_streams.write_in_background()
    elif verb in AGENTS:
        standard_streams.limit_note_wait()


def run(argv: list[str], adapt: Callable[[Verb], None] = adapt_streams) -> int:
    """Parse the arguments, resolve the settings and call the verb's function; return the exit code."""
    try:
        verb, arguments = parse(argv)
        adapt(verb)
        settings = resolve_verb_settings(verb, arguments)
        if verb.text is not None:
            bytes_max = (settings.limits if settings is not None else DEFAULT_LIMITS).text_bytes_max
            arguments.text = read_text(arguments.text, verb.text == "required", sys.stdin, sys.stderr, bytes_max)
        return import_function(verb)(arguments, settings, sys.stdout, sys.stderr)
    except SystemExit as end:  # argparse has printed its help or the error
        return end.code if isinstance(end.code, int) else ExitCode.USAGE
    except (GreenroomError, UnicodeError, RecursionError) as error:
        sys.stdout.flush()
        shown = error if isinstance(error, GreenroomError) else errors.describe_foreign_error(error)
        print(errors.format_error(shown), file=sys.stderr)
        return errors.exit_code(shown)


def resolve_verb_settings(verb: Verb, arguments: Namespace) -> Settings | None:
    """Resolve the settings for a verb; None for a verb that resolves them itself. Raises ConfigurationError."""
    if verb.reads == OWN_RESOLUTION:
        return None
    return resolve_settings(vars(arguments), os.environ, working_directory() if verb.reads == PROJECT else None)


def import_function(verb: Verb) -> Run:
    """Import the function of a verb."""
    module, _, name = verb.function.partition(":")
    function: Run = getattr(import_module(module), name)
    return function
