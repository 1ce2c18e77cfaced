"""Credit bought by itself when the balance falls; and a balance from which on calls are slowed."""

import django.db.models.deletion
import kit.clock
import kit.ids
from django.db import migrations, models

from tenants.isolation import AppendOnly, IsolateTable


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0036_ways_to_pay'),
        ('tenants', '0004_job_mail'),
    ]

    operations = [
        migrations.AddField(
            model_name='wallet',
            name='slow_nano',
            field=models.BigIntegerField(null=True),
        ),
        migrations.AlterField(
            model_name='ledgerentry',
            name='account',
            field=models.CharField(choices=[('unbilled', 'Unbilled'), ('receivable', 'Receivable'), ('cash', 'Cash'), ('bank', 'Bank'), ('usage_revenue', 'Usage Revenue'), ('subscription_revenue', 'Subscription Revenue'), ('contract_revenue', 'Contract Revenue'), ('allowance', 'Allowance'), ('rounding', 'Rounding'), ('tax', 'Tax'), ('discount', 'Discount'), ('credit', 'Credit'), ('refund', 'Refund'), ('customer_balance', 'Customer Balance'), ('dispute', 'Dispute'), ('bad_debt', 'Bad Debt'), ('prepaid', 'Prepaid'), ('promo', 'Promo'), ('breakage', 'Breakage'), ('credit_sold', 'Credit Sold')], max_length=30),
        ),
        migrations.CreateModel(
            name='TopUpConsent',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('below_nano', models.BigIntegerField()),
                ('amount_nano', models.BigIntegerField()),
                ('month_most_nano', models.BigIntegerField()),
                ('text', models.TextField()),
                ('by_kind', models.CharField(max_length=10)),
                ('by_id', models.CharField(max_length=100)),
                ('by_label', models.CharField(max_length=254)),
                ('at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
        ),
        migrations.CreateModel(
            name='TopUp',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('amount_nano', models.BigIntegerField()),
                ('month', models.DateField()),
                ('state', models.CharField(choices=[('waiting', 'Waiting'), ('paid', 'Paid'), ('failed', 'Failed'), ('void', 'Void')], default='waiting', max_length=10)),
                ('invoice_id', models.CharField(blank=True, max_length=255)),
                ('reason', models.CharField(blank=True, choices=[('declined', 'Declined'), ('confirm', 'Confirm'), ('refused', 'Refused')], max_length=10)),
                ('message', models.CharField(blank=True, max_length=500)),
                ('url', models.CharField(blank=True, max_length=1000)),
                ('created_at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('changed_at', models.DateTimeField(default=kit.clock.now)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
                ('consent', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.topupconsent')),
            ],
        ),
        migrations.CreateModel(
            name='AutoTopUp',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('on', models.BooleanField(default=True)),
                ('changed_at', models.DateTimeField(default=kit.clock.now)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
                ('failed', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.topup')),
                ('consent', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.topupconsent')),
            ],
        ),
        migrations.AddIndex(
            model_name='topupconsent',
            index=models.Index(fields=['tenant', '-at'], name='billing_topup_consents'),
        ),
        migrations.AddIndex(
            model_name='topup',
            index=models.Index(fields=['tenant', '-created_at'], name='billing_topup_recent'),
        ),
        migrations.AddConstraint(
            model_name='topup',
            constraint=models.UniqueConstraint(condition=models.Q(('state', 'waiting')), fields=('tenant',), name='billing_topup_one_on_its_way'),
        ),
        migrations.AddConstraint(
            model_name='topup',
            constraint=models.CheckConstraint(condition=models.Q(('amount_nano__gt', 0)), name='billing_topup_more_than_nothing'),
        ),
        migrations.AddIndex(
            model_name='autotopup',
            index=models.Index(condition=models.Q(('on', True)), fields=['tenant'], name='billing_autotopup_on'),
        ),
        migrations.AddConstraint(
            model_name='autotopup',
            constraint=models.UniqueConstraint(fields=('tenant',), name='billing_autotopup_once'),
        ),
        IsolateTable("billing_topupconsent"),
        IsolateTable("billing_topup", refs={"consent_id": "billing_topupconsent"}),
        IsolateTable("billing_autotopup", refs={"consent_id": "billing_topupconsent", "failed_id": "billing_topup"}),
        AppendOnly("billing_topupconsent"),
    ]
