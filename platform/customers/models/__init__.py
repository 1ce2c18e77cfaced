"""The room's tables."""

from customers.models.letters import Letter
from customers.models.staff import HealthScore, Note, Tag
from customers.models.threads import Attachment, Message, Seen, Thread

__all__ = ["Attachment", "HealthScore", "Letter", "Message", "Note", "Seen", "Tag", "Thread"]
