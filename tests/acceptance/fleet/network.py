"""Connects the machines of a fleet to the server, each by a network of its own that can be cut.

Where the system allows it, every machine has a network namespace with a veth pair to the host; a cut loses every packet
in both directions without notifying either side. Elsewhere each machine has a proxy that can stall.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Protocol

from tests.acceptance.proxy import Proxy

NETWORK = "198.18"
"""The address range that is reserved for benchmarks between networks; no real network uses it."""
PREFIX = "greenroom-"
NOWHERE = "02:00:00:00:00:99"
"""A hardware address that no device has."""


class Place(Protocol):
    """One machine's connection to the server: `prefix` begins the command line of whatever runs on the machine."""

    @property
    def prefix(self) -> tuple[str, ...]: ...

    def url(self, port: int) -> str: ...

    def cut(self) -> None: ...

    def mend(self) -> None: ...


class Network(Protocol):
    """`host` is the address on which the server has to listen; `names` are the prefixes of the devices' names."""

    @property
    def host(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def places(self) -> Sequence[Place]: ...

    def close(self) -> None: ...


class Island:
    """A network namespace with one veth pair to the host's."""

    def __init__(self, number: int, slot: int) -> None:
        self._name = f"{PREFIX}{os.getpid()}-{number}-{slot}"
        self._ours, self._theirs = f"gr{number}o{slot}", f"gr{number}t{slot}"
        self._host, self._address = f"{NETWORK}.{number}.1", f"{NETWORK}.{number}.{slot + 2}"
        self.prefix = ("nsenter", f"--net=/run/netns/{self._name}", "--")
        ip("netns", "add", self._name)
        try:
            ip("link", "add", self._ours, "type", "veth", "peer", "name", self._theirs, "netns", self._name)
        except BaseException:
            ip("netns", "del", self._name)  # The device of that name is another fleet's.
            raise
        try:
            self._lay_cable()
        except BaseException:
            self.close()
            raise

    def _lay_cable(self) -> None:
        ip("addr", "add", self._host, "peer", self._address, "dev", self._ours)
        ip("link", "set", self._ours, "up")
        ip("-n", self._name, "addr", "add", self._address, "peer", self._host, "dev", self._theirs)
        ip("-n", self._name, "link", "set", self._theirs, "up")
        ip("-n", self._name, "link", "set", "lo", "up")

    def url(self, port: int) -> str:
        return f"http://{self._host}:{port}"

    def cut(self) -> None:
        """Lose every packet, in both directions. No link goes down, so that neither side is notified."""
        nowhere = ("lladdr", NOWHERE, "nud", "permanent")
        ip("-n", self._name, "neigh", "replace", self._host, "dev", self._theirs, *nowhere)
        ip("neigh", "replace", self._address, "dev", self._ours, *nowhere)

    def mend(self) -> None:
        ip("-n", self._name, "neigh", "del", self._host, "dev", self._theirs)
        ip("neigh", "del", self._address, "dev", self._ours)

    def close(self) -> None:
        for words in (("link", "del", self._ours), ("netns", "del", self._name)):
            with suppress(OSError):
                ip(*words)


class Islands:
    """Networks of so many machines, each in a namespace of its own."""

    def __init__(self, count: int) -> None:
        self.number, first = claim_number()
        self.host = f"{NETWORK}.{self.number}.1"
        self.names = (f"{PREFIX}{os.getpid()}-{self.number}-", f"gr{self.number}o")
        self.places = [first]
        try:
            self.places += [Island(self.number, slot) for slot in range(1, count)]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for place in self.places:
            place.close()


def clear_ruins() -> None:
    """Remove the devices and namespaces of test processes that were killed."""
    for path in Path("/run/netns").glob(f"{PREFIX}*"):
        owner, number, slot = path.name.removeprefix(PREFIX).split("-")
        if not Path(f"/proc/{owner}").exists():
            for words in (("link", "del", f"gr{number}o{slot}"), ("netns", "del", path.name)):
                with suppress(OSError):
                    ip(*words)


def claim_number() -> tuple[int, Island]:
    """Reserve a number that no other fleet on this computer has, by creating the first device with its name."""
    clear_ruins()
    for number in range(1, 255):
        if not Path(f"/sys/class/net/gr{number}o0").exists():
            with suppress(FileExistsError):
                return number, Island(number, 0)
    raise OSError("every number is in use; remove old links whose names begin with gr: `ip link del`")


class Wire:
    """A proxy on the loopback. It is started with the first `url`, when the server's port is known."""

    prefix: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._proxy: Proxy | None = None

    def url(self, port: int) -> str:
        self._proxy = self._proxy or Proxy("127.0.0.1", port)
        return self._proxy.url

    def cut(self) -> None:
        assert self._proxy is not None
        self._proxy.swallow()

    def mend(self) -> None:
        assert self._proxy is not None
        self._proxy.mend()

    def close(self) -> None:
        if self._proxy is not None:
            self._proxy.close()


class Wires:
    """Networks of so many machines, each behind a proxy of its own."""

    host = "127.0.0.1"
    names = ()

    def __init__(self, count: int) -> None:
        self.places = [Wire() for _ in range(count)]

    def close(self) -> None:
        for place in self.places:
            place.close()


@cache
def kinds() -> tuple[str, ...]:
    """The kinds of network that are available here, the most realistic first."""
    try:
        Islands(1).close()
    except OSError:
        return ("proxies",)
    return ("namespaces", "proxies")


def open_network(count: int, kind: str | None = None) -> Network:
    return Islands(count) if (kind or kinds()[0]) == "namespaces" else Wires(count)


def ip(*words: str) -> None:
    """Run `ip`. Raises FileExistsError if the name exists, and OSError for any other failure."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        said = f"ip {' '.join(words)}: {done.stderr.strip()}"
        raise FileExistsError(said) if "File exists" in said else OSError(said)
