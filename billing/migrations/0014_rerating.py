"""Usage priced anew: decisions, and what each changed of rated lines."""

import django.db.models.deletion
import kit.clock
import kit.ids
from django.db import migrations, models

from tenants.isolation import AppendOnly, IsolateTable


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0013_soft_caps'),
        ('tenants', '0004_job_mail'),
    ]

    operations = [
        migrations.CreateModel(
            name='Rerating',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('price_version', models.CharField(max_length=40)),
                ('first_day', models.DateField()),
                ('last_day', models.DateField()),
                ('kind', models.CharField(blank=True, max_length=40)),
                ('base', models.CharField(blank=True, max_length=200)),
                ('reason', models.CharField(max_length=300)),
                ('created_by', models.CharField(max_length=200)),
                ('created_at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='RatedChange',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('day', models.DateField()),
                ('project_id', models.UUIDField()),
                ('model', models.CharField(max_length=200)),
                ('kind', models.CharField(max_length=40)),
                ('price_version', models.CharField(max_length=40)),
                ('events', models.BigIntegerField()),
                ('before_nano', models.BigIntegerField()),
                ('after_nano', models.BigIntegerField()),
                ('billed', models.BooleanField()),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
                ('rerating', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='changes', to='billing.rerating')),
            ],
            options={
                'indexes': [models.Index(fields=['tenant', 'day'], name='billing_change_day')],
                'constraints': [models.UniqueConstraint(fields=('rerating', 'day', 'project_id', 'model', 'kind', 'price_version'), name='billing_change_once'), models.CheckConstraint(condition=models.Q(('after_nano__gte', 0), ('events__gt', 0), models.Q(('before_nano', models.F('after_nano')), _negated=True)), name='billing_change_changes')],
            },
        ),
        IsolateTable("billing_rerating"),
        IsolateTable("billing_ratedchange", refs={"rerating_id": "billing_rerating"}),
        AppendOnly("billing_rerating"),
        AppendOnly("billing_ratedchange"),
    ]
