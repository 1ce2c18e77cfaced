"""Which attempts speak against their job or its host. The column has a default: workers of the version before write on.
Attempts that ended before it speak against nobody."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('training', '0016_failed_attempts'),
    ]

    operations = [
        migrations.AddField(
            model_name='attempt',
            name='suspect',
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
