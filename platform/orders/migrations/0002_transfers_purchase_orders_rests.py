"""Bank transfers, purchase orders as documents, what became of credited amounts, and retrains under the warranty."""

import django.db.models.deletion
from django.db import migrations, models

import kit.clock
import kit.ids
from tenants.isolation import AppendOnly, IsolateTable

TENANT = {
    "db_index": False,
    "on_delete": django.db.models.deletion.PROTECT,
    "related_name": "+",
    "to": "tenants.tenant",
}


class Migration(migrations.Migration):

    dependencies = [("orders", "0001_initial"), ("tenants", "0004_job_mail")]

    operations = [
        migrations.CreateModel(
            name="PurchaseOrder",
            fields=[
                ("id", models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("filename", models.CharField(max_length=255)),
                ("content_type", models.CharField(max_length=40)),
                ("bytes", models.BigIntegerField()),
                ("sha256", models.CharField(max_length=64)),
                ("storage_key", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField(default=kit.clock.now, editable=False)),
                (
                    "order",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="purchase_orders",
                        to="orders.order",
                    ),
                ),
                ("tenant", models.ForeignKey(**TENANT)),
            ],
            options={"indexes": [models.Index(fields=["tenant", "order"], name="orders_po_of_order")]},
        ),
        migrations.CreateModel(
            name="OrderTransfer",
            fields=[
                ("id", models.UUIDField(default=kit.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("reference", models.CharField(max_length=140)),
                ("cents", models.BigIntegerField()),
                ("received_on", models.DateField()),
                ("created_at", models.DateTimeField(default=kit.clock.now, editable=False)),
                (
                    "invoice",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="transfers",
                        to="orders.orderinvoice",
                    ),
                ),
                ("tenant", models.ForeignKey(**TENANT)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "invoice"), name="orders_transfer_once"),
                    models.CheckConstraint(condition=models.Q(("cents__gt", 0)), name="orders_transfer_pays"),
                ]
            },
        ),
        migrations.AddField("milestone", "warranty", models.BooleanField(default=False, db_default=False)),
        migrations.AddField("orderinvoice", "again_cents", models.BigIntegerField(default=0, db_default=0)),
        migrations.AddField("orderinvoice", "waived_cents", models.BigIntegerField(default=0, db_default=0)),
        migrations.AlterField(
            "orderinvoice",
            "kind",
            models.CharField(
                choices=[("deposit", "Deposit"), ("milestone", "Milestone"), ("rest", "Rest")], max_length=10
            ),
        ),
        migrations.RemoveConstraint("orderinvoice", "orders_invoice_once"),
        migrations.AddConstraint(
            "orderinvoice",
            models.UniqueConstraint(
                condition=models.Q(("kind", "rest"), _negated=True),
                fields=("tenant", "contract", "kind", "milestone"),
                name="orders_invoice_once",
                nulls_distinct=False,
            ),
        ),
        migrations.AddConstraint(
            "orderinvoice",
            models.CheckConstraint(
                condition=models.Q(
                    waived_cents__gte=0,
                    again_cents__gte=0,
                    cents__gte=models.F("waived_cents") + models.F("again_cents"),
                ),
                name="orders_invoice_rest",
            ),
        ),
        IsolateTable("orders_purchaseorder", refs={"order_id": "orders_order"}),
        IsolateTable("orders_ordertransfer", refs={"invoice_id": "orders_orderinvoice"}),
        AppendOnly("orders_ordertransfer"),
    ]
