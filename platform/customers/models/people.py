"""What we may send and ask a person, and what they answered."""

from django.conf import settings
from django.db import models

from kit.clock import now
from kit.ids import new_id
from tenants.models import TenantModel


class Contact(models.Model):
    """A person, of whatever organisations: whether they want hints by mail, and when they were asked how satisfied they
    are. Nobody without a row was asked or refused anything."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    news_off_at = models.DateTimeField(null=True, blank=True)
    """Since when they want no hints; null while they take them."""
    asked_at = models.DateTimeField(null=True, blank=True)
    """When the question was shown to them first, the last time it was."""
    closed_at = models.DateTimeField(null=True, blank=True)
    """When they answered or dismissed it."""

    def __str__(self) -> str:
        return str(self.user_id)


class Answer(TenantModel):
    """How likely a member is to recommend us, 0 to 10, and why."""

    prefix = "nps_"

    user = models.ForeignKey("tenants.User", on_delete=models.SET_NULL, null=True, related_name="+")
    score = models.PositiveSmallIntegerField()
    comment = models.TextField(blank=True)
    plan = models.CharField(max_length=40)
    """Of the organisation, when they answered."""
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(score__gte=0, score__lte=10), name="customers_answer_score")
        ]
        indexes = [
            models.Index(fields=["tenant", "-created_at"], name="customers_answer_recent"),
            models.Index(fields=["created_at"], name="customers_answer_month"),
        ]

    def __str__(self) -> str:
        return self.public_id
