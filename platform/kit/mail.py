"""Mail in development: kept as files, shown by the app itself, announced by one log line each.

Production sets MAIL_URL and never comes here.
"""

import email
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage as Parsed
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.mail.backends.base import BaseEmailBackend

from kit.errors import NotFound
from kit.ids import new_id, parse_id, public_id

logger = logging.getLogger(__name__)

PREFIX = "mail_"
NEWEST = 100
"""How many messages the list shows."""
_LINK = re.compile(r"https?://[^\s<>\"]+")


class DevelopmentBackend(BaseEmailBackend):
    """Writes each message to `MAIL_DIR` under an id of its own, and logs where to read it."""

    def send_messages(self, email_messages: Any) -> int:
        """Keep the messages; returns how many."""
        folder = Path(settings.MAIL_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        for message in email_messages:
            name = public_id(PREFIX, new_id())
            (folder / f"{name}.eml").write_bytes(message.message().as_bytes())
            recipients = ", ".join(message.to)
            logger.info("mail to %s: %s  %s/dev/mail/%s", recipients, message.subject, settings.BASE_URL, name)
        return len(email_messages)


@dataclass(frozen=True, slots=True)
class Letter:
    """A kept message, as a page shows it."""

    name: str
    sender: str
    to: str
    subject: str
    sent_at: datetime | None
    text: str

    @property
    def parts(self) -> list[tuple[str, bool]]:
        """The text in pieces, each with whether it is a link."""
        pieces: list[tuple[str, bool]] = []
        end = 0
        for match in _LINK.finditer(self.text):
            pieces += [(self.text[end : match.start()], False), (match[0], True)]
            end = match.end()
        return [*pieces, (self.text[end:], False)]


def letters() -> list[Letter]:
    """The newest messages first."""
    folder = Path(settings.MAIL_DIR)
    names = sorted((path.stem for path in folder.glob(f"{PREFIX}*.eml")), reverse=True)
    return [letter(name) for name in names[:NEWEST]]


def letter(name: str) -> Letter:
    """One message by its id; NotFound for anything else."""
    identifier: UUID = parse_id(PREFIX, name)
    path = Path(settings.MAIL_DIR) / f"{public_id(PREFIX, identifier)}.eml"
    if not path.is_file():
        raise NotFound.of(name)
    parsed = email.message_from_bytes(path.read_bytes(), policy=policy.default)
    assert isinstance(parsed, Parsed)  # noqa: S101 - the default policy makes this class
    body = parsed.get_body(preferencelist=("plain", "html"))
    return Letter(
        name=path.stem,
        sender=str(parsed["From"] or ""),
        to=str(parsed["To"] or ""),
        subject=str(parsed["Subject"] or ""),
        sent_at=_moment(parsed["Date"]),
        text=str(body.get_content()) if body else "",
    )


def _moment(header: object) -> datetime | None:
    """A Date header in UTC; Django writes `-0000`, which the standard library reads as a naive time."""
    if not header:
        return None
    moment = parsedate_to_datetime(str(header))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
