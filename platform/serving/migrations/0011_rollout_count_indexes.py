"""Calls and words by the transaction that wrote them. Made beside the work that goes on: the log has a row a call."""

from django.db import migrations, models

from kit.indexes import IndexConcurrently


class Migration(migrations.Migration):
    """Three partial indexes: of rows that came while a rollout ran."""

    atomic = False

    dependencies = [("serving", "0010_rollout_counts")]

    operations = [
        IndexConcurrently(
            "feedback",
            models.Index(
                condition=~models.Q(arm=""), fields=["tenant", "version_id", "written"], name="serving_feedback_arm"
            ),
        ),
        IndexConcurrently(
            "requestrecord",
            models.Index(
                condition=~models.Q(arm=""), fields=["tenant", "version_id", "written"], name="serving_request_arm"
            ),
        ),
        IndexConcurrently(
            "requestrecord",
            models.Index(
                condition=~models.Q(arm="") & models.Q(status__gte=500),
                fields=["tenant", "version_id", "at"],
                name="serving_request_arm_failed",
            ),
        ),
    ]
