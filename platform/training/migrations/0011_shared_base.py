"""Which jobs may train in one process, and whose; who hears of the end of a sweep. Every new column may be empty or has
a default: workers of the version before write on."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('training', '0010_sweeps'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='group_key',
            field=models.CharField(blank=True, db_default='', default='', max_length=80),
        ),
        migrations.AddField(
            model_name='tenantshare',
            name='shares_base',
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name='sweep',
            name='mail_to',
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='sweep',
            name='mailed',
            field=models.CharField(blank=True, db_default='', default='', max_length=30),
        ),
    ]
