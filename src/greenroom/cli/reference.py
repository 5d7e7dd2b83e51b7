"""Generates `docs/cli.md`, the reference of the command line, from the table of verbs."""

from argparse import SUPPRESS
from collections.abc import Iterator

from greenroom.cli.verbs import JSON, SECTIONS, Argument, Verb
from greenroom.exit_codes import ExitCode

HEAD = """\
# The command line

Generated from the table in `src/greenroom/cli/verbs.py` by `greenroom.cli.reference`; a test checks that it is current.

Data goes to standard output, hints and errors to standard error.
`--json` prints one document with the field names of the API; a verb that follows something prints one on each line.
Every verb takes `--url` and `--data-dir`; `greenroom config` shows the values in force and their origins.
A TEXT is an argument; `-` in its place reads standard input, which may be a pipe, a file or a here-document.
Without `-` standard input is not read.
"""


def render() -> str:
    """The whole page."""
    codes = "\n".join(f"| {code} | {code.meaning} |" for code in ExitCode)
    parts = [HEAD, f"## Exit codes\n\n| code | meaning |\n|---|---|\n{codes}\n"]
    for title, verbs in SECTIONS:
        parts.append(f"## {title}\n")
        parts += ["\n".join(render_verb(verb)) + "\n" for verb in verbs]
    return "\n".join(parts)


def render_verb(verb: Verb) -> Iterator[str]:
    """The section of one verb."""
    yield f"### `greenroom {render_usage(verb)}`"
    yield ""
    yield f"{verb.help[0].upper()}{verb.help[1:]}." + (f" {' '.join(verb.detail.split())}" if verb.detail else "")
    if verb.aliases:
        yield f"Also called {', '.join(f'`{alias}`' for alias in verb.aliases)}."
    arguments = [*documented_arguments(verb), *([JSON] if verb.json else [])]
    if arguments:
        yield ""
    for argument in arguments:
        yield f"- `{render_argument(argument)}`: {argument.options['help']}"


def documented_arguments(verb: Verb) -> list[Argument]:
    """The arguments that are documented."""
    return [argument for argument in verb.arguments if argument.options["help"] != SUPPRESS]


def render_usage(verb: Verb) -> str:
    """The verb with its arguments on one line; optional ones are in brackets."""
    words = [verb.name]
    for argument in documented_arguments(verb):
        is_required = argument.options.get("required", not is_option(argument) and argument.options.get("nargs") != "?")
        words.append(render_argument(argument) if is_required else f"[{render_argument(argument)}]")
    return " ".join([*words, *(["-- COMMAND..."] if verb.takes_command else [])])


def render_argument(argument: Argument) -> str:
    """An argument as the user types it."""
    options = argument.options
    name = argument.names[0]
    if options.get("action") == "store_true":
        return name
    if not is_option(argument):
        return str(options.get("metavar") or "|".join(options["choices"]))
    value = options.get("metavar") or (
        "|".join(options["choices"]) if "choices" in options else name.lstrip("-").upper()
    )
    return f"{name} {value}"


def is_option(argument: Argument) -> bool:
    return argument.names[0].startswith("-")


if __name__ == "__main__":
    print(render(), end="")
