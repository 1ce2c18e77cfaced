"""The rows that rollouts are counted in, one of each kind for a rollout."""

from django.db import models

from tenants.models.base import TenantModel

OF_ROLLOUTS = ~models.Q(arm="")
"""Rows of calls that came while a rollout ran on the name."""
FAILED = OF_ROLLOUTS & models.Q(status__gte=500)
"""Of those the ones that failed by our fault."""


class WritingTransaction(models.Func):
    """The number of the transaction that writes, as PostgreSQL counts them: it grows for ever and never wraps."""

    template = "(pg_current_xact_id()::text::bigint)"
    output_field = models.BigIntegerField()


class RolloutCount(TenantModel):
    """What the rounds of a rollout came to, as far as it is final. `serving.rounds` says when that is."""

    prefix = "rolloutcount_"

    rollout = models.OneToOneField("serving.Rollout", on_delete=models.CASCADE, related_name="count")
    counted_to = models.BigIntegerField(default=0)
    """Everything that earlier transactions wrote is in the sums."""
    rounds = models.JSONField(default=list)
    """Oldest first: `share`, `began_at`, and the sums of `stable` and `candidate`."""

    def __str__(self) -> str:
        return f"{len(self.rounds)} rounds"


class ShadowCount(TenantModel):
    """What became of a rollout's shadow calls; one row a rollout, added to behind the answers."""

    prefix = "shadowcount_"

    rollout = models.OneToOneField("serving.Rollout", on_delete=models.CASCADE, related_name="shadow")
    compared = models.PositiveBigIntegerField(default=0)
    """Texts, questions, queries or calls whose answers of both versions could be compared."""
    agreed = models.PositiveBigIntegerField(default=0)
    """Of those the ones with the same answer: label, set of labels, entities, words, first document; of what was
    written the same text or JSON, and the same calls of tools."""
    parts = models.PositiveBigIntegerField(default=0)
    """Labels, entities or words that each version named, added up, or pairs of documents that both put in an order."""
    parts_agreed = models.PositiveBigIntegerField(default=0)
    """Of those the ones that both named, or put in the same order."""
    measured = models.FloatField(default=0.0)
    """The sum over all compared of how far their quantities are apart, or of their vectors' cosine."""
    endings_agreed = models.PositiveBigIntegerField(default=0)
    """Of what was written and compared, the answers that ended for the same reason."""
    stable_tokens = models.PositiveBigIntegerField(default=0)
    """That the stable version wrote in answers that were compared."""
    candidate_tokens = models.PositiveBigIntegerField(default=0)
    """That the candidate wrote in them."""
    dropped = models.PositiveBigIntegerField(default=0)
    """Calls that were not compared: there was too much to do, the call was too large, or the stable version's answer
    cannot be."""

    def __str__(self) -> str:
        return f"{self.agreed} of {self.compared}"
