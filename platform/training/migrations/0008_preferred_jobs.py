"""The index of the jobs that go first: urgent ones, and those of the priority lane, whose tenants a claim reads first."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('training', '0007_confined_trainers'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='job',
            name='training_job_urgent',
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(('state', 'queued'), models.Q(('priority__gte', 100), ('lane', 'priority'), _connector='OR')), fields=['tenant'], name='training_job_preferred'),
        ),
    ]
