from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.audit_export import exported_heads
from accounts.verification import Fault, verify_chain


class Command(BaseCommand):
    help = "Verify the audit trail; names the first entry that was changed, removed or inserted behind our back."

    def handle(self, **_options: Any) -> None:
        found = verify_chain(anchors=exported_heads())
        if isinstance(found, Fault):
            subject = "The audit trail is broken" if found.entry_id is None else f"Entry {found.entry_id}"
            raise CommandError(f"{subject}: {found.reason}.")
        self.stdout.write(f"The audit trail is whole: {found.entries} entries, head {found.entry_id} {found.hash}.")
