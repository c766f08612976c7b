"""Drive the simulated arm through the public API, as a customer's robot would."""

from __future__ import annotations

import itertools
import json
from argparse import ArgumentTypeError
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.demo_robot.client import ApiClient, ApiError
from inference.demo_robot.description import ROBOT_NAME


class Command(BaseCommand):
    help = "Drive a simulated Franka Panda through the HTTP API, until Ctrl-C or for a number of episodes."
    # It is a client: it needs no database and no tables.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", help="address of the system (default: that of demo.json)")
        parser.add_argument("--api-key", help="(default: that of demo.json)")
        parser.add_argument("--collection", help="slug (default: that of demo.json)")
        parser.add_argument("--robot", default=ROBOT_NAME, metavar="NAME", help="(default: %(default)s)")
        parser.add_argument("--episodes", type=int, metavar="N", help="stop after this many (default: go on)")
        parser.add_argument("--rate", type=_rate, metavar="HZ", help="observations per second (default: real time)")
        parser.add_argument("--seed", type=int, help="for the same cubes and instructions again")

    def handle(self, *_args: Any, **options: Any) -> None:
        # PyBullet takes a second to load, which `manage.py help` should not have to wait for.
        from inference.demo_robot.robot import DEFAULT_OBSERVATIONS_PER_SECOND, DemoRobot
        from inference.demo_robot.scene import PickScene

        address = _address(options)
        client = ApiClient(base_url=address["base_url"], api_key=address["api_key"])
        episodes = itertools.count(1) if options["episodes"] is None else range(1, options["episodes"] + 1)
        successes = 0
        with PickScene(seed=options["seed"]) as scene:
            robot = DemoRobot(
                client=client,
                scene=scene,
                collection=address["collection"],
                name=options["robot"],
                observations_per_second=options["rate"] or DEFAULT_OBSERVATIONS_PER_SECOND,
                seed=options["seed"],
            )
            try:
                for number in episodes:
                    episode = robot.run_episode()
                    successes += episode.outcome == "success"
                    self.stdout.write(
                        f"{episode.name}: {episode.instruction}: {episode.outcome} after {episode.steps} steps"
                        f" ({successes} of {number})"
                    )
            except ApiError as error:
                raise CommandError(str(error)) from error
            except KeyboardInterrupt:
                self.stdout.write("The robot was switched off.")


def _address(options: Mapping[str, Any]) -> dict[str, str]:
    """Where to, with which key, and for which collection: the arguments, completed from ``demo.json``."""
    given = {"base_url": options["url"], "api_key": options["api_key"], "collection": options["collection"]}
    if all(given.values()):
        return given
    path = settings.VAR_DIR / "demo.json"
    try:
        known = json.loads(path.read_text())
    except FileNotFoundError:
        raise CommandError("Give --url, --api-key and --collection, or start the demo with `make run` first.") from None
    return {name: value or known[name] for name, value in given.items()}


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate <= 1000:
        raise ArgumentTypeError("a rate is more than 0 and at most 1000")
    return rate
