"""What a machine tells of itself when it registers: what it can run now, and its labels. Must not know who is told."""

import logging
from collections.abc import Mapping

from greenroom.daemon.harness import House
from greenroom.daemon.machine import Machine, labels_of_this_machine
from greenroom.process.discovery import discover, unused
from greenroom.wire.requests import PutMachine

log = logging.getLogger("greenroom.daemon")

FOUND = "found"
"""The label that names agent CLIs which are installed, and which the owner has not let anybody run yet."""


def introduction(machine: Machine, house: House, labels: Mapping[str, str], environ: Mapping[str, str]) -> PutMachine:
    """The machine as it is now. A harness whose program is missing is not told of, and the owner is told why."""
    missing = house.hindrances(environ)
    for name, error in missing.items():
        log.warning("the harness %s is not offered: %s", name, error)
    found = [cli.name for cli in unused(discover(environ), house.commands)]
    more = {FOUND: ", ".join(found)} if found else {}
    return PutMachine(
        name=machine.name,
        harnesses=[name for name in house.names if name not in missing],
        labels={**labels, **labels_of_this_machine(), **more},
    )
