"""`greenroom completion`: prints a completion script, generated from the table of verbs."""

from argparse import Namespace
from typing import TextIO

import shtab

from greenroom.cli.parser import PROGRAM, build_full_parser
from greenroom.exit_codes import ExitCode
from greenroom.settings.resolve import Settings


def run(arguments: Namespace, settings: Settings | None, out: TextIO, err: TextIO) -> int:
    parser = build_full_parser()
    parser.prog = PROGRAM
    print(shtab.complete(parser, shell=arguments.shell), file=out)
    return ExitCode.DONE
