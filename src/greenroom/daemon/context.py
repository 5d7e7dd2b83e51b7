"""The context that one daemon hands to all of its role runners."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from greenroom.clock import Clock
from greenroom.daemon.harness import HarnessPolicy, RunRecipe
from greenroom.daemon.outbox import Outbox
from greenroom.daemon.restart_state import RestartStates
from greenroom.daemon.run_logs import RunLogs
from greenroom.daemon.run_records import RunRecords
from greenroom.daemon.server_link import ServerLink
from greenroom.domain.ids import ID_BYTES, format_id
from greenroom.domain.limits import Limits
from greenroom.entropy import Entropy
from greenroom.process.command import check_program, child_environment
from greenroom.wire.replies import Assignment


@dataclass(frozen=True)
class DaemonContext:
    """What all role runners of a daemon share: server link, harnesses, files, clock and the state of the heartbeat."""

    server_link: ServerLink
    harness_policy: HarnessPolicy
    outbox: Outbox
    run_records: RunRecords
    run_logs: RunLogs
    restart_states: RestartStates
    clock: Clock
    entropy: Entropy
    limits: Limits
    environ: Mapping[str, str]
    is_connected: Callable[[], bool]
    beat_now: Callable[[], None]
    must_spread_retries: Callable[[], bool] = lambda: False

    def resolve_recipe(self, spec: Assignment) -> RunRecipe:
        """Resolve how this machine runs an agent spec now. Raises ConfigurationError that names what is missing."""
        recipe = self.harness_policy.resolve_recipe(spec)
        check_program(recipe.command, recipe.workdir, child_environment(self.environ, recipe.env))
        return recipe

    def new_id(self, prefix: str) -> str:
        """Create an id that cannot be guessed."""
        return format_id(prefix, self.entropy.random_bytes(ID_BYTES))

    def retry_pause_s(self) -> float:
        """A random pause in seconds before a call that did not reach the server is retried."""
        return self.limits.retry_pause_for(self.limits.daemon_heartbeat_interval_s) * self.entropy.fraction()
