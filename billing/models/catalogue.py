"""Which Stripe price stands for which plan version. Belongs to no tenant."""

from django.db import models

from kit.clock import now


class CatalogueEntry(models.Model):
    """A price of a plan version that has been pushed to Stripe."""

    class Part(models.TextChoices):
        """What it is the price of."""

        PLAN = "plan"
        SEAT = "seat"
        USAGE = "usage"
        """A cent of what a meter counts; it belongs to no plan."""

    plan = models.CharField(max_length=40)
    version = models.PositiveIntegerField()
    currency = models.CharField(max_length=3, default="usd")
    interval = models.CharField(max_length=10, default="month")
    part = models.CharField(max_length=10, choices=Part.choices, default=Part.PLAN)
    lookup_key = models.CharField(max_length=100)
    product_id = models.CharField(max_length=255)
    price_id = models.CharField(max_length=255, unique=True)
    pushed_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["plan", "version", "currency", "interval", "part"], name="billing_catalogue_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.plan} {self.version} {self.part} {self.interval} {self.currency}"
