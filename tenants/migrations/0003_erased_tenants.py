"""A closed organisation is erased after thirty days."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0002_visits")]

    operations = [
        migrations.AlterField(
            model_name="tenant",
            name="status",
            field=models.CharField(
                choices=[
                    ("active", "Active"),
                    ("suspended", "Suspended"),
                    ("closed", "Closed"),
                    ("erased", "Erased"),
                ],
                default="active",
                max_length=16,
            ),
        ),
    ]
