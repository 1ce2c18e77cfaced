"""Whether a person wants hints by mail, and the link with which a mail's reader says no."""

from uuid import UUID

from django.conf import settings
from django.core import signing

from customers.models import Contact
from kit.clock import now
from kit.errors import NotFound
from tenants.models import User

SALT = "customers.unsubscribe"


def news_wanted(*, user_id: UUID) -> bool:
    """Whether they take hints; everybody does until they say otherwise."""
    return not Contact.objects.filter(user_id=user_id, news_off_at__isnull=False).exists()


def news_set(*, user_id: UUID, wanted: bool) -> None:
    """Take hints, or none. Twice is the same."""
    if wanted:
        Contact.objects.filter(user_id=user_id).update(news_off_at=None)
        return
    row, _made = Contact.objects.get_or_create(user_id=user_id)
    Contact.objects.filter(pk=row.pk, news_off_at=None).update(news_off_at=now())


def unsubscribe_link(user_id: UUID) -> str:
    """The address that a mail carries: it needs no sign-in, opens nothing else, and never gets old."""
    return f"{settings.BASE_URL}/mail/unsubscribe/{signing.dumps(user_id.hex, salt=SALT)}"


def unsubscriber(token: str) -> UUID:
    """Whose link it is. NotFound for one that we did not make, or of somebody who is gone."""
    try:
        user_id = UUID(signing.loads(token, salt=SALT))
    except (signing.BadSignature, ValueError, TypeError, AttributeError) as error:
        raise NotFound("This link is not one of ours. Copy it again, whole.") from error
    if not User.objects.filter(pk=user_id).exists():
        raise NotFound("This link is not one of ours. Copy it again, whole.")
    return user_id
