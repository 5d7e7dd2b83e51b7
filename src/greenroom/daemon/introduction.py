"""The registration of a machine: its name, the harnesses that it can run now, and its labels."""

import logging
from collections.abc import Mapping

from greenroom.daemon.harness import House
from greenroom.daemon.machine import Machine, labels_of_this_machine
from greenroom.process.discovery import discover, unused
from greenroom.wire.requests import PutMachine

log = logging.getLogger("greenroom.daemon")

FOUND = "found"
"""The label that names the agent CLIs which are installed, but which no harness of the configuration runs."""


class Introduction:
    """Builds the registration, as the machine is at each call.

    A harness whose program is missing is left out, and logged once for as long as the program is missing.
    """

    def __init__(self, machine: Machine, house: House, labels: Mapping[str, str], environ: Mapping[str, str]) -> None:
        self._machine = machine
        self._house = house
        self._labels = dict(labels)
        self._environ = environ
        self._logged_missing: frozenset[str] = frozenset()

    def __call__(self) -> PutMachine:
        missing = self._house.hindrances(self._environ)
        for name in missing.keys() - self._logged_missing:
            log.warning("harness not offered: %s: %s", name, missing[name])
        self._logged_missing = frozenset(missing)
        found_clis = [cli.name for cli in unused(discover(self._environ), self._house.commands)]
        found_label = {FOUND: ", ".join(found_clis)} if found_clis else {}
        return PutMachine(
            name=self._machine.name,
            harnesses=[name for name in self._house.names if name not in missing],
            labels={**self._labels, **labels_of_this_machine(), **found_label},
        )
