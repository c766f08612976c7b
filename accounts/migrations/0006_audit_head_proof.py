"""Note which entry of the audit trail is the last, with a proof that the database cannot make."""

from typing import Any

from django.db import migrations, models
from django.db.models import Q


def note_the_present_head(apps: Any, _schema_editor: Any) -> None:
    """An installation that has a trail already begins with the head that it has now."""
    from accounts import audit

    last = apps.get_model("accounts", "AuditLog").objects.order_by("-id").first()
    if last is not None:
        audit.note_head(last.pk, bytes(last.signature))


class Migration(migrations.Migration):
    dependencies = [("accounts", "0005_audit_head")]

    operations = [
        migrations.CreateModel(
            name="AuditHead",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("entry_id", models.BigIntegerField(help_text="The id of the last entry.")),
                ("entry_signature", models.BinaryField(help_text="The signature of the last entry.", max_length=32)),
                (
                    "proof",
                    models.BinaryField(
                        help_text="HMAC of both under a key that the database does not hold.", max_length=32
                    ),
                ),
            ],
            options={
                "db_table": "audit_head",
                "constraints": [models.CheckConstraint(condition=Q(("id", 1)), name="audit_head_is_one_row")],
            },
        ),
        migrations.RunPython(note_the_present_head, migrations.RunPython.noop),
    ]
