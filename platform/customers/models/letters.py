"""Mail that went out, so that none goes twice."""

from django.db import models

from kit.clock import now
from tenants.models import TenantModel


class Letter(TenantModel):
    """One mail to one address. Its key says what it was about and to whom, without the address."""

    prefix = "letter_"

    kind = models.CharField(max_length=40)
    key = models.CharField(max_length=120)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "key"], name="customers_letter_once")]

    def __str__(self) -> str:
        return self.kind
