"""Deleted files and datasets can be brought back until they are erased. What was deleted before had its bytes erased."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """A moment of erasing for both, and an index of what is still kept."""

    dependencies = [("data", "0002_version_task")]

    operations = [
        migrations.AddField("file", "erased_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("dataset", "erased_at", models.DateTimeField(blank=True, null=True)),
        migrations.RunSQL(
            "ALTER TABLE data_file NO FORCE ROW LEVEL SECURITY;"
            "UPDATE data_file SET erased_at = deleted_at WHERE deleted_at IS NOT NULL;"
            "ALTER TABLE data_file FORCE ROW LEVEL SECURITY",
            reverse_sql=migrations.RunSQL.noop,
        ),
        migrations.AddIndex(
            "file",
            models.Index(
                fields=["deleted_at"],
                name="data_file_kept",
                condition=models.Q(deleted_at__isnull=False, erased_at=None),
            ),
        ),
        migrations.AddIndex(
            "dataset",
            models.Index(
                fields=["deleted_at"],
                name="data_dataset_kept",
                condition=models.Q(deleted_at__isnull=False, erased_at=None),
            ),
        ),
    ]
