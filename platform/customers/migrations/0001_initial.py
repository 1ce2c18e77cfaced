"""What staff note, how customers fare, support threads, and the letters that went out."""

import django.db.models.deletion
import kit.clock
import kit.ids
from django.conf import settings
from django.db import migrations, models

from tenants.isolation import IsolateTable, StaffOnly


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('tenants', '0004_job_mail'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Message',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('side', models.CharField(choices=[('customer', 'Customer'), ('staff', 'Support')], max_length=16)),
                ('author_label', models.CharField(max_length=254)),
                ('text', models.TextField()),
                ('created_at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('author', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
        ),
        migrations.CreateModel(
            name='Attachment',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('filename', models.CharField(max_length=255)),
                ('bytes', models.BigIntegerField()),
                ('sha256', models.CharField(max_length=64)),
                ('storage_key', models.CharField(max_length=200)),
                ('created_at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
                ('message', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='attachments', to='customers.message')),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='Thread',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('subject', models.CharField(max_length=150)),
                ('state', models.CharField(choices=[('open', 'Open'), ('waiting', 'Answered'), ('solved', 'Solved'), ('reopened', 'Reopened')], default='open', max_length=16)),
                ('opened_label', models.CharField(max_length=254)),
                ('created_at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('asked_at', models.DateTimeField(default=kit.clock.now)),
                ('answered_at', models.DateTimeField(blank=True, null=True)),
                ('moved_at', models.DateTimeField(default=kit.clock.now)),
                ('staff_seen_at', models.DateTimeField(blank=True, null=True)),
                ('opened_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
        ),
        migrations.CreateModel(
            name='Seen',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('at', models.DateTimeField(default=kit.clock.now)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('thread', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='customers.thread')),
            ],
        ),
        migrations.AddField(
            model_name='message',
            name='thread',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='messages', to='customers.thread'),
        ),
        migrations.CreateModel(
            name='HealthScore',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('score', models.PositiveSmallIntegerField(null=True)),
                ('band', models.CharField(choices=[('good', 'Good'), ('fair', 'Fair'), ('poor', 'Poor'), ('new', 'New')], max_length=8)),
                ('computed_at', models.DateTimeField(default=kit.clock.now)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'indexes': [models.Index(fields=['band', 'score'], name='customers_health_band')],
                'constraints': [models.UniqueConstraint(fields=('tenant',), name='customers_health_once')],
            },
        ),
        migrations.CreateModel(
            name='Letter',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(max_length=40)),
                ('key', models.CharField(max_length=120)),
                ('created_at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('tenant', 'key'), name='customers_letter_once')],
            },
        ),
        migrations.CreateModel(
            name='Note',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('text', models.TextField()),
                ('created_by', models.CharField(max_length=254)),
                ('created_at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('removed_at', models.DateTimeField(blank=True, null=True)),
                ('removed_by', models.CharField(blank=True, max_length=254)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'indexes': [models.Index(fields=['tenant', '-created_at'], name='customers_note_recent')],
            },
        ),
        migrations.CreateModel(
            name='Tag',
            fields=[
                ('id', models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=40)),
                ('created_by', models.CharField(max_length=254)),
                ('created_at', models.DateTimeField(default=kit.clock.now, editable=False)),
                ('removed_at', models.DateTimeField(blank=True, null=True)),
                ('removed_by', models.CharField(blank=True, max_length=254)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('removed_at', None)), fields=['name'], name='customers_tag_name')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('removed_at', None)), fields=('tenant', 'name'), name='customers_tag_once')],
            },
        ),
        migrations.AddIndex(
            model_name='thread',
            index=models.Index(fields=['tenant', '-moved_at'], name='customers_thread_recent'),
        ),
        migrations.AddIndex(
            model_name='thread',
            index=models.Index(fields=['state', 'moved_at'], name='customers_thread_desk'),
        ),
        migrations.AddConstraint(
            model_name='thread',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ('open', 'waiting', 'solved', 'reopened'))), name='customers_thread_state'),
        ),
        migrations.AddConstraint(
            model_name='seen',
            constraint=models.UniqueConstraint(fields=('tenant', 'thread', 'user'), name='customers_seen_once'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(fields=['tenant', 'thread', 'created_at'], name='customers_message_order'),
        ),
        IsolateTable("customers_thread"),
        IsolateTable("customers_message", refs={"thread_id": "customers_thread"}),
        IsolateTable("customers_attachment", refs={"message_id": "customers_message"}),
        IsolateTable("customers_seen", refs={"thread_id": "customers_thread"}),
        IsolateTable("customers_letter"),
        IsolateTable("customers_note"),
        IsolateTable("customers_tag"),
        IsolateTable("customers_healthscore"),
        StaffOnly("customers_note"),
        StaffOnly("customers_tag"),
        StaffOnly("customers_healthscore"),
    ]
