"""The context that one daemon hands to all of its role runners."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from greenroom.clock import Clock
from greenroom.daemon.desk import Desk
from greenroom.daemon.harness import House, Recipe
from greenroom.daemon.histories import Histories
from greenroom.daemon.outbox import Outbox
from greenroom.daemon.runs import RunBook
from greenroom.daemon.shelf import LogShelf
from greenroom.domain.ids import ID_BYTES, spell_id
from greenroom.domain.reliability import Reliability
from greenroom.entropy import Entropy
from greenroom.process.environment import child_environment
from greenroom.process.program import check_program
from greenroom.wire.replies import Wish


@dataclass(frozen=True)
class Premises:
    """What all role runners of a daemon share: server link, harnesses, files, clock and the state of the heartbeat."""

    desk: Desk
    house: House
    outbox: Outbox
    book: RunBook
    shelf: LogShelf
    histories: Histories
    clock: Clock
    entropy: Entropy
    limits: Reliability
    environ: Mapping[str, str]
    is_connected: Callable[[], bool]
    beat_now: Callable[[], None]
    is_crowded: Callable[[], bool] = lambda: False

    def recipe(self, wish: Wish) -> Recipe:
        """Resolve how this machine runs an agent spec now. Raises ConfigurationError that names what is missing."""
        recipe = self.house.recipe(wish)
        check_program(recipe.command, recipe.workdir, child_environment(self.environ, recipe.env))
        return recipe

    def new_id(self, prefix: str) -> str:
        """Create an id that cannot be guessed."""
        return spell_id(prefix, self.entropy.token(ID_BYTES))

    def retry_pause_s(self) -> float:
        """A random pause in seconds before a call that did not reach the server is retried."""
        return self.limits.retry_pause_for(self.limits.daemon_heartbeat_interval_s) * self.entropy.fraction()
