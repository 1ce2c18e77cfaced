"""Attempts and jobs by when they ended: sweeps of leases, alerts and the page of the queue ask for the last minutes of
tables that only grow. Made beside the work that goes on. If that is broken off, drop `training_attempt_ended` and
`training_job_ended`, of which one is not valid then, before the next try."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('training', '0017_attempt_suspect'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='attempt',
            index=models.Index(fields=['ended_at'], name='training_attempt_ended'),
        ),
        AddIndexConcurrently(
            model_name='job',
            index=models.Index(condition=models.Q(('finished_at__isnull', False)), fields=['finished_at'], name='training_job_ended'),
        ),
    ]
