"""`greenroom doctor`: runs all checks of this installation and prints their findings."""

import os
from argparse import Namespace
from collections.abc import Iterator
from itertools import chain
from typing import TextIO

from greenroom.cli import doctor_checks, doctor_daemon_checks
from greenroom.cli.display_text import escape_control
from greenroom.cli.doctor_checks import OK, PROBLEM, WARNING, Finding
from greenroom.cli.terminal import print_json
from greenroom.clock import SystemClock
from greenroom.daemon.run import read_daemon_files
from greenroom.domain.errors import GreenroomError
from greenroom.exit_codes import ExitCode
from greenroom.process.agent_clis import find_agent_clis
from greenroom.settings.paths import working_directory
from greenroom.settings.resolve import Settings, resolve_settings

MARKS = {OK: "ok     ", WARNING: "warning", PROBLEM: "problem"}


def run(arguments: Namespace, settings: None, out: TextIO, err: TextIO) -> int:
    """Run all checks; return 1 if there is a problem, 0 if there are at most warnings."""
    findings = list(chain(doctor_checks.check_python(), run_configured_checks(arguments)))
    if arguments.json:
        print_json(out, findings)
    else:
        for finding in findings:
            print(f"{MARKS[finding.level]}  {finding.what}: {escape_control(finding.detail)}", file=out)
            if finding.next:
                print(f"         -> {finding.next}", file=out)
    return ExitCode.FAILED if any(finding.level == PROBLEM for finding in findings) else ExitCode.DONE


def run_configured_checks(arguments: Namespace) -> Iterator[Finding]:
    """Run the checks that depend on the settings. Invalid settings are the last finding."""
    yield from doctor_checks.check_variables(os.environ)
    try:
        settings = resolve_settings(vars(arguments), os.environ, working_directory())
    except GreenroomError as error:
        yield Finding(what="configuration", level=PROBLEM, detail=error.detail, next=error.guidance)
        return
    yield Finding(what="configuration", level=OK, detail=describe_settings(settings))
    clock = SystemClock()
    yield from doctor_checks.check_data_dir(settings)
    yield from doctor_daemon_checks.check_sizes(settings)
    yield from doctor_checks.check_database(settings)
    yield from doctor_checks.check_token(settings)
    yield from doctor_checks.check_server(settings, clock)
    found, now = read_daemon_files(settings), clock.wall()
    yield from doctor_daemon_checks.check_machine(settings, found.machine)
    yield from doctor_daemon_checks.check_harnesses(settings, os.environ)
    yield from doctor_daemon_checks.check_clis(settings, find_agent_clis(os.environ))
    yield from doctor_daemon_checks.check_runs(settings, found.runs, now)
    yield from doctor_daemon_checks.check_outbox(settings, found.reports_written_at, now)


def describe_settings(settings: Settings) -> str:
    project = f"project {settings.project.path}" if settings.project else "no project"
    return f"{settings.url}, {project}"
