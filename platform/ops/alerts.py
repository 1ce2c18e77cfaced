"""What staff must hear of without looking: jobs wait too long, workers are lost, runs fail through faults of ours,
places were taken out of service, nobody trains, no engine answers, something paid is not in the books.

`alerts_look` runs on a tick. An alert opens when its condition has held for as long as its rule asks, which is mailed
to ALERT_MAIL, and ends by itself when it no longer does. It says what to do next.
"""

import datetime as dt
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import Count, QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.models import BillingFinding
from billing.selectors.bookings import not_bookable
from inference.errors import EngineError
from kit.clock import now
from ops.models import Alert
from ops.temperature import waits_since
from serving.selectors import engine_health
from tenants.scope import ops_scope
from training import states
from training.models import Attempt, Job, Slot
from training.selectors.capacity import KNOWN
from training.selectors.queue import Waiting, waiting

logger = logging.getLogger(__name__)

OWN_REASONS = ("tenant_limit", "not_before")
"""Waits that no machine of ours would shorten."""
LOST_WITHIN, FAILED_WITHIN = dt.timedelta(minutes=15), dt.timedelta(hours=1)
A_RESTART = dt.timedelta(minutes=2)
"""How long workers may be away while they are replaced."""
A_SECOND_LOOK = dt.timedelta(seconds=20)
"""Shorter than the time between two looks: an engine that is replaced misses one."""
FAULTS = ("lost", "crashed", "unfit", "unready")
"""Ends of attempts that are our fault, or may be."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When to call, and what to say: `look` gives the figure of the moment, `most` is what it may be."""

    title: str | Promise
    unit: str | Promise
    advice: str | Promise
    page: str
    """The page of the staff console to look at."""
    look: Callable[[], float]
    most: Callable[[], float]
    after: dt.timedelta = dt.timedelta()
    """How long it must hold before anybody is told."""


@dataclass(frozen=True, slots=True)
class Notice:
    """An alert and its rule, for a page or a mail."""

    alert: Alert
    rule: Rule

    @property
    def words(self) -> str:
        """The figure, and what it may be where that is not nothing."""
        said = f"{self.rule.unit}: {self.alert.figure:g}."
        most = self.rule.most()
        return f"{said} " + _("At most %s is usual.") % f"{most:g}" if most else said


def _oldest_wait() -> float:
    """Minutes that the first job has waited which only a place, or its turn, keeps from running."""
    for since, standing in _queue():
        if standing is not None and standing.reason not in OWN_REASONS:
            return (now() - since).total_seconds() / 60
    return 0.0


def _queue() -> Iterator[tuple[dt.datetime, Waiting | None]]:
    """Of each waiting job since when it waits, and how it stands; the longest waiting first."""
    jobs = Job.ops.filter(state=states.QUEUED).annotate(since=waits_since()).order_by("since")
    for job in jobs.only("id", "tenant_id", "state"):
        yield job.since, waiting(job)


def _lost_leases() -> float:
    """Attempts whose worker stopped answering, lately."""
    return float(Attempt.ops.filter(outcome="lost", ended_at__gte=now() - LOST_WITHIN).count())


def _fault_rate() -> float:
    """Percent of the attempts of the last hour that ended through a fault of ours; 0 for less than five faults."""
    ended = Attempt.ops.filter(ended_at__gte=now() - FAILED_WITHIN)
    counts = dict(ended.values_list("outcome").annotate(n=Count("pk")))
    faults = sum(counts.get(outcome, 0) for outcome in FAULTS)
    return 100 * faults / sum(counts.values()) if faults >= 5 else 0.0


def _parked() -> float:
    """Places that their worker took out of service, of hosts that are there still."""
    there = Slot.objects.filter(heartbeat_at__gt=now() - KNOWN)
    return float(there.exclude(parked_at=None).exclude(parked_because="").count())


def _nobody_trains() -> float:
    """Jobs that have waited for minutes while no worker of their class is up."""
    late = now() - A_RESTART
    return float(
        sum(since < late and one is not None and one.reason in ("no_workers", "no_place") for since, one in _queue())
    )


def _no_engine() -> float:
    """1 while no engine that serves everybody answers."""
    try:
        engine_health()
    except EngineError:
        return 1.0
    return 0.0


RULES: dict[str, Rule] = {
    "queue_age": Rule(
        _("Jobs wait too long"),
        _("Minutes the first has waited"),
        _("Start more workers, or see on the queue page what would bring it forward."),
        "admin:queue",
        _oldest_wait,
        lambda: settings.ALERT_QUEUE_MINUTES,
    ),
    "no_workers": Rule(
        _("Jobs wait and no worker takes them"),
        _("Waiting jobs"),
        _("Start a worker of their class. The fleet page says which hosts were heard of last."),
        "admin:fleet",
        _nobody_trains,
        lambda: 0,
    ),
    "no_engine": Rule(
        _("No engine answers"),
        _("Tries that failed"),
        _("Calls fail. Start an engine; the fleet page says which announced themselves last."),
        "admin:fleet",
        _no_engine,
        lambda: 0,
        A_SECOND_LOOK,
    ),
    "lease_losses": Rule(
        _("Workers stop answering"),
        _("Leases lost in 15 minutes"),
        _("Look at the hosts of the last lost attempts: power, memory, network to PostgreSQL."),
        "admin:fleet",
        _lost_leases,
        lambda: settings.ALERT_LOST_LEASES,
    ),
    "fault_rate": Rule(
        _("Many runs end through faults of ours"),
        _("Percent of the last hour's runs"),
        _("The attempts of the failed jobs say why. Their customers pay nothing."),
        "admin:training_attempt_changelist",
        _fault_rate,
        lambda: settings.ALERT_FAULT_PERCENT,
    ),
    "parked": Rule(
        _("Places to train were taken out of service"),
        _("Places"),
        _("The fleet page says why each was parked. Mend the machine, then give the place back."),
        "admin:fleet",
        _parked,
        lambda: 0,
    ),
    "findings": Rule(
        _("The books or Stripe are not as they must be"),
        _("Open findings"),
        _("The findings page says what was expected and what was found. Settle what you have looked into."),
        "admin:billing_billingfinding_changelist",
        lambda: float(BillingFinding.objects.filter(resolved_at=None).count()),
        lambda: 0,
    ),
    "not_bookable": Rule(
        _("Something at Stripe is not in the books"),
        _("Invoices, credit notes, refunds and disputes"),
        _("Nothing of them was booked. Run manage.py billing_check: it names each and says why."),
        "admin:billing_invoice_changelist",
        lambda: float(not_bookable()),
        lambda: 0,
    ),
}


def alerts_look() -> int:
    """Open and end alerts; how many are open now. Safe to repeat, and from several processes."""
    with ops_scope("look for what staff must hear of"):
        figures = {kind: round(rule.look(), 1) for kind, rule in RULES.items()}
    for kind, figure in figures.items():
        rows = Alert.objects.filter(kind=kind, ended_at=None)
        if figure <= RULES[kind].most():
            rows.filter(told_at=None).delete()
            rows.update(ended_at=now())
        elif not rows.update(figure=figure):
            Alert.objects.get_or_create(kind=kind, ended_at=None, defaults={"figure": figure})
    for kind, rule in RULES.items():
        late = Alert.objects.filter(kind=kind, ended_at=None, told_at=None, began_at__lte=now() - rule.after)
        if late.update(told_at=now()):  # one of several processes tells
            _tell(kind)
    return _told().count()


def open_alerts() -> list[Notice]:
    """What holds now, the latest first."""
    return [Notice(alert, RULES[alert.kind]) for alert in _told().order_by("-began_at")]


def doubted_since(kind: str) -> dt.datetime | None:
    """Since when something seems to be wrong of which nobody was told yet."""
    rows = Alert.objects.filter(kind=kind, ended_at=None, told_at=None)
    return rows.values_list("began_at", flat=True).first()


def _told() -> QuerySet[Alert]:
    return Alert.objects.filter(ended_at=None, kind__in=RULES).exclude(told_at=None)


def _tell(kind: str) -> None:
    for alert in _told().filter(kind=kind):
        notice = Notice(alert, RULES[kind])
        logger.error("alert %s: %s", kind, notice.words)
        _mail(notice)


def _mail(notice: Notice) -> None:
    """To everybody who is to hear of it. A mail server that refuses is logged: the alert stands on the pages anyway."""
    body = f"{notice.words}\n\n{notice.rule.advice}\n\n{settings.BASE_URL}/staff/\n"
    for address in settings.ALERT_MAIL:
        try:
            send_mail(f"[Tunesmith] {notice.rule.title}", body, None, [address])
        except OSError:
            logger.exception("an alert could not be mailed")
