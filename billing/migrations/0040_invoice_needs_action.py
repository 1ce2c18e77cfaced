"""Invoices say whether their payment waits for the card's owner."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0038_topups'),
    ]

    operations = [
        migrations.AddField(
            model_name='invoice',
            name='needs_action',
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
