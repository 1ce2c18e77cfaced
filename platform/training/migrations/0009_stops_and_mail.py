"""Jobs that a spend limit or a suspension stops, and who hears of a job's end.

Every new column has a default in the database: workers of the version before may still be writing.
"""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('training', '0008_preferred_jobs'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='job',
            name='training_job_blocked_has_a_reason',
        ),
        migrations.AddField(
            model_name='job',
            name='mail_to',
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='mailed',
            field=models.CharField(blank=True, db_default='', default='', max_length=30),
        ),
        migrations.AddField(
            model_name='job',
            name='stop_for',
            field=models.CharField(blank=True, db_default='', default='', max_length=16),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('blocked_by__in', ('paused', 'budget', 'quota', 'suspended', 'hold')), ('state', 'blocked')), models.Q(models.Q(('state', 'blocked'), _negated=True), ('blocked_by', '')), _connector='OR'), name='training_job_blocked_has_a_reason'),
        ),
    ]
