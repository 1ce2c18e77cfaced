"""What can be announced, in one place: the OpenAI wire's name where it has one, else ours after `tunesmith.`.

A name is a promise: it is added here, never changed. Own names stay clear of the wire's prefixes.
"""

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

JOB_SUCCEEDED = "fine_tuning.job.succeeded"
JOB_FAILED = "fine_tuning.job.failed"
JOB_CANCELLED = "fine_tuning.job.cancelled"
BATCH_COMPLETED = "batch.completed"
BATCH_FAILED = "batch.failed"
BATCH_EXPIRED = "batch.expired"
BATCH_CANCELLED = "batch.cancelled"
SWEEP_SUCCEEDED = "tunesmith.sweep.succeeded"
SWEEP_FAILED = "tunesmith.sweep.failed"
SWEEP_CANCELLED = "tunesmith.sweep.cancelled"
DEPLOYMENT_LIVE = "tunesmith.deployment.live"
DEPLOYMENT_FAILED = "tunesmith.deployment.failed"
DEPLOYMENT_IDLE = "tunesmith.deployment.idle"
ROLLOUT_PROMOTED = "tunesmith.rollout.promoted"
ROLLOUT_ROLLED_BACK = "tunesmith.rollout.rolled_back"
BUDGET_THRESHOLD = "tunesmith.budget.threshold"
WALLET_TOPPED_UP = "tunesmith.wallet.topped_up"
WALLET_TOPUP_FAILED = "tunesmith.wallet.topup_failed"
ORDER_QUOTED = "tunesmith.order.quoted"
ORDER_ACCEPTED = "tunesmith.order.accepted"
ORDER_WORKING = "tunesmith.order.working"
ORDER_DELIVERED = "tunesmith.order.delivered"
ORDER_CLOSED = "tunesmith.order.closed"
ORDER_DECLINED = "tunesmith.order.declined"
ORDER_CANCELLED = "tunesmith.order.cancelled"


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of event: what happened, in words, and the prefix of the id in its `data`."""

    words: Promise
    prefix: str

    @property
    def sample(self) -> dict[str, str]:
        """The `data` of a test: an id of the right form that nobody has."""
        return {"id": self.prefix + "0" * 26}


KINDS: dict[str, Kind] = {
    JOB_SUCCEEDED: Kind(_("A job succeeded"), "ftjob-"),
    JOB_FAILED: Kind(_("A job failed"), "ftjob-"),
    JOB_CANCELLED: Kind(_("A job was cancelled"), "ftjob-"),
    BATCH_COMPLETED: Kind(_("A batch was completed"), "batch_"),
    BATCH_FAILED: Kind(_("A batch failed: its file has problems"), "batch_"),
    BATCH_EXPIRED: Kind(_("A batch expired before all lines had their turn"), "batch_"),
    BATCH_CANCELLED: Kind(_("A batch was cancelled"), "batch_"),
    SWEEP_SUCCEEDED: Kind(_("A sweep found a winner"), "sweep_"),
    SWEEP_FAILED: Kind(_("A sweep ended without a model"), "sweep_"),
    SWEEP_CANCELLED: Kind(_("A sweep was cancelled"), "sweep_"),
    DEPLOYMENT_LIVE: Kind(_("A deployment went live"), "dep_"),
    DEPLOYMENT_FAILED: Kind(_("A deployment failed"), "dep_"),
    DEPLOYMENT_IDLE: Kind(_("Nobody called a deployment for days"), "dep_"),
    ROLLOUT_PROMOTED: Kind(_("A rollout was promoted"), "rollout_"),
    ROLLOUT_ROLLED_BACK: Kind(_("A rollout was rolled back"), "rollout_"),
    BUDGET_THRESHOLD: Kind(_("A spend limit or the wallet is used to 50, 80 or 100%"), "bud_"),
    WALLET_TOPPED_UP: Kind(_("Credit was bought by automatic top-up"), "topup_"),
    WALLET_TOPUP_FAILED: Kind(_("Automatic top-up failed and is off"), "topup_"),
    ORDER_QUOTED: Kind(_("An order got a quote"), "order_"),
    ORDER_ACCEPTED: Kind(_("An order's quote was accepted"), "order_"),
    ORDER_WORKING: Kind(_("Work on an order began"), "order_"),
    ORDER_DELIVERED: Kind(_("An order was delivered"), "order_"),
    ORDER_CLOSED: Kind(_("An order was closed"), "order_"),
    ORDER_DECLINED: Kind(_("An order was declined"), "order_"),
    ORDER_CANCELLED: Kind(_("An order was cancelled"), "order_"),
}
EVENT_TYPES = tuple(KINDS)
