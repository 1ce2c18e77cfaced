"""Asking a person, seldom, how satisfied they are, and keeping what they say."""

from django.db import transaction

from billing.selectors.subscriptions import entitlement_for
from customers.limits import COMMENT
from customers.models import Answer, Contact
from customers.services.notes import clean_text
from customers.surveys import APART, is_asked
from kit.clock import now
from kit.errors import BadRequest, Conflict
from tenants.models import User
from tenants.scope import current_tenant_id


def survey_ask(*, user: User) -> bool:
    """Whether the question is to stand on this person's page now; the first time it does is noted."""
    row, moment = Contact.objects.filter(user=user).first(), now()
    asked, closed = (row.asked_at, row.closed_at) if row is not None else (None, None)
    if not is_asked(joined=user.date_joined, asked=asked, closed=closed, at=moment):
        return False
    if asked is None or moment - asked >= APART:
        Contact.objects.update_or_create(user=user, defaults={"asked_at": moment})
    return True


def survey_answer(*, user: User, score: int, comment: str) -> Answer:
    """Keep an answer, once an asking. BadRequest for a score or comment that is none, Conflict where nothing was asked
    or it was answered already."""
    if not 0 <= score <= 10:
        raise BadRequest("Choose a number from 0 to 10.", param="score")
    comment = clean_text(comment, most=COMMENT, param="comment") if comment.strip() else ""
    _close(user)
    plan = entitlement_for(current_tenant_id()).plan
    answer: Answer = Answer.objects.create(user=user, score=score, comment=comment, plan=plan)
    return answer


def survey_dismiss(*, user: User) -> None:
    """They would rather not say. Conflict where nothing is asked."""
    _close(user)


def _close(user: User) -> None:
    with transaction.atomic():
        row = Contact.objects.select_for_update().filter(user=user).first()
        moment = now()
        asked, closed = (row.asked_at, row.closed_at) if row is not None else (None, None)
        open_ = asked is not None and is_asked(joined=user.date_joined, asked=asked, closed=closed, at=moment)
        if row is None or not open_ or (asked is not None and moment - asked >= APART):
            raise Conflict("You answered already, or the question is closed. It is asked again in some months.")
        row.closed_at = moment
        row.save(update_fields=["closed_at"])
