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

from tests.process.proxy import Proxy

NETWORK = "198.18"
"""The address range that is reserved for benchmarks between networks; no real network uses it."""
PREFIX = "greenroom-"
UNUSED_MAC = "02:00:00:00:00:99"
"""A hardware address that no device has."""


class MachineLink(Protocol):
    """One machine's connection to the server: `prefix` begins the command line of whatever runs on the machine."""

    @property
    def prefix(self) -> tuple[str, ...]: ...

    def url(self, port: int) -> str: ...

    def cut(self) -> None: ...

    def restore(self) -> None: ...


class FleetNetwork(Protocol):
    """`host` is the address on which the server has to listen; `names` are the prefixes of the devices' names."""

    @property
    def host(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def links(self) -> Sequence[MachineLink]: ...

    def close(self) -> None: ...


class NamespaceLink:
    """A network namespace with one veth pair to the host's."""

    def __init__(self, number: int, slot: int) -> None:
        self._name = f"{PREFIX}{os.getpid()}-{number}-{slot}"
        self._host_device, self._device = f"gr{number}o{slot}", f"gr{number}t{slot}"
        self._host, self._address = f"{NETWORK}.{number}.1", f"{NETWORK}.{number}.{slot + 2}"
        self.prefix = ("nsenter", f"--net=/run/netns/{self._name}", "--")
        ip("netns", "add", self._name)
        try:
            ip("link", "add", self._host_device, "type", "veth", "peer", "name", self._device, "netns", self._name)
        except BaseException:
            ip("netns", "del", self._name)  # The device of that name is another fleet's.
            raise
        try:
            self._configure()
        except BaseException:
            self.close()
            raise

    def _configure(self) -> None:
        ip("addr", "add", self._host, "peer", self._address, "dev", self._host_device)
        ip("link", "set", self._host_device, "up")
        ip("-n", self._name, "addr", "add", self._address, "peer", self._host, "dev", self._device)
        ip("-n", self._name, "link", "set", self._device, "up")
        ip("-n", self._name, "link", "set", "lo", "up")

    def url(self, port: int) -> str:
        return f"http://{self._host}:{port}"

    def cut(self) -> None:
        """Lose every packet, in both directions. No link goes down, so that neither side is notified."""
        nowhere = ("lladdr", UNUSED_MAC, "nud", "permanent")
        ip("-n", self._name, "neigh", "replace", self._host, "dev", self._device, *nowhere)
        ip("neigh", "replace", self._address, "dev", self._host_device, *nowhere)

    def restore(self) -> None:
        ip("-n", self._name, "neigh", "del", self._host, "dev", self._device)
        ip("neigh", "del", self._address, "dev", self._host_device)

    def close(self) -> None:
        for arguments in (("link", "del", self._host_device), ("netns", "del", self._name)):
            with suppress(OSError):
                ip(*arguments)


class NamespaceNetwork:
    """Networks of so many machines, each in a namespace of its own."""

    def __init__(self, count: int) -> None:
        self.number, first = claim_number()
        self.host = f"{NETWORK}.{self.number}.1"
        self.names = (f"{PREFIX}{os.getpid()}-{self.number}-", f"gr{self.number}o")
        self.links = [first]
        try:
            self.links += [NamespaceLink(self.number, slot) for slot in range(1, count)]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for link in self.links:
            link.close()


def remove_leftovers() -> None:
    """Remove the devices and namespaces of test processes that were killed."""
    for path in Path("/run/netns").glob(f"{PREFIX}*"):
        owner, number, slot = path.name.removeprefix(PREFIX).split("-")
        if not Path(f"/proc/{owner}").exists():
            for arguments in (("link", "del", f"gr{number}o{slot}"), ("netns", "del", path.name)):
                with suppress(OSError):
                    ip(*arguments)


def claim_number() -> tuple[int, NamespaceLink]:
    """Reserve a number that no other fleet on this computer has, by creating the first device with its name."""
    remove_leftovers()
    for number in range(1, 255):
        if not Path(f"/sys/class/net/gr{number}o0").exists():
            with suppress(FileExistsError):
                return number, NamespaceLink(number, 0)
    raise OSError("every number is in use; remove old links whose names begin with gr: `ip link del`")


class ProxyLink:
    """A proxy on the loopback. It is started with the first `url`, when the server's port is known."""

    prefix: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._proxy: Proxy | None = None

    def url(self, port: int) -> str:
        self._proxy = self._proxy or Proxy("127.0.0.1", port)
        return self._proxy.url

    def cut(self) -> None:
        assert self._proxy is not None
        self._proxy.stall()

    def restore(self) -> None:
        assert self._proxy is not None
        self._proxy.restore()

    def close(self) -> None:
        if self._proxy is not None:
            self._proxy.close()


class ProxyNetwork:
    """Networks of so many machines, each behind a proxy of its own."""

    host = "127.0.0.1"
    names = ()

    def __init__(self, count: int) -> None:
        self.links = [ProxyLink() for _ in range(count)]

    def close(self) -> None:
        for link in self.links:
            link.close()


@cache
def available_networks() -> tuple[str, ...]:
    """The kinds of network that are available here, the most realistic first."""
    try:
        NamespaceNetwork(1).close()
    except OSError:
        return ("proxies",)
    return ("namespaces", "proxies")


def open_network(count: int, kind: str | None = None) -> FleetNetwork:
    return NamespaceNetwork(count) if (kind or available_networks()[0]) == "namespaces" else ProxyNetwork(count)


def ip(*arguments: str) -> None:
    """Run `ip`. Raises FileExistsError if the name exists, and OSError for any other failure."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"ip {' '.join(arguments)}: {done.stderr.strip()}"
        raise FileExistsError(message) if "File exists" in message else OSError(message)
