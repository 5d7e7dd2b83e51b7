"""Builds argparse's parsers from the table of verbs.

A run builds only the parser of its verb; the whole tree is built for help, completion and documentation.
"""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from collections.abc import Sequence
from typing import Any, NoReturn

from greenroom import __version__
from greenroom.cli.verbs import GROUPS, VERBS, Verb, all_arguments
from greenroom.settings.suggest import suggest_name

PROGRAM = "greenroom"
ABOUT = "Runs teams of AI agents in rooms. After a failure, whatever still runs reconnects and resumes its task."
WITHOUT_COLOURS: dict[str, Any] = {"color": False} if sys.version_info >= (3, 14) else {}
"""Python 3.14 colours help and errors; a terminal would show the escapes of these colours."""
EPILOG = "`greenroom VERB --help` has the details. Start with `greenroom up` and `greenroom status --watch`."


def parse(argv: Sequence[str]) -> tuple[Verb, Namespace]:
    """Find the verb and parse its arguments. Raises SystemExit as argparse does."""
    found = find_verb(argv)
    if found is None:
        exit_with_help(argv)
    verb, rest = found
    own, command = split_command(rest) if verb.takes_command else (rest, [])
    parser = add_arguments(ArgumentParser(prog=f"{PROGRAM} {verb.name}", **parser_options(verb)), verb)
    # Intermixed: `send ROOM --to ROLE TEXT` is accepted like `send ROOM TEXT --to ROLE`.
    arguments, unknown = parser.parse_known_intermixed_args(own)
    if unknown:
        options = [name for names, _ in all_arguments(verb) for name in names if name.startswith("-")]
        parser.error(f"unrecognized: {' '.join(unknown)}. {suggest_name(unknown[0].partition('=')[0], options)}")
    if verb.takes_command:
        if not command:
            parser.error("give the command to run for each task after `--`")
        arguments.command = command
    return verb, arguments


def find_verb(argv: Sequence[str]) -> tuple[Verb, list[str]] | None:
    """The verb whose name `argv` starts with, and the remaining arguments; None if there is none."""
    for count in (2, 1):
        name = " ".join(argv[:count])
        for verb in VERBS:
            if len(argv) >= count and name in (verb.name, *verb.aliases):
                return verb, list(argv[count:])
    return None


def split_command(rest: list[str]) -> tuple[list[str], list[str]]:
    """Split a verb's own arguments from the command after the first `--`, which may hold options and `--` itself."""
    if "--" not in rest:
        return rest, []
    index = rest.index("--")
    return rest[:index], rest[index + 1 :]


def exit_with_help(argv: Sequence[str]) -> NoReturn:
    """Print help, or an error that suggests a verb. Always raises SystemExit."""
    parser = build_full_parser()
    if not argv:
        parser.print_help()
        parser.exit(2)
    first = argv[0]
    if first.startswith("-"):
        parser.parse_args(argv)  # --help, --version, or an option without a verb before it
        parser.error(f"a verb must come first: {PROGRAM} VERB {first} ...")
    subverbs = {verb.name for verb in VERBS if verb.name.startswith(f"{first} ")}
    if not subverbs:
        names = {*GROUPS, *(name for verb in VERBS for name in (verb.name, *verb.aliases))}
        parser.error(f"there is no verb `{first}`. {suggest_name(first, names)}")
    if len(argv) > 1 and argv[1] not in ("-h", "--help"):
        parser.error(f"there is no verb `{first} {argv[1]}`. {suggest_name(f'{first} {argv[1]}', subverbs)}")
    parser.parse_args([first, "--help"] if len(argv) > 1 else [first])
    parser.error(f"choose one of: {', '.join(sorted(subverbs))}")


def build_full_parser() -> ArgumentParser:
    """The parser of all verbs."""
    parser = ArgumentParser(prog=PROGRAM, description=ABOUT, epilog=EPILOG, allow_abbrev=False, **WITHOUT_COLOURS)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    top = parser.add_subparsers(metavar="VERB", title="verbs", required=True)
    groups: dict[str, _SubParsersAction[ArgumentParser]] = {}
    for verb in VERBS:
        group, _, last = verb.name.rpartition(" ")
        if group and group not in groups:
            group_parser = top.add_parser(
                group, help=GROUPS[group], description=GROUPS[group], allow_abbrev=False, **WITHOUT_COLOURS
            )
            groups[group] = group_parser.add_subparsers(metavar="VERB", title="verbs")
        branch = groups[group] if group else top
        add_arguments(branch.add_parser(last, help=verb.help, aliases=verb.aliases, **parser_options(verb)), verb)
    return parser


def parser_options(verb: Verb) -> dict[str, Any]:
    """The options with which a verb's parser is created."""
    detail = "" if not verb.detail else f"\n\n{verb.detail}"
    return {
        "description": f"{verb.help[0].upper()}{verb.help[1:]}.{detail}",
        "formatter_class": RawDescriptionHelpFormatter,
        **WITHOUT_COLOURS,
        "allow_abbrev": False,
    }


def add_arguments(parser: ArgumentParser, verb: Verb) -> ArgumentParser:
    """Add the arguments of a verb to a parser, and return it."""
    for names, options in all_arguments(verb):
        parser.add_argument(*names, **options)
    if verb.takes_command:
        parser.usage = f"{parser.format_usage().removeprefix('usage: ').rstrip()} -- COMMAND..."
    return parser
