"""Generates the docs' tables of all durations and limits, and of the relations between them."""

import msgspec

from greenroom.domain.limits import DEFAULT_LIMITS, variable_name
from tools.table import format_code, format_table

MEANINGS = {
    "heartbeat_interval_s": "how often an agent sends a heartbeat; each is requested after 0.80 to 0.95 of this",
    "heartbeat_ttl_s": "how long an agent that sends its own heartbeats counts as present after the last one",
    "daemon_heartbeat_interval_s": "how often a machine's daemon sends a heartbeat, for itself and all its agents",
    "daemon_heartbeat_ttl_s": "how long a machine and its agents count as present after its last heartbeat",
    "sweep_interval_s": "how often the sweep looks for expired leases",
    "task_lost_after_s": "how long a task is kept for a holder whose lease has expired, before another may claim it",
    "task_acknowledged_timeout_s": "the lease of an agent that got a task from `wait-for-task`, until its first call",
    "task_pending_timeout_s": "after how long a task that waits for a role without a participant raises an alert",
    "takeover_grace_s": "how long a task that was taken over waits, at most, for its former holder's run to stop",
    "work_lease_s": "the lease of such an agent from its first call on; each further call renews it",
    "task_failures_max": "after how many failed attempts a task is quarantined",
    "max_handoffs": "how many hand-offs one request may have before its task is quarantined",
    "request_timeout_s": "timeout of a client's request (a quarter of the heartbeat interval if that is less)",
    "retry_pause_s": "the longest delay before a client retries a request (likewise)",
    "wait_step_s": "the longest step of any wait, so that a wake from sleep is noticed",
    "first_contact_s": "how long an agent tries to reach a server that it has not reached before",
    "stop_grace_s": "how long a process has between SIGTERM and SIGKILL",
    "restart_backoff_s_min": "the shortest restart backoff of an agent after a failure",
    "restart_backoff_s_max": "the longest such backoff; it doubles up to this with each further failure",
    "restart_reset_s": "after how long without a failure the backoff is reset",
    "pause_s_max": "the longest pause that ends by itself; an agent that reports a later end waits for a user",
    "crash_loop_after_failures": "after how many failures inside the window a role's agent is crash-looping",
    "crash_loop_window_s": "the window in which these failures are counted",
    "crash_loop_probe_after_s": "after how long a crash-looping agent gets one probe run",
    "start_timeout_s": "how long an agent on a connected machine may take to join before it is shown as late",
    "duplicate_machine_alert_s": "how long an alert about two daemons of a machine outlasts the older one's last beat",
    "child_restart_delay_s_min": "the shortest delay before `greenroom up` restarts a server or daemon",
    "child_restart_delay_s_max": "the longest such delay",
    "claim_wait_max_s": "how long the server lets one claim wait for a task",
    "assignments_wait_max_s": "how long the server lets one request wait for changed assignments",
    "stream_heartbeat_s": "how often a stream sends a heartbeat; a client that misses three in a row reconnects",
    "stream_page": "how many events a stream sends at a time",
    "feed_events_kept": "how many events are kept in memory for streams; older ones are read from the store",
    "loop_late_after_s": "how long a loop may take for a round until `/healthz` calls it late (at least two rounds)",
    "text_bytes_max": "the longest text of a message, task or result, in bytes of UTF-8",
    "body_bytes_max": "the longest body of a request",
    "stderr_bytes_kept": "how much of the end of a failed command's standard error is reported",
    "run_output_bytes_max": "how much of each output stream of a run is kept on disk; of more, head and tail",
    "run_logs_bytes_max": "disk space for the output of finished runs on a machine; the oldest is deleted first",
    "page_default": "how many items a list has unless `limit` says otherwise",
    "page_max": "how many items a list has at most",
    "reports_per_post_max": "how many reports one call may carry",
    "reports_waiting_max": "how many reports a daemon keeps while the server cannot be reached",
    "writer_queue_max": "how many changes may wait to be written before more are rejected with 503",
    "writer_batch_max": "how many changes share one commit; on PostgreSQL no more than 60",
    "readers_max": "how many connections read from the store at a time",
    "reads_waiting_max": "how many queries may wait for these before more are rejected with 503",
    "database_timeout_s": "how long PostgreSQL may take to answer before its connection is closed",
    "sweep_batch_max": "how many expired leases one round of the sweep records",
    "sweep_looks_max": "how many leases the sweep checks at a stretch, because heartbeats wait meanwhile",
    "idempotency_kept_s": "how long an answer is kept for its `Idempotency-Key`",
    "attempt_token_grace_s": "how long a finished attempt's token may hand in a late result or repeat an earlier call",
    "run_logs_kept": "for how many runs of each role a daemon keeps the output",
    "events_kept_s": "how long events are kept for streams and queries",
    "events_kept_max": "how many events of one room or machine are kept, even if they are newer than that",
    "participants_kept_s": "how long a closed participant is kept, if no open task can have been its work",
    "participants_remembered_max": "how many closed participants are kept in memory, where heartbeats are answered",
    "reports_kept_s": "how long a daemon's report is remembered, so that it is not accepted twice",
    "incarnations_kept_s": "how long a machine's earlier incarnations are remembered, so that they cannot return",
    "retention_interval_s": "how often old data is deleted; the data of a deleted room is kept as long",
    "retention_rows_max": "how many rows are deleted at a time, because other changes wait meanwhile",
}


def draw_variables() -> str:
    """A row for each field, in the order of their declaration."""
    rows = [
        (
            format_code(variable_name(field.name)),
            format_default(getattr(DEFAULT_LIMITS, field.name)),
            MEANINGS[field.name],
        )
        for field in msgspec.structs.fields(DEFAULT_LIMITS)
    ]
    return format_table(("variable", "default", "meaning"), rows)


def format_default(value: float) -> str:
    """A whole number with all its digits; seconds without trailing zeros."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def draw_relations() -> str:
    """The relations that a set of values must satisfy."""
    rows = [
        (format_code(smaller), format_code(larger), because) for smaller, larger, because in DEFAULT_LIMITS.relations()
    ]
    return format_table(("value", "must not exceed", "because"), rows)
