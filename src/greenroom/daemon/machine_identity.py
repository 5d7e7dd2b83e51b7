"""The identity of this machine: an id that never changes, and a name, in a file of the data directory."""

import base64
import platform
import re
import socket
from pathlib import Path

import msgspec

from greenroom.domain.errors import ConfigurationError
from greenroom.domain.ids import check_name, is_name
from greenroom.entropy import Entropy
from greenroom.settings.files import write_record

SUFFIX_BYTES = 3
SUFFIX_LENGTH = 4
NAME_LENGTH_MAX = 64
PREFIX_LENGTH_MAX = NAME_LENGTH_MAX - SUFFIX_LENGTH - 1


class MachineIdentity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The id is for the API, the name for users. The id is final once a server has registered it (not `is_new`)."""

    id: str
    name: str
    is_new: bool = False


def read_or_create_identity(path: Path, entropy: Entropy, name: str | None = None) -> MachineIdentity:
    """Read the identity of this machine, or create and write it. `name` is its name; by default, the host's.

    A machine that gets a name before a server has registered it also has that name as its id: so a token can be created
    for it beforehand, and a first start with a wrong token or address decides nothing.
    Raises ConfigurationError when the file is invalid.
    """
    if name is not None:
        check_name("machine", name)
    try:
        machine = msgspec.json.decode(path.read_bytes(), type=MachineIdentity)
    except FileNotFoundError:
        return _create(path, entropy, name)
    except (OSError, msgspec.MsgspecError) as error:
        raise _invalid_file_error(path, str(error)) from error
    if not is_name(machine.id) or not is_name(machine.name):
        raise _invalid_file_error(path, "id and name must be names")
    if name is None:
        return machine
    return _create(path, entropy, name) if machine.is_new else msgspec.structs.replace(machine, name=name)


def record_registered(path: Path, machine: MachineIdentity) -> MachineIdentity:
    """Record that a server has registered this machine: its id does not change from now on. Raises OSError."""
    return _write(path, msgspec.structs.replace(machine, is_new=False))


def default_labels() -> dict[str, str]:
    """The labels that every machine has: operating system, architecture and Python version."""
    return {"os": platform.system().lower(), "arch": platform.machine(), "python": platform.python_version()}


def _create(path: Path, entropy: Entropy, name: str | None) -> MachineIdentity:
    host = slugify_host(socket.gethostname())
    suffix = base64.b32encode(entropy.random_bytes(SUFFIX_BYTES)).decode().lower()[:SUFFIX_LENGTH]
    return _write(
        path, MachineIdentity(id=name or f"{host[:PREFIX_LENGTH_MAX]}-{suffix}", name=name or host, is_new=True)
    )


def _write(path: Path, machine: MachineIdentity) -> MachineIdentity:
    write_record(path, machine)
    return machine


def slugify_host(host: str) -> str:
    """Convert a host's name to a valid machine name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", host.partition(".")[0]).strip("-_.")[:NAME_LENGTH_MAX] or "machine"


def _invalid_file_error(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} does not hold the identity of this machine: {why}.",
        "Restore it, or remove it: this machine then registers as a new one, and its agents must be set again.",
    )
