"""What shadows of models that write say of two answers."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Three counts more; nothing was counted of them before."""

    dependencies = [("serving", "0011_rollout_count_indexes")]

    operations = [
        migrations.AddField("shadowcount", "endings_agreed", models.PositiveBigIntegerField(default=0)),
        migrations.AddField("shadowcount", "stable_tokens", models.PositiveBigIntegerField(default=0)),
        migrations.AddField("shadowcount", "candidate_tokens", models.PositiveBigIntegerField(default=0)),
    ]
