"""Starts a resident process, and reads its result when it has ended."""

from pathlib import Path

from greenroom.client import result
from greenroom.client.result import Result, read_result
from greenroom.daemon.harness import Recipe
from greenroom.daemon.premises import Premises
from greenroom.daemon.residents import Resident, ResidentBook
from greenroom.domain.errors import ConfigurationError
from greenroom.process.environment import child_environment
from greenroom.process.group import Exit, Group
from greenroom.process.output import tail_of
from greenroom.wire.replies import Wish

OWN_FOLDER = "agent"
RESULT_FILE = "result.json"


def prepare(premises: Premises, book: ResidentBook, wish: Wish, connection_id: str) -> Resident:
    """Record the process that is about to be started. Raises ConfigurationError if that fails."""
    folder = premises.shelf.place(wish.room_name, wish.role, connection_id, 1)
    resident = Resident(connection_id=connection_id, wish=wish, folder=str(folder), began_at=premises.clock.wall())
    try:
        book.note(resident)
    except OSError as error:
        raise ConfigurationError(f"The process cannot be recorded: {error}.", "Free space on the disk.") from error
    return resident


def start(premises: Premises, resident: Resident, recipe: Recipe, token: str) -> Group:
    """Start the process. Raises ConfigurationError if it cannot be started."""
    variables = environment_of(premises.desk.url, resident, token)
    env = child_environment(premises.environ, {**recipe.env, **variables})
    folder, bytes_max = Path(resident.folder), premises.limits.run_output_bytes_max
    return Group.spawn(recipe.command, recipe.workdir, env, b"", folder, resident.marks, bytes_max)


def environment_of(url: str, resident: Resident, token: str) -> dict[str, str]:
    """The variables that a resident gets: its role, the server, and a token for that role alone.

    The room is given by its id, which stays when the room is renamed. The data directory of the process is in the
    folder of the run, apart from the daemon's own files.
    """
    folder = Path(resident.folder)
    return {
        "GREENROOM_URL": url,
        "GREENROOM_ROOM": resident.wish.room,
        "GREENROOM_ROLE": resident.wish.role,
        "GREENROOM_TOKEN": token,
        "GREENROOM_DATA_DIR": str(folder / OWN_FOLDER),
        result.VARIABLE: str(folder / RESULT_FILE),
        **resident.marks,
    }


def said_by(resident: Resident) -> Result | None:
    """The result that the process itself reported; None if there is none."""
    folder = Path(resident.folder)
    return read_result(None, folder / RESULT_FILE, folder / "stdout")


def last_words(premises: Premises, resident: Resident, said: Result | None, ended: Exit | None) -> str:
    """Why it ended, as text: its own reason, its exit status and the end of its standard error."""
    reason = said.reason if said is not None else ""
    printed = tail_of(Path(resident.folder) / "stderr", premises.limits.stderr_bytes_kept)
    return "\n".join(line for line in (reason, str(ended or ""), printed) if line).strip()
