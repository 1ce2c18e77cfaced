"""The room's tables."""

from customers.models.announcements import Announcement, Dismissal
from customers.models.letters import Letter
from customers.models.people import Answer, Contact
from customers.models.staff import HealthScore, Note, Tag
from customers.models.threads import Attachment, Message, Seen, Thread

__all__ = [
    "Announcement",
    "Answer",
    "Attachment",
    "Contact",
    "Dismissal",
    "HealthScore",
    "Letter",
    "Message",
    "Note",
    "Seen",
    "Tag",
    "Thread",
]
