"""Credit that pays before an invoice does: grants, what became of them, and how far a tenant goes on account."""

import django.db.models.deletion
import kit.clock
import kit.ids
from django.db import migrations, models

from tenants.isolation import AppendOnly, IsolateTable


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0011_append_only_by_right'),
        ('tenants', '0004_job_mail'),
    ]

    operations = [
        migrations.AddField(
            model_name='periodclose',
            name='drawn',
            field=models.JSONField(db_default={}, default=dict),
        ),
        migrations.AddField(
            model_name='periodclose',
            name='drawn_nano',
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name='ledgerentry',
            name='account',
            field=models.CharField(choices=[('unbilled', 'Unbilled'), ('receivable', 'Receivable'), ('cash', 'Cash'), ('bank', 'Bank'), ('usage_revenue', 'Usage Revenue'), ('subscription_revenue', 'Subscription Revenue'), ('allowance', 'Allowance'), ('rounding', 'Rounding'), ('tax', 'Tax'), ('discount', 'Discount'), ('credit', 'Credit'), ('refund', 'Refund'), ('customer_balance', 'Customer Balance'), ('dispute', 'Dispute'), ('bad_debt', 'Bad Debt'), ('prepaid', 'Prepaid'), ('promo', 'Promo'), ('breakage', 'Breakage')], max_length=30),
        ),
        migrations.CreateModel(
            name='CreditGrant',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('promo', 'Promo'), ('goodwill', 'Goodwill'), ('rollover', 'Rollover'), ('prepaid', 'Prepaid')], max_length=10)),
                ('amount_nano', models.BigIntegerField()),
                ('expires_at', models.DateTimeField(null=True)),
                ('priority', models.SmallIntegerField(default=50)),
                ('source', models.CharField(max_length=200)),
                ('reason', models.CharField(blank=True, max_length=300)),
                ('created_by', models.CharField(blank=True, max_length=200)),
                ('created_at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
        ),
        migrations.CreateModel(
            name='CreditDraw',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('used', 'Used'), ('expired', 'Expired'), ('refunded', 'Refunded')], max_length=10)),
                ('period', models.DateField(null=True)),
                ('amount_nano', models.BigIntegerField()),
                ('at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
                ('transaction', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.ledgertransaction')),
                ('grant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='draws', to='billing.creditgrant')),
            ],
        ),
        migrations.CreateModel(
            name='Wallet',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('postpaid_nano', models.BigIntegerField(null=True)),
                ('postpaid_most_nano', models.BigIntegerField(null=True)),
                ('changed_at', models.DateTimeField(default=kit.clock.now)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
        ),
        migrations.AddIndex(
            model_name='creditgrant',
            index=models.Index(fields=['tenant', '-created_at'], name='billing_grant_recent'),
        ),
        migrations.AddConstraint(
            model_name='creditgrant',
            constraint=models.UniqueConstraint(fields=('tenant', 'source'), name='billing_grant_once'),
        ),
        migrations.AddConstraint(
            model_name='creditgrant',
            constraint=models.CheckConstraint(condition=models.Q(('amount_nano__gt', 0)), name='billing_grant_more_than_nothing'),
        ),
        migrations.AddIndex(
            model_name='creditdraw',
            index=models.Index(fields=['tenant', 'grant'], name='billing_draw_grant'),
        ),
        migrations.AddIndex(
            model_name='creditdraw',
            index=models.Index(fields=['tenant', 'period'], name='billing_draw_period_of'),
        ),
        migrations.AddIndex(
            model_name='creditdraw',
            index=models.Index(fields=['tenant', '-at'], name='billing_draw_recent'),
        ),
        migrations.AddConstraint(
            model_name='creditdraw',
            constraint=models.CheckConstraint(condition=models.Q(('amount_nano', 0), _negated=True), name='billing_draw_not_zero'),
        ),
        migrations.AddConstraint(
            model_name='creditdraw',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('kind', 'used'), ('period__isnull', False)), models.Q(models.Q(('kind', 'used'), _negated=True), ('period', None)), _connector='OR'), name='billing_draw_period'),
        ),
        migrations.AddConstraint(
            model_name='wallet',
            constraint=models.UniqueConstraint(fields=('tenant',), name='billing_wallet_once'),
        ),
        IsolateTable("billing_creditgrant"),
        IsolateTable(
            "billing_creditdraw",
            refs={"grant_id": "billing_creditgrant", "transaction_id": "billing_ledgertransaction"},
        ),
        IsolateTable("billing_wallet"),
        AppendOnly("billing_creditgrant"),
        AppendOnly("billing_creditdraw"),
    ]
