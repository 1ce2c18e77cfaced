"""How often the client had sent a request before."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """A gateway of the version before writes rows without it."""

    dependencies = [("serving", "0012_shadow_writing")]

    operations = [
        migrations.AddField(
            "requestrecord", "retries", models.PositiveSmallIntegerField(default=0, db_default=0)
        ),
    ]
