"""What pages say for codes: the word, the icon and the tone of each state, and what was called."""

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from billing.prices import batch_kind, is_batch


@dataclass(frozen=True, slots=True)
class State:
    """What a reader sees. `icon` may be `dot` (steady) or `live` (breathing)."""

    label: str | Promise
    icon: str
    tone: str


STATES: dict[str, State] = {
    # files and datasets
    "uploaded": State(_("Waiting to be checked"), "clock", "muted"),
    "pending": State(_("Waiting"), "clock", "muted"),
    "processing": State(_("Checking"), "live", "accent"),
    "processed": State(_("Ready"), "check", "ok"),
    "ready": State(_("Ready"), "check", "ok"),
    "error": State(_("Cannot be used"), "circle-x", "danger"),
    # jobs
    "validating_files": State(_("Checking data"), "live", "accent"),
    "preparing": State(_("Checking data"), "live", "accent"),
    "searching": State(_("Trying settings"), "live", "accent"),
    "queued": State(_("Queued"), "clock", "muted"),
    "paused": State(_("Paused"), "pause", "warn"),
    "leased": State(_("Taken"), "live", "accent"),
    "starting": State(_("Starting"), "live", "accent"),
    "running": State(_("Training"), "live", "accent"),
    "cancelling": State(_("Cancelling"), "live", "muted"),
    "succeeded": State(_("Succeeded"), "check", "ok"),
    "warning": State(_("Warning"), "triangle-alert", "warn"),
    "failed": State(_("Failed"), "circle-x", "danger"),
    "cancelled": State(_("Cancelled"), "square", "muted"),
    # batches
    "validating": State(_("Checking lines"), "live", "accent"),
    "in_progress": State(_("Running"), "live", "accent"),
    "finalizing": State(_("Finishing"), "live", "accent"),
    "completed": State(_("Completed"), "check", "ok"),
    # support
    "thread_open": State(_("Open"), "clock", "muted"),
    "thread_waiting": State(_("Answered"), "mail", "accent"),
    "thread_solved": State(_("Solved"), "check", "ok"),
    "thread_reopened": State(_("Reopened"), "rotate-ccw", "warn"),
    # places to train
    "idle": State(_("Idle"), "circle", "muted"),
    "busy": State(_("Busy"), "dot", "accent"),
    "draining": State(_("Draining"), "live", "warn"),
    "drained": State(_("Drained"), "pause", "muted"),
    "unwell": State(_("No heartbeat"), "triangle-alert", "danger"),
    # how hot the queue is
    "cold": State(_("Cold"), "check", "ok"),
    "warm": State(_("Warm"), "clock", "warn"),
    "hot": State(_("Hot"), "triangle-alert", "danger"),
    # engines of a deployment's own
    "engines_cold": State(_("Cold"), "circle", "muted"),
    "engines_starting": State(_("Starting"), "live", "accent"),
    "engines_running": State(_("Running"), "dot", "ok"),
    "engines_halted": State(_("Stopped"), "triangle-alert", "danger"),
    # deployments
    "rolling": State(_("Running"), "live", "accent"),
    "promoted": State(_("Promoted"), "check", "ok"),
    "rolled_back": State(_("Rolled back"), "rotate-ccw", "warn"),
    "loading": State(_("Loading"), "live", "accent"),
    "live": State(_("Serving"), "dot", "ok"),
    "stopping": State(_("Stopping"), "live", "muted"),
    "stopped": State(_("Stopped"), "square", "muted"),
    # webhooks
    "enabled": State(_("Enabled"), "check", "ok"),
    "disabled": State(_("Disabled"), "square", "muted"),
    "delivered": State(_("Delivered"), "check", "ok"),
    "blocked": State(_("Blocked"), "shield", "danger"),
    # findings
    "blocking": State(_("Blocking"), "circle-x", "danger"),
    "note": State(_("Note"), "info", "muted"),
    # money
    "draft": State(_("Draft"), "pencil", "muted"),
    "open": State(_("Open"), "clock", "accent"),
    "paid": State(_("Paid"), "check", "ok"),
    "past_due": State(_("Payment overdue"), "triangle-alert", "warn"),
    "unpaid": State(_("Unpaid"), "circle-x", "danger"),
    "void": State(_("Void"), "square", "muted"),
    "uncollectible": State(_("Written off"), "square", "muted"),
    "active": State(_("Active"), "check", "ok"),
    "trialing": State(_("Trial"), "clock", "accent"),
    "canceled": State(_("Ended"), "square", "muted"),
    "incomplete": State(_("Waiting for payment"), "clock", "warn"),
    # orders of custom models
    "submitted": State(_("Brief received"), "clock", "muted"),
    "assessing": State(_("Feasibility"), "live", "accent"),
    "quoting": State(_("Quote in preparation"), "pencil", "muted"),
    "quoted": State(_("Quote sent"), "mail", "accent"),
    "working": State(_("In work"), "live", "accent"),
    "declined": State(_("Declined"), "square", "muted"),
    "withdrawn": State(_("Withdrawn"), "square", "muted"),
    "sent": State(_("Sent"), "mail", "accent"),
    "sending": State(_("Being sent"), "live", "accent"),
    "refused": State(_("Refused"), "circle-x", "danger"),
    "given_up": State(_("Given up"), "square", "muted"),
    # keys, invitations, organisations
    "revoked": State(_("Revoked"), "square", "muted"),
    "expired": State(_("Expired"), "clock", "muted"),
    "accepted": State(_("Accepted"), "check", "ok"),
    "suspended": State(_("Suspended"), "circle-x", "danger"),
    "closed": State(_("Closed"), "square", "muted"),
    "erased": State(_("Erased"), "square", "muted"),
}

CALLS: dict[str, Promise] = {
    "chat": _("Chat"),
    "classify": _("Classification"),
    "completions": _("Completion"),
    "decisions": _("Decision"),
    "embeddings": _("Embedding"),
    "moderations": _("Moderation"),
    "predict": _("Prediction"),
    "rerank": _("Reranking"),
}


def call_word(kind: str) -> str:
    """What a call is called, by its kind in the request log; a kind without a word stays as it is."""
    plain = kind.removeprefix(batch_kind(""))
    word = str(CALLS.get(plain, plain))
    return gettext("%(call)s, in a batch") % {"call": word} if is_batch(kind) else word
