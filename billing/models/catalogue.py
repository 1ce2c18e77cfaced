"""Which Stripe price stands for which plan version. Belongs to no tenant."""

from django.db import models

from kit.clock import now


class CatalogueEntry(models.Model):
    """A plan version that has been pushed to Stripe."""

    plan = models.CharField(max_length=40)
    version = models.PositiveIntegerField()
    lookup_key = models.CharField(max_length=100)
    product_id = models.CharField(max_length=255)
    price_id = models.CharField(max_length=255, unique=True)
    pushed_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["plan", "version"], name="billing_catalogue_once")]

    def __str__(self) -> str:
        return f"{self.plan} {self.version}"
