"""Defines every duration and limit, and the relations between them that self-healing depends on.

Durations are seconds. Each field has an environment variable of its own: `GREENROOM_` + the field's name in capitals
(`heartbeat_interval_s` is `GREENROOM_HEARTBEAT_INTERVAL_S`). Values that break a relation raise ConfigurationError.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from greenroom.domain.errors import ConfigurationError

VARIABLE_PREFIX = "GREENROOM_"
SPREAD_RETRIES_CLIENTS = 200
SPREAD_RETRIES_ROLES = 1000
"""With more beating clients than SPREAD_RETRIES_CLIENTS, or more roles with a present participant than
SPREAD_RETRIES_ROLES, the server asks for retries that are spread over half an interval instead of 2 s.
"""

# What one request may carry. The bounds in `wire.requests`, and so in the OpenAPI document, come from these.
ROLES_MAX = 64
HARNESSES_MAX = 64
LABELS_MAX = 64
AGENTS_PER_BEAT_MAX = 1000
REPORTS_PER_POST_MAX = 1000
REQUESTS_MAX = 1000
HEAD_BYTES_MAX = 64 * 1024
"""How long the first line and the headers of a request may be together."""
HEAD_TIMEOUT_S = 30.0
"""How long a client may take to send them."""
DRAINED_BYTES_MAX = 64 * 1024 * 1024
"""How much of a refused body the server still receives, so that the sender gets to read the refusal."""

WRITER_CACHED_RESULTS_MAX = 10_000
"""How many query results the writer caches of each table that seldom changes. At the limit that cache is cleared."""

WRITER_CACHED_CHARACTERS_MAX = 16 * 1024 * 1024
"""How many characters all cached results of a table may have. At the limit that cache is cleared as well; a longer
result is then cached alone.
"""

WRITER_CACHED_STREAMS_MAX = 100_000
"""Of how many streams the writer caches the last `seq`. At the limit it reads them from the store again."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The durations and limits of one process."""

    # Heartbeats and leases.
    heartbeat_interval_s: float = 30.0
    heartbeat_ttl_s: float = 90.0
    daemon_heartbeat_interval_s: float = 30.0
    daemon_heartbeat_ttl_s: float = 120.0
    sweep_interval_s: float = 1.0
    # Tasks.
    task_lost_after_s: float = 60.0
    task_acknowledged_timeout_s: float = 120.0
    task_pending_timeout_s: float = 300.0
    takeover_grace_s: float = 10.0
    work_lease_s: float = 3600.0
    task_failures_max: int = 3
    max_handoffs: int = 30
    # Clients and processes.
    request_timeout_s: float = 5.0
    retry_pause_s: float = 2.0
    wait_step_s: float = 1.0
    first_contact_s: float = 10.0
    stop_grace_s: float = 5.0
    restart_backoff_s_min: float = 1.0
    restart_backoff_s_max: float = 300.0
    restart_reset_s: float = 600.0
    pause_s_max: float = 90_000.0
    crash_loop_after_failures: int = 3
    crash_loop_window_s: float = 300.0
    crash_loop_probe_after_s: float = 300.0
    start_timeout_s: float = 60.0
    duplicate_machine_alert_s: float = 3600.0
    child_restart_delay_s_min: float = 0.2
    child_restart_delay_s_max: float = 5.0
    # Waiting and streaming.
    claim_wait_max_s: float = 25.0
    assignments_wait_max_s: float = 25.0
    stream_heartbeat_s: float = 10.0
    stream_page: int = 500
    feed_events_kept: int = 10_000
    loop_late_after_s: float = 15.0
    # Sizes.
    text_bytes_max: int = 1024 * 1024
    body_bytes_max: int = 7 * 1024 * 1024
    stderr_bytes_kept: int = 4096
    run_output_bytes_max: int = 64 * 1024 * 1024
    run_logs_bytes_max: int = 1024 * 1024 * 1024
    page_default: int = 100
    page_max: int = 1000
    reports_per_post_max: int = REPORTS_PER_POST_MAX
    reports_waiting_max: int = 10_000
    # The store.
    writer_queue_max: int = 10_000
    writer_batch_max: int = 256
    readers_max: int = 8
    reads_waiting_max: int = 1000
    database_timeout_s: float = 4.0
    sweep_batch_max: int = 1000
    sweep_looks_max: int = 250
    # Retention.
    idempotency_kept_s: float = 86_400.0
    attempt_token_grace_s: float = 86_400.0
    run_logs_kept: int = 50
    events_kept_s: float = 2_592_000.0
    events_kept_max: int = 100_000
    participants_kept_s: float = 2_592_000.0
    participants_remembered_max: int = 100_000
    reports_kept_s: float = 2_592_000.0
    incarnations_kept_s: float = 2_592_000.0
    retention_interval_s: float = 60.0
    retention_rows_max: int = 500

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise invalid_limits(f"{name} = {value}", "a number above 0", name)
        for smaller, larger, reason in self.relations():
            if evaluate_side(self, smaller) > evaluate_side(self, larger) * (1 + 1e-9):
                raise invalid_limits(
                    f"{smaller} = {evaluate_side(self, smaller):g} and {larger} = {evaluate_side(self, larger):g}",
                    reason,
                    smaller,
                    larger,
                )

    def relations(self) -> tuple[tuple[str, str, str], ...]:
        """Return the relations that must hold, in field names: (the smaller side, the larger side, the reason)."""
        return (
            ("3 * heartbeat_interval_s", "heartbeat_ttl_s", "a lease tolerates two missed beats"),
            (
                "4 * daemon_heartbeat_interval_s",
                "daemon_heartbeat_ttl_s",
                "a machine's lease tolerates three missed beats",
            ),
            ("sweep_interval_s", "heartbeat_interval_s", "the sweep runs at least once per heartbeat interval"),
            ("wait_step_s", "1", "a wake from sleep is noticed within a second"),
            (
                "heartbeat_ttl_s",
                "work_lease_s",
                "the lease of a working agent is not shorter than that of a waiting one",
            ),
            (
                "task_acknowledged_timeout_s",
                "work_lease_s",
                "an acknowledged task is not held longer than a started one",
            ),
            ("restart_backoff_s_min", "restart_backoff_s_max", "the shortest pause is not longer than the longest"),
            (
                "stop_grace_s",
                "takeover_grace_s",
                "an agent whose role was taken over has time to stop before its task is claimed",
            ),
            (
                "child_restart_delay_s_min",
                "child_restart_delay_s_max",
                "the shortest pause is not longer than the longest",
            ),
            ("page_default", "page_max", "the default page is a permitted page"),
        )

    def request_timeout_for(self, interval_s: float) -> float:
        """Rq: the timeout in seconds of a request of a client that beats every `interval_s`."""
        return min(self.request_timeout_s, interval_s / 4)

    def retry_pause_for(self, interval_s: float, spread_retries: bool = False) -> float:
        """Rt: the longest random pause in seconds before a retry; longer where the server reports many clients.

        Rq + Rt + Rq never exceeds the interval, so a lost request is made good within one interval.
        """
        if spread_retries:
            return interval_s / 2
        return min(self.retry_pause_s, interval_s / 4)

    def claim_wait_for(self, interval_s: float) -> float:
        """Return the seconds that one long-polling claim may wait: it ends, and is sent again, within an interval."""
        return max(min(self.claim_wait_max_s, interval_s - self.request_timeout_for(interval_s)), 0.01)

    def next_beat_in_s(self, interval_s: float, fraction: float) -> float:
        """Return the seconds until the next beat, spread over 0.80 to 0.95 of the interval by `fraction` in [0, 1)."""
        return interval_s * (0.80 + 0.15 * fraction)


def evaluate_side(limits: Limits, side: str) -> float:
    """Return the value of one side of a relation: a number, a field, or a factor times a field."""
    factor, _, name = side.rpartition(" * ")
    number = float(name) if name.isdigit() else float(getattr(limits, name))
    return number * (float(factor) if factor else 1.0)


def variable_name(name: str) -> str:
    """Return the name of a field's environment variable."""
    return VARIABLE_PREFIX + name.upper()


def read_limits(environment: Mapping[str, str]) -> Limits:
    """Read the values from the environment. Raises ConfigurationError for a non-number or a broken relation."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(Limits):
        text = environment.get(variable_name(field.name))
        if text is None:
            continue
        try:
            values[field.name] = int(text) if field.type is int else float(text)
        except ValueError:
            expected = "a whole number" if field.type is int else "a number of seconds"
            raise ConfigurationError(
                f"{variable_name(field.name)} is {text!r}, which is not {expected}.", "Correct it or unset it."
            ) from None
    return Limits(**values)


def invalid_limits(values: str, reason: str, *sides: str) -> ConfigurationError:
    """Return the error for values that cannot be in force: it names the values, and the variables to change."""
    variables = ", ".join(variable_name(side.rpartition(" * ")[2]) for side in sides if not side.isdigit())
    return ConfigurationError(f"Invalid settings: {values} (required: {reason}).", f"Change {variables}.")


DEFAULT_LIMITS = Limits()  # Made at import: this checks the defaults as well.
