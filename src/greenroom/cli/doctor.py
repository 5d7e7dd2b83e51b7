"""`greenroom doctor`: runs all checks of this installation and prints their findings."""

import os
from argparse import Namespace
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TextIO

from greenroom.cli import examination, storeroom, workshop
from greenroom.cli.examination import OK, PROBLEM, WARNING, Finding
from greenroom.cli.exits import DONE, FAILED
from greenroom.cli.output import print_json, visible
from greenroom.clock import SystemClock
from greenroom.daemon.run import take_inventory
from greenroom.domain.errors import GreenroomError
from greenroom.process.discovery import discover
from greenroom.settings.resolve import Settings, resolve

MARKS = {OK: "ok     ", WARNING: "warning", PROBLEM: "problem"}


def run(arguments: Namespace, settings: None, out: TextIO, err: TextIO) -> int:
    """Run all checks; return 1 if there is a problem, 0 if there are at most warnings."""
    findings = list(chain(examination.examine_python(), examine_configured(arguments)))
    if arguments.json:
        print_json(out, findings)
    else:
        for finding in findings:
            print(f"{MARKS[finding.level]}  {finding.what}: {visible(finding.detail)}", file=out)
            if finding.next:
                print(f"         -> {finding.next}", file=out)
    return FAILED if any(finding.level == PROBLEM for finding in findings) else DONE


def examine_configured(arguments: Namespace) -> Iterator[Finding]:
    """Run the checks that depend on the settings. Invalid settings are the last finding."""
    yield from examination.examine_variables(os.environ)
    try:
        settings = resolve(vars(arguments), os.environ, Path.cwd())
    except GreenroomError as error:
        yield Finding(what="configuration", level=PROBLEM, detail=error.detail, next=error.guidance)
        return
    yield Finding(what="configuration", level=OK, detail=told(settings))
    clock = SystemClock()
    yield from examination.examine_data_dir(settings)
    yield from storeroom.examine_sizes(settings)
    yield from examination.examine_database(settings)
    yield from examination.examine_token(settings)
    yield from examination.examine_server(settings, clock)
    found, now = take_inventory(settings), clock.wall()
    yield from workshop.examine_machine(settings, found.machine)
    yield from workshop.examine_harnesses(settings, os.environ)
    yield from workshop.examine_clis(settings, discover(os.environ))
    yield from storeroom.examine_runs(settings, found.runs, now)
    yield from storeroom.examine_outbox(settings, found.facts_at, now)


def told(settings: Settings) -> str:
    project = f"project {settings.project.path}" if settings.project else "no project"
    return f"{settings.url}, {project}"
