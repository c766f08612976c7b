"""``manage.py create_demo``: what `make run` starts with. May be run any number of times."""

from __future__ import annotations

import shlex
from typing import Any

import orjson
from django.conf import settings
from django.core.management.base import BaseCommand

from collections_app.models import Collection
from vla_project.demo.content import SLUG, create_demo, example_request


class Command(BaseCommand):
    help = "Create the demo collection, its people, key and policy, and write demo.json."

    def handle(self, *_args: Any, **_options: Any) -> None:
        settings.VAR_DIR.mkdir(parents=True, exist_ok=True)
        told = create_demo(settings.VAR_DIR)
        body = orjson.dumps(example_request(Collection.objects.get(slug=SLUG))).decode()
        lines = [
            f"  {name:<10} {told[name]['username']} / {told[name]['password']}"
            for name in ("admin", "annotator", "viewer")
        ]
        command = (
            f"curl -s {told['base_url']}/api/v1/inference -H 'Authorization: Api-Key {told['api_key']}' "
            f"-H 'Content-Type: application/json' -d {shlex.quote(body)}"
        )
        self.stdout.write("\n".join([f"Collection '{SLUG}' at {told['base_url']}/live/{SLUG}/", *lines, "", command]))
