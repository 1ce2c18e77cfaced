"""What was priced anew keeps its quantities: a month's tiers and packages count them under the version they have now."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0032_contract_revenue'),
    ]

    operations = [
        *[
            migrations.AddField('ratedchange', name, models.BigIntegerField(db_default=0, default=0))
            for name in ('input_tokens', 'output_tokens', 'requests', 'gpu_ms', 'byte_hours')
        ],
        # A version with the same first price and other tiers changes a month without changing a line of it.
        migrations.RemoveConstraint('ratedchange', 'billing_change_changes'),
        migrations.AddConstraint(
            'ratedchange',
            models.CheckConstraint(
                condition=models.Q(events__gt=0, after_nano__gte=0), name='billing_change_of_events'
            ),
        ),
    ]
