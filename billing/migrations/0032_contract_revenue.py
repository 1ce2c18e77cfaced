"""Revenue of custom models gets an account of its own; invoices of orders that are booked as plans are booked anew."""

from django.db import migrations, models

AGAIN = """
    ALTER TABLE billing_invoice NO FORCE ROW LEVEL SECURITY;
    UPDATE billing_invoice SET booked_at = NULL WHERE raw -> 'metadata' ->> 'order_invoice' <> '';
    ALTER TABLE billing_invoice FORCE ROW LEVEL SECURITY"""
"""The tick books the difference: it moves what stands in plan revenue. The months in which it was booked stay as they
were told; the month of the change carries the move."""

ACCOUNTS = (
    "unbilled receivable cash bank usage_revenue subscription_revenue contract_revenue allowance rounding tax discount "
    "credit refund customer_balance dispute bad_debt prepaid promo breakage"
).split()


class Migration(migrations.Migration):

    dependencies = [("billing", "0030_late_money")]

    operations = [
        migrations.AlterField(
            "ledgerentry",
            "account",
            models.CharField(
                choices=[(name, name.replace("_", " ").title()) for name in ACCOUNTS], max_length=30
            ),
        ),
        migrations.RunSQL(AGAIN, reverse_sql=migrations.RunSQL.noop),
    ]
