"""Describes the machine that figures were taken on, and how much of it other processes used meanwhile."""

import os
import platform
import resource
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil


class MachineInfo(msgspec.Struct, frozen=True):
    """Hardware and versions that belong to a figure."""

    cpu: str
    cores: int
    memory_gib: int
    kernel: str
    python: str
    sqlite: str
    disk: str
    at: str

    def __str__(self) -> str:
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gib} GiB; Linux {self.kernel}; {self.python}; "
            f"SQLite {self.sqlite} on {self.disk}; {self.at}"
        )


class OtherProcesses:
    """Measures how much of the machine other processes used since this object was created."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()
        self._busy_s, self._own_s = total_cpu_s(), own_cpu_s()

    def cpu_share(self) -> float:
        """The part of all cores' time, 0 to 1, that other processes used. Waited-for children count as our own."""
        passed_s = (time.monotonic() - self._began_at) * (os.cpu_count() or 1)
        return max(0.0, (total_cpu_s() - self._busy_s) - (own_cpu_s() - self._own_s)) / passed_s


def describe_machine(folder: Path) -> MachineInfo:
    """Describe this machine; `folder` is where the databases will be."""
    return MachineInfo(
        cpu=cpu_model(),
        cores=os.cpu_count() or 1,
        memory_gib=round(psutil.virtual_memory().total / 2**30),
        kernel=platform.release(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        sqlite=sqlite3.sqlite_version,
        disk=file_system(folder),
        at=f"{datetime.now(UTC):%Y-%m-%d}",
    )


def cpu_model() -> str:
    """The model name that the processor reports."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def file_system(folder: Path) -> str:
    """The type of a folder's file system. On one in memory a durable commit costs nothing, and means nothing."""
    resolved = folder.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if resolved.is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "an unknown file system"


def total_cpu_s() -> float:
    """CPU seconds of all cores together since boot, for all processes; stolen time included."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)


def own_cpu_s() -> float:
    """CPU seconds of this process and of the children that it has waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
