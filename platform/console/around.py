"""What stands at the edge of every page for the member who reads it. Asked only when a page shows it, once a page."""

from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from customers.selectors import threads
from customers.selectors.announcements import Notice, notices
from tenants.scope import reading


@dataclass
class Around:
    """News for one member of one organisation."""

    tenant_id: UUID
    user_id: UUID

    @cached_property
    def unread(self) -> int:
        """Support threads with an answer that the member has not seen."""
        with reading(self.tenant_id):
            return threads.unread_count(user_id=self.user_id)

    @cached_property
    def notices(self) -> list[Notice]:
        """What staff announce to this organisation and the member has not dismissed."""
        with reading(self.tenant_id):
            return notices(user_id=self.user_id)
