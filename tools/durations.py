"""Draws every duration and limit with its variable, default and meaning. Must not know who waits for what."""

import msgspec

from greenroom.domain.reliability import DEFAULTS, variable_of
from tools.table import code, table

MEANING = {
    "heartbeat_interval_s": "how often an agent beats; it is told to come after 0.80 to 0.95 of this",
    "heartbeat_ttl_s": "how long an agent that beats for itself counts as present after its last beat",
    "daemon_heartbeat_interval_s": "how often a machine's daemon beats, for itself and all its agents",
    "daemon_heartbeat_ttl_s": "how long a machine and its agents count as present after its last beat",
    "sweep_interval_s": "how often cleanup looks for leases that have run out",
    "task_lost_after_s": "how long a task is kept for a holder whose lease is over, before others may claim it",
    "task_acknowledged_timeout_s": "the lease of an agent that got a task from `wait-for-task`, until its first call",
    "task_pending_timeout_s": "after how long a task that waits for an empty role raises attention",
    "takeover_grace_s": "how long a task that was taken over waits, at most, for its former holder's run to be stopped",
    "work_lease_s": "the lease of such an agent from its first call on; each further call counts it anew",
    "task_deaths_max": "how many attempts may die under a task before it is quarantined",
    "max_handoffs": "how many hand-offs one request may have before it counts as going in circles",
    "request_timeout_s": "after how long a request is given up, at most (a quarter of the interval if that is less)",
    "retry_pause_s": "the longest pause before a request is tried again (likewise)",
    "wait_step_s": "the longest step of any wait, so that a wake from sleep is seen",
    "first_contact_s": "how long an agent tries to reach a server that it has never reached",
    "stop_grace_s": "how long a process has between SIGTERM and SIGKILL",
    "restart_pause_s_min": "the shortest rest of an agent after an unintended end",
    "restart_pause_s_max": "the longest such rest; it doubles up to here with each further end",
    "restart_reset_s": "after how long without an unintended end they are counted from one again",
    "park_after_ends": "how many unintended ends inside the window park a role",
    "park_window_s": "the window in which they are counted",
    "park_pause_s": "after how long a parked role gets one run on trial",
    "start_timeout_s": "by when an agent that is wished to run, on a connected machine, is expected to have sat down",
    "clone_told_s": "how long people are told that two daemons spoke for one machine, after that was last heard",
    "house_pause_s_min": "the shortest rest before `greenroom up` starts a server or daemon again",
    "house_pause_s_max": "the longest such rest",
    "claim_wait_max_s": "how long one standing claim may wait in the server",
    "wishes_wait_max_s": "how long one wait for wishes may wait in the server",
    "stream_comment_s": "after how long a silent event stream says that it is still there",
    "stream_page": "how many events a follower takes at a time",
    "feed_events_kept": "how many events are kept in memory for followers; older ones are read from the store",
    "healer_late_s": "after how long without a finished round `/healthz` names a loop as late (at least two rounds)",
    "text_bytes_max": "the longest text of a message, task or result, in bytes of UTF-8",
    "body_bytes_max": "the longest body of a request",
    "stderr_bytes_kept": "how much of the end of a failed command's standard error is told",
    "run_output_bytes_max": "how much of each output stream of a run is kept on disk; of more, head and tail",
    "run_logs_bytes_max": "how much disk the output of finished runs may take on a machine; the oldest goes first",
    "page_default": "how many items a list has unless `limit` says otherwise",
    "page_max": "how many items a list has at most",
    "facts_per_post_max": "how many facts one post may carry",
    "facts_waiting_max": "how many facts a daemon keeps for a server that is away",
    "writer_queue_max": "how many changes may wait to be written before more are refused with 503",
    "writer_batch_max": "how many changes share one commit",
    "readers_max": "how many connections read from the store at a time",
    "reads_waiting_max": "how many queries may wait for those before more are refused with 503",
    "database_timeout_s": "how long PostgreSQL may take for an answer before its connection is given up",
    "sweep_batch_max": "how many ends one round of cleanup records",
    "sweep_looks_max": "how many leases one part of a round looks at, because beats wait for it",
    "idempotency_kept_s": "how long an answer is kept for its Idempotency-Key",
    "attempt_token_kept_s": "how long the token of a finished attempt may have its last call answered again",
    "run_logs_kept": "how many runs of each role a daemon keeps the output of",
    "events_kept_s": "how long events are kept for those who follow or ask",
    "events_kept_max": "how many events of one room or machine are kept, however young they are",
    "sittings_kept_s": "how long a sitting that ended is kept, if no open task can have been its work",
    "sittings_remembered_max": "how many sittings that ended are known in memory, where beats are answered",
    "facts_kept_s": "how long a daemon's fact is known, so that it is not taken twice",
    "incarnations_kept_s": "how long an earlier start of a machine's daemon is known, so that it does not come back",
    "retention_interval_s": "how often is looked for what need not be kept any longer; a deletion waits as long",
    "retention_rows_max": "how many rows are forgotten at a time, because other changes wait for it",
}


def draw_variables() -> str:
    """A row for each field, in the order in which they are declared."""
    rows = [
        (code(variable_of(field.name)), spelled(getattr(DEFAULTS, field.name)), MEANING[field.name])
        for field in msgspec.structs.fields(DEFAULTS)
    ]
    return table(("variable", "default", "meaning"), rows)


def spelled(value: float) -> str:
    """A whole number with all its digits, and seconds without needless ones."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def draw_relations() -> str:
    """The relations that a set of values has to keep."""
    rows = [(code(smaller), code(larger), because) for smaller, larger, because in DEFAULTS.relations()]
    return table(("this", "is not more than", "because"), rows)
