"""States of a job, which may follow which, and their words on the wire. No Django.

    validating_files -> queued -> leased -> starting -> running -> finishing -> succeeded
    leased | starting | running | finishing -> queued        the worker was lost, drained, or made room
    queued | any of these -> blocked -> queued               paused, or a limit is reached; resumed
    any state with a lease -> cancelling -> cancelled
    any state that is not final -> failed | cancelled

The database refuses everything else (see the first migration), so no fault in the code can undo an end.
"""

VALIDATING = "validating_files"
QUEUED = "queued"
BLOCKED = "blocked"
LEASED = "leased"
STARTING = "starting"
RUNNING = "running"
FINISHING = "finishing"
CANCELLING = "cancelling"
SUCCEEDED = "succeeded"
FAILED = "failed"
CANCELLED = "cancelled"

ALL = (
    VALIDATING,
    QUEUED,
    BLOCKED,
    LEASED,
    STARTING,
    RUNNING,
    FINISHING,
    CANCELLING,
    SUCCEEDED,
    FAILED,
    CANCELLED,
)
WORKING = (LEASED, STARTING, RUNNING, FINISHING)
HELD = (*WORKING, CANCELLING)
"""A worker holds a lease."""
WAITING = (VALIDATING, QUEUED)
"""On the way to a machine."""
IDLE = (*WAITING, BLOCKED)
"""No worker holds it, and it has not ended."""
FINAL = (SUCCEEDED, FAILED, CANCELLED)

PAUSED, BUDGET, QUOTA, SUSPENDED, HOLD = "paused", "budget", "quota", "suspended", "hold"
BLOCKS = (PAUSED, BUDGET, QUOTA, SUSPENDED, HOLD)
"""Why a job is blocked: its tenant paused it, its price ceiling is reached, a spend limit no longer carries it, its
organisation is suspended, or staff hold it."""
OWN = (PAUSED, BUDGET)
"""Those that their tenant may lift whenever it likes."""
LIMITS = (QUOTA, SUSPENDED)
"""Those that come over a job while it waits or runs."""

_WIRE = {
    LEASED: "running",
    STARTING: "running",
    RUNNING: "running",
    FINISHING: "running",
    # A cancel that was accepted can no longer end in anything else, so the wire may say so at once.
    CANCELLING: CANCELLED,
    BLOCKED: "paused",
}


def wire(state: str) -> str:
    """The state in the words of the OpenAI client."""
    return _WIRE.get(state, state)


NEXT: dict[str, frozenset[str]] = {
    VALIDATING: frozenset({QUEUED, FAILED, CANCELLED}),
    QUEUED: frozenset({LEASED, BLOCKED, FAILED, CANCELLED}),
    BLOCKED: frozenset({QUEUED, FAILED, CANCELLED}),
    LEASED: frozenset({STARTING, QUEUED, BLOCKED, CANCELLING, FAILED}),
    STARTING: frozenset({RUNNING, QUEUED, BLOCKED, CANCELLING, FAILED}),
    RUNNING: frozenset({FINISHING, QUEUED, BLOCKED, CANCELLING, FAILED}),
    FINISHING: frozenset({SUCCEEDED, QUEUED, BLOCKED, CANCELLING, FAILED}),
    CANCELLING: frozenset({CANCELLED}),
    SUCCEEDED: frozenset(),
    FAILED: frozenset(),
    CANCELLED: frozenset(),
}


def check_sql() -> str:
    """The body of the trigger that holds a job to this table, its attempts and its checkpoints."""
    allowed = " OR ".join(
        f"(OLD.state = '{state}' AND NEW.state IN ({', '.join(repr(name) for name in sorted(following))}))"
        for state, following in NEXT.items()
        if following
    )
    return (
        "BEGIN\n"
        f"  IF NEW.state <> OLD.state AND NOT ({allowed}) THEN\n"
        "    RAISE EXCEPTION 'job %: % cannot become %', OLD.id, OLD.state, NEW.state USING ERRCODE = '23514';\n"
        "  END IF;\n"
        "  IF NEW.attempt < OLD.attempt OR NEW.checkpoint_step < OLD.checkpoint_step\n"
        "     OR NEW.event_seq < OLD.event_seq THEN\n"
        "    RAISE EXCEPTION 'job %: attempt, checkpoint and events only go forward', OLD.id "
        "USING ERRCODE = '23514';\n"
        "  END IF;\n"
        "  IF OLD.state IN ('succeeded', 'failed', 'cancelled') AND (NEW.price_nano <> OLD.price_nano\n"
        "     OR NEW.attempt <> OLD.attempt OR NEW.model_name <> OLD.model_name\n"
        "     OR NEW.trained_tokens <> OLD.trained_tokens OR NEW.error_code <> OLD.error_code\n"
        "     OR NEW.model_version_id IS DISTINCT FROM OLD.model_version_id\n"
        "     OR NEW.result_file_id IS DISTINCT FROM OLD.result_file_id) THEN\n"
        "    RAISE EXCEPTION 'job %: it has ended; what it cost and made is final', OLD.id USING ERRCODE = '23514';\n"
        "  END IF;\n"
        "  RETURN NEW;\n"
        "END"
    )
