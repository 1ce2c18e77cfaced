"""Attempts and jobs by when they ended: sweeps of leases, alerts and the page of the queue ask for the last minutes of
tables that only grow. Made beside the work that goes on."""

from django.db import migrations, models

from kit.indexes import IndexConcurrently


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('training', '0017_attempt_suspect'),
    ]

    operations = [
        IndexConcurrently(
            model_name='attempt',
            index=models.Index(fields=['ended_at'], name='training_attempt_ended'),
        ),
        IndexConcurrently(
            model_name='job',
            index=models.Index(condition=models.Q(('finished_at__isnull', False)), fields=['finished_at'], name='training_job_ended'),
        ),
    ]
