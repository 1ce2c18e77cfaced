"""The outbox of everything that is asked of Stripe.

A command is a row, written in the transaction of the change that needs it. After the commit it is claimed, sent with no
transaction open, and its answer noted; whoever dies between any two of these leaves a row that the next look sends
again under the same key. A tenant's commands go one after the other, in the order in which they were written.
"""

import datetime as dt
import logging
import time
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from billing.errors import CardRefused, PaymentsAway, PromotionRefused, StripeMissing, StripeRefused
from billing.models import StripeCommand
from billing.services.locks import money_lock
from billing.services.operation import AGAIN, ASK, NOT_NEEDED, NotNeeded, NotYet
from billing.services.operations import OPERATIONS
from billing.services.sweeps import for_each
from billing.stripe_port import Json, stripe_port
from kit import outbox
from kit.clock import now
from kit.errors import ApiError, NotFound
from kit.ids import new_id
from kit.metrics import Counter
from tenants.scope import current_tenant_id, ops_scope, tenant_scope

logger = logging.getLogger(__name__)

TASK = "billing.stripe_command"
KEY_LIFE = dt.timedelta(hours=20)
"""Stripe remembers a key for a day at least; after this what it has is read before anything is sent."""
CLAIM = dt.timedelta(seconds=180)
"""Longer than any sending takes."""
PATIENCE = 8.0
"""Seconds; a page waits no longer, then says that it is on its way."""
GIVEN_UP = "given_up"
"""Marks what was dropped by staff."""
COMMANDS = Counter("billing_stripe_commands_total", "Commands to Stripe by what became of them", ["operation", "state"])
State = StripeCommand.State


def command_write(
    operation: str,
    params: Json,
    *,
    once: str | None = None,
    again: bool = False,
    key: str = "",
    tried_at: dt.datetime | None = None,
) -> StripeCommand:
    """Note what is to be asked of Stripe, in the running transaction; it is sent after its commit.

    `once`: what it is for, where a second one must never go out: the first is given back, to be sent now if it was not
    needed before. What was refused or given up stays so, unless a person asks anew (`again`). `tried_at`: when it may
    have gone out already, under this key. PaymentsClosed without a key of Stripe's.
    """
    stripe_port()
    money_lock(current_tenant_id())
    same = StripeCommand.objects.filter(operation=operation, once=once)
    found: StripeCommand | None = same.first() if once else None
    if found is not None:
        ended = found.state in (State.REFUSED, State.DROPPED)
        if ended and (again or _unneeded(found)):
            _again(found)
            outbox.ring(TASK, str(found.tenant_id))
        return found
    pk = new_id()
    made: StripeCommand = StripeCommand.objects.create(
        pk=pk, operation=operation, once=once, params=params, key=key or f"command-{pk}", first_sent_at=tried_at
    )
    outbox.ring(TASK, str(made.tenant_id))
    return made


def _unneeded(command: StripeCommand) -> bool:
    """Whether it was dropped because it was not needed. Rows from before that was marked say it by never having been
    tried; staff could give up only what had been."""
    if command.error_code:
        return command.error_code == NOT_NEEDED
    return command.state == State.DROPPED and command.first_sent_at is None and not command.attempts


def _again(command: StripeCommand) -> None:
    """Another round: a key of its own, built from what is known then."""
    command.round += 1
    command.state, command.request, command.answer = State.WAITING, None, None
    command.error, command.error_code = "", ""
    command.first_sent_at = command.claimed_until = command.done_at = None
    command.due_at = command.created_at = now()
    command.save()


def command_finish(command: StripeCommand, *, patience: float = PATIENCE) -> StripeCommand:
    """Send a committed command now, and those of its tenant before it; the row, done or (after `patience` seconds)
    still waiting. Raises what Stripe refused it with. Not inside a scope: nothing may wait for Stripe in one."""
    end, mine = time.monotonic() + patience, False
    while True:
        mine = commands_send(command.tenant_id, until=command) > 0 or mine
        with tenant_scope(command.tenant_id):
            row: StripeCommand = StripeCommand.objects.get(pk=command.pk)
            before = StripeCommand.objects.filter(state=State.WAITING, created_at__lte=row.created_at)
            first = before.order_by("created_at", "pk").first()
        # Somebody has the next one, or has just ended what was in front of it. One that failed is due later.
        moment = now()
        claimed = first is not None and first.claimed_until is not None and first.claimed_until > moment
        busy = claimed or (first is not None and first.due_at <= moment)
        if row.state == State.REFUSED:
            raise refusal_of(row)
        if row.state == State.DONE and not mine:
            _follow(row)  # whoever was faster may still be fetching it, and the page is to show what is so now
        if row.state != State.WAITING or not busy or time.monotonic() > end:
            return row
        time.sleep(0.1)  # somebody else is sending it


def refusal_of(command: StripeCommand) -> ApiError:
    """What Stripe refused a command with, as it was first raised."""
    if command.error_code.startswith("card:"):
        return CardRefused(command.error, code=command.error_code.removeprefix("card:") or None)
    if command.error_code == PromotionRefused.default_code:
        return PromotionRefused(command.error)
    return StripeRefused(command.error)


def commands_send(tenant_id: UUID, *, until: StripeCommand | None = None) -> int:
    """Send a tenant's waiting commands in their order; stops at the first that cannot be sent now. How many ended."""
    done = 0
    with tenant_scope(tenant_id):
        waiting = StripeCommand.objects.filter(state=State.WAITING).order_by("created_at", "pk")
        if until is not None:
            waiting = waiting.filter(created_at__lte=until.created_at)
        rows = list(waiting)
    for row in rows:
        if not _one(row):
            break
        done += 1
    return done


def commands_send_all() -> int:
    """Send what is due again in every tenant."""
    with ops_scope("commands to Stripe that are due"):
        free = Q(claimed_until=None) | Q(claimed_until__lte=now())
        due = StripeCommand.ops.filter(free, state=State.WAITING, due_at__lte=now())
        tenants = list(due.order_by().values_list("tenant_id", flat=True).distinct()[:200])
    return for_each("stripe_commands", tenants, commands_send)


def _one(row: StripeCommand) -> bool:
    """Bring one command as far as it goes; whether the next may go."""
    command = _claim(row)
    if command is None or command.claimed_until is None:
        return command is not None
    operation = OPERATIONS[command.operation]
    try:
        if _is_old(row):
            answer = operation.look(stripe_port(), command)
            if answer is None and operation.late != AGAIN:
                _end(command, State.DOUBT if operation.late == ASK else State.DROPPED, error=TOO_LATE)
                return True
            if answer is None:
                command = _new_key(command)
        else:
            answer = None
        if answer is None:
            answer = operation.send(stripe_port(), command.request or {}, command.key_now)
    except CardRefused as error:
        _end(command, State.REFUSED, error=error.message, code=f"card:{error.code or ''}")
    except (StripeRefused, StripeMissing) as error:
        _end(command, State.REFUSED, error=error.message, code=error.code or "")
    except PaymentsAway as error:
        _later(command, error.message)
        return False
    except Exception as error:  # a fault of ours: it stays, and staff see it
        logger.exception("command %s (%s) failed", command.pk, command.operation)
        _later(command, f"{type(error).__name__}: {error}")
        return False
    else:
        _end(command, State.DONE, answer=answer)
        _follow(command)
    return True


TOO_LATE = "Stripe was not reached in time, and what it has does not show that this was done."


def _is_old(row: StripeCommand) -> bool:
    """Whether Stripe may have forgotten the key, or the wish may be one of yesterday."""
    return now() - (row.first_sent_at or row.created_at) > KEY_LIFE


def _claim(row: StripeCommand) -> StripeCommand | None:
    """Take a command to send it; None while somebody else has it; unclaimed when there is nothing to send."""
    with tenant_scope(row.tenant_id):
        found: StripeCommand = StripeCommand.objects.select_for_update().get(pk=row.pk)
        if found.state == State.WAITING and found.claimed_until is not None and found.claimed_until > now():
            return None
        found.claimed_until = None
        if found.state != State.WAITING or not _build(found):
            return found
        found.attempts += 1
        found.first_sent_at = found.first_sent_at or now()
        found.claimed_until = now() + CLAIM
        found.save()
        return found


def _build(command: StripeCommand) -> bool:
    """Fix the request, once; whether there is one to send."""
    if command.request is not None:
        return True
    try:
        with transaction.atomic():
            command.request = OPERATIONS[command.operation].build(command)
        return True
    except NotNeeded as error:
        command.state, command.error, command.done_at = State.DROPPED, str(error), now()
        command.error_code = NOT_NEEDED
    except StripeRefused as error:
        command.state, command.error, command.done_at = State.REFUSED, error.message, now()
    except NotYet as error:
        command.error, command.due_at = str(error), now() + _pause(command.attempts)
        command.attempts += 1
    command.save()
    return False


def _new_key(command: StripeCommand) -> StripeCommand:
    """Nothing of it is at Stripe, and Stripe may have forgotten the key: the next round begins."""
    with tenant_scope(command.tenant_id):
        command.round += 1
        command.first_sent_at = now()
        command.save(update_fields=["round", "first_sent_at"])
    return command


def _pause(attempts: int) -> dt.timedelta:
    return dt.timedelta(seconds=min(5 * 2 ** min(attempts, 10), 900))


def _later(command: StripeCommand, why: str) -> None:
    with tenant_scope(command.tenant_id):
        StripeCommand.objects.filter(pk=command.pk, state=State.WAITING).update(
            claimed_until=None, error=why[:1000], due_at=now() + _pause(command.attempts)
        )


def _end(command: StripeCommand, state: str, *, answer: Json | None = None, error: str = "", code: str = "") -> None:
    """Note what became of it, and what that changes here, in one transaction."""
    with tenant_scope(command.tenant_id):
        money_lock(command.tenant_id)
        row: StripeCommand = StripeCommand.objects.select_for_update().get(pk=command.pk)
        if row.state != State.WAITING:  # somebody else was faster: same key, same answer
            return
        row.state, row.answer, row.error, row.error_code = state, answer, error[:1000], code[:100]
        row.claimed_until, row.done_at = None, now()
        row.save()
        if state == State.DONE:
            OPERATIONS[row.operation].apply(row)
    COMMANDS.labels(command.operation, state).inc()


def _follow(command: StripeCommand) -> None:
    """Fetch what follows, for the page; where that fails, the webhook does it."""
    try:
        with tenant_scope(command.tenant_id):
            OPERATIONS[command.operation].after(command)
    except ApiError as error:
        logger.warning("what follows from command %s is left to the webhook: %s", command.pk, error.message)


def command_again(*, command_id: UUID) -> StripeCommand:
    """Send a command once more that was refused, is in doubt or was dropped, under a new key. Staff do this after they
    have looked."""
    money_lock(current_tenant_id())
    command = _ended(command_id, State.REFUSED, State.DOUBT, State.DROPPED)
    _again(command)
    outbox.ring(TASK, str(command.tenant_id))
    return command


def command_drop(*, command_id: UUID) -> StripeCommand:
    """Give a refused or doubtful command up. Staff do this after they have looked."""
    command = _ended(command_id, State.REFUSED, State.DOUBT)
    command.state, command.done_at, command.error_code = State.DROPPED, now(), command.error_code or GIVEN_UP
    command.save(update_fields=["state", "done_at", "error_code"])
    return command


def _ended(command_id: UUID, *states: str) -> StripeCommand:
    found: StripeCommand | None = StripeCommand.objects.select_for_update().filter(pk=command_id).first()
    if found is None or found.state not in states:
        raise NotFound.of(command_id)
    return found
