"""Invoices say whether their payment waits for the card's owner, customers who they are made out to."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0038_topups'),
    ]

    operations = [
        migrations.AddField(
            model_name='billingcustomer',
            name='legal_name',
            field=models.CharField(blank=True, db_default='', default='', max_length=256),
        ),
        migrations.AddField(
            model_name='billingcustomer',
            name='address',
            field=models.JSONField(db_default={}, default=dict),
        ),
        migrations.AddField(
            model_name='billingcustomer',
            name='tax_ids',
            field=models.JSONField(db_default=[], default=list),
        ),
        migrations.AddField(
            model_name='invoice',
            name='needs_action',
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
