"""``manage.py create_demo``: what `make run` starts with. May be run any number of times."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from vla_project.demo.content import PEOPLE, create_demo


class Command(BaseCommand):
    help = "Create the demo collection, its people, key and policy, and write demo.json."

    def handle(self, *_args: Any, **_options: Any) -> None:
        settings.VAR_DIR.mkdir(parents=True, exist_ok=True)
        told = create_demo(settings.VAR_DIR)
        for name in PEOPLE:
            self.stdout.write(f"{name:<10} {told[name]['username']} / {told[name]['password']}")
        self.stdout.write(told["curl"])
