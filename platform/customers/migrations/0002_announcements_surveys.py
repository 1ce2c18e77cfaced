"""Announcements, and how satisfied members are. Whom an announcement is for stays behind the door function."""

import django.contrib.postgres.fields
import django.db.models.deletion
import kit.clock
import kit.ids
from django.conf import settings
from django.db import migrations, models

from tenants.isolation import CURRENT, DoorFunction, IsolateTable, StaffOnly


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0001_subscriptions'),
        ('customers', '0001_initial'),
        ('tenants', '0004_job_mail'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Announcement',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('title', models.CharField(max_length=120)),
                ('text', models.TextField(blank=True)),
                ('link', models.CharField(blank=True, max_length=300)),
                ('plans', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=40), default=list, size=None)),
                ('tags', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=40), default=list, size=None)),
                ('starts_at', models.DateTimeField()),
                ('ends_at', models.DateTimeField(blank=True, null=True)),
                ('created_by', models.CharField(max_length=254)),
                ('created_at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('withdrawn_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('withdrawn_at', None)), fields=['starts_at'], name='customers_announcement_open')],
            },
        ),
        migrations.CreateModel(
            name='Contact',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('news_off_at', models.DateTimeField(blank=True, null=True)),
                ('asked_at', models.DateTimeField(blank=True, null=True)),
                ('closed_at', models.DateTimeField(blank=True, null=True)),
                ('user', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            name='Answer',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('score', models.PositiveSmallIntegerField()),
                ('comment', models.TextField(blank=True)),
                ('plan', models.CharField(max_length=40)),
                ('created_at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
                ('user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(fields=['tenant', '-created_at'], name='customers_answer_recent'), models.Index(fields=['created_at'], name='customers_answer_month')],
                'constraints': [models.CheckConstraint(condition=models.Q(('score__gte', 0), ('score__lte', 10)), name='customers_answer_score')],
            },
        ),
        migrations.CreateModel(
            name='Dismissal',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('announcement', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='customers.announcement')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('announcement', 'user'), name='customers_dismissal_once')],
            },
        ),
        StaffOnly("customers_announcement"),
        IsolateTable("customers_answer"),
        DoorFunction(
            "door_announcements",
            "reader uuid",
            "TABLE (id uuid, title varchar, text text, link varchar)",
            "SELECT a.id, a.title, a.text, a.link FROM customers_announcement a "
            "WHERE a.withdrawn_at IS NULL AND a.starts_at <= now() AND (a.ends_at IS NULL OR a.ends_at > now()) "
            f"AND {CURRENT} IS NOT NULL "
            "AND (cardinality(a.plans) = 0 OR coalesce((SELECT e.plan FROM billing_tenantentitlement e "
            f"WHERE e.tenant_id = {CURRENT}), 'free') = ANY (a.plans)) "
            "AND (cardinality(a.tags) = 0 OR EXISTS (SELECT 1 FROM customers_tag t "
            f"WHERE t.tenant_id = {CURRENT} AND t.removed_at IS NULL AND t.name = ANY (a.tags))) "
            "AND NOT EXISTS (SELECT 1 FROM customers_dismissal d WHERE d.announcement_id = a.id AND d.user_id = reader) "
            "ORDER BY a.starts_at DESC, a.id DESC",
        ),
    ]
