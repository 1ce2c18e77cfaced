"""Held jobs by tenant, as a claim counts them. By the end of their leases, as before, every heartbeat changed an indexed
column, so it wrote to all indexes of the table. Made beside the work that goes on: the table may be large.
If that is broken off, drop the index `training_job_holding`, which is not valid then, before the next try."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('training', '0012_sweep_width'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='job',
            index=models.Index(condition=models.Q(('state__in', ('leased', 'starting', 'running', 'finishing', 'cancelling'))), fields=['tenant', 'lane', 'width'], name='training_job_holding'),
        ),
        RemoveIndexConcurrently(
            model_name='job',
            name='training_job_held',
        ),
    ]
