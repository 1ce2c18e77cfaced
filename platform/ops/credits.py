"""Credit as staff see it: each grant with what is left of it, and taking bought credit back when it is refunded."""

from django.contrib import admin
from django.db.models import Model, Sum
from django.utils.translation import gettext_lazy as _

from billing.models import CreditDraw, CreditGrant
from kit.money import written
from ops import services
from ops.deeds import Deed, DeedTable
from ops.tables import ReadOnly


def left_nano(row: CreditGrant) -> int:
    """What a grant has not lost."""
    lost = CreditDraw.ops.filter(grant=row).aggregate(n=Sum("amount_nano"))["n"] or 0
    return row.amount_nano - int(lost)


class CreditGrantTable(DeedTable):
    """Credit that was given or bought."""

    list_display = ("created_at", "tenant", "kind", "amount", "left", "expires_at", "created_by")
    list_filter = ("kind",)
    search_fields = ("tenant__slug", "source", "reason", "created_by")
    ordering = ("-created_at",)
    deeds = (
        Deed(
            name="take_back",
            title=_("Take back"),
            text=_(
                "What is unused of it, and not promised to running calls and jobs, leaves the wallet. The refund "
                "itself is made at Stripe, for the same amount."
            ),
            icon="undo",
            offered=lambda row: row.kind == CreditGrant.Kind.PREPAID and left_nano(row) > 0,
            work=lambda by, row, form: services.credit_take_back(tenant_id=row.tenant_id, grant_id=row.pk, by=by),
            outcome=lambda made: _("%(amount)s left the wallet.") % {"amount": written(made)},
        ),
    )

    @admin.display(description=_("Amount"))
    def amount(self, row: CreditGrant) -> str:
        """What it was."""
        return written(row.amount_nano)

    @admin.display(description=_("Left"))
    def left(self, row: CreditGrant) -> str:
        """What it has not lost."""
        return written(left_nano(row))


TABLES: dict[type[Model], type[ReadOnly]] = {CreditGrant: CreditGrantTable}
