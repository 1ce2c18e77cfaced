"""Versions of conversations and of prompts with completions, beside labelled text; what a version says of its rows."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Two columns; the versions there are stay as they are."""

    dependencies = [("data", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="datasetversion",
            name="task",
            field=models.CharField(default="text-classification", max_length=32),
        ),
        migrations.AddField(model_name="datasetversion", name="profile", field=models.JSONField(default=dict)),
    ]
