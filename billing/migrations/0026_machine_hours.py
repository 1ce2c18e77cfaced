"""What machines are there, and what that costs."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("billing", "0025_acquisition_spend")]

    operations = [
        migrations.CreateModel(
            name="MachineHour",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("machine", models.CharField(max_length=160)),
                ("machine_class", models.CharField(max_length=20)),
                ("hour", models.DateTimeField()),
                ("capacity_ms", models.BigIntegerField(default=0)),
                ("busy_ms", models.BigIntegerField(default=0)),
                ("cost_nano", models.BigIntegerField(default=0)),
                ("price_version", models.CharField(max_length=40)),
                ("looked_at", models.DateTimeField()),
            ],
            options={
                "indexes": [models.Index(fields=["hour", "machine_class"], name="billing_machine_hours")],
                "constraints": [
                    models.UniqueConstraint(fields=("machine", "hour"), name="billing_machine_hour_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("busy_ms__gte", 0),
                            ("capacity_ms__gte", 0),
                            ("capacity_ms__lte", 3_600_000),
                            ("cost_nano__gte", 0),
                            ("busy_ms__lte", models.F("capacity_ms")),
                        ),
                        name="billing_machine_hour_bounds",
                    ),
                ],
            },
        ),
    ]
