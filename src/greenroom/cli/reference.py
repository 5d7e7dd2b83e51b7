"""The reference of the command line, `docs/cli.md`, drawn from the table of verbs. Must not be written by hand."""

from argparse import SUPPRESS
from collections.abc import Iterator

from greenroom.cli.exits import MEANINGS
from greenroom.cli.verbs import JSON, SECTIONS, Argument, Verb

HEAD = """\
# The command line

Drawn from the table in `src/greenroom/cli/verbs.py` by `greenroom.cli.reference`; a test proves that it is current.

Data goes to standard output and talk to standard error.
`--json` prints one document with the names of the API, or one document on each line where a verb follows something.
Every verb takes `--url` and `--data-dir`; `greenroom config` shows what is in force and where it came from.
A TEXT may be typed, piped in, or given as a here-document; `-` asks for standard input.
"""


def render() -> str:
    """The whole page."""
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in MEANINGS.items())
    parts = [HEAD, f"## Exit codes\n\n| code | meaning |\n|---|---|\n{codes}\n"]
    for title, verbs in SECTIONS:
        parts.append(f"## {title}\n")
        parts += ["\n".join(entry(verb)) + "\n" for verb in verbs]
    return "\n".join(parts)


def entry(verb: Verb) -> Iterator[str]:
    """What the page says of one verb."""
    yield f"### `greenroom {usage(verb)}`"
    yield ""
    yield f"{verb.help[0].upper()}{verb.help[1:]}." + (f" {' '.join(verb.detail.split())}" if verb.detail else "")
    if verb.aliases:
        yield f"Also called {', '.join(f'`{alias}`' for alias in verb.aliases)}."
    arguments = [*shown(verb), *([JSON] if verb.json else [])]
    if arguments:
        yield ""
    for argument in arguments:
        yield f"- `{label(argument)}`: {argument.options['help']}"


def shown(verb: Verb) -> list[Argument]:
    """The arguments that people are told of."""
    return [argument for argument in verb.arguments if argument.options["help"] != SUPPRESS]


def usage(verb: Verb) -> str:
    """The verb with its arguments in a line; options that may be left out stand in brackets."""
    words = [verb.name]
    for argument in shown(verb):
        must = argument.options.get("required", not is_option(argument) and argument.options.get("nargs") != "?")
        words.append(label(argument) if must else f"[{label(argument)}]")
    return " ".join([*words, *(["-- COMMAND..."] if verb.takes_command else [])])


def label(argument: Argument) -> str:
    """An argument as it is typed."""
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
