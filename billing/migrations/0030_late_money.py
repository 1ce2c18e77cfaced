"""What is on its way is found again: lines know their invoice, money that goes back the credit it had bought."""

import django.db.models.deletion
from django.db import migrations, models

from tenants.isolation import StaffOnly

SAME_TENANT = (
    'ALTER TABLE "{0}" ADD CONSTRAINT "{0}_grant_id_same_tenant" FOREIGN KEY ("tenant_id", "grant_id") '
    'REFERENCES "billing_creditgrant" ("tenant_id", "id") DEFERRABLE INITIALLY DEFERRED'
)


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0029_bill_shares'),
    ]

    operations = [
        migrations.AddField(
            model_name='invoicelinepush',
            name='invoice_id',
            field=models.CharField(blank=True, db_default='', default='', max_length=255),
        ),
        migrations.AddIndex(
            model_name='invoicelinepush',
            index=models.Index(condition=models.Q(('invoice_id', ''), ('sent_at__isnull', False), models.Q(('amount_cents', 0), _negated=True)), fields=['tenant'], name='billing_push_waits'),
        ),
        migrations.AddField(
            model_name='refund',
            name='grant',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.creditgrant'),
        ),
        migrations.AddIndex(
            model_name='refund',
            index=models.Index(condition=models.Q(('grant__isnull', False)), fields=['grant'], name='billing_refund_grant'),
        ),
        migrations.RunSQL(SAME_TENANT.format("billing_refund")),
        migrations.AddField(
            model_name='paymentdispute',
            name='grant',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.creditgrant'),
        ),
        migrations.AddIndex(
            model_name='paymentdispute',
            index=models.Index(condition=models.Q(('grant__isnull', False)), fields=['grant'], name='billing_dispute_grant'),
        ),
        migrations.RunSQL(SAME_TENANT.format("billing_paymentdispute")),
        migrations.AlterField(
            model_name='creditdraw',
            name='kind',
            field=models.CharField(choices=[('used', 'Used'), ('expired', 'Expired'), ('refunded', 'Refunded'), ('returned', 'Returned')], max_length=10),
        ),
        StaffOnly("billing_billingfinding"),
        StaffOnly("billing_acquisitionspend"),
        StaffOnly("billing_machinehour"),
    ]
