"""Which backends exist, and how a version's options become a policy. A backend is imported when first asked for."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from inference.exceptions import PolicyConfigurationError
from inference.policies.base import Policy

POLICY_BACKENDS: dict[str, str] = {
    "compact": "inference.policies.compact.policy.CompactPolicy",
    "simulated": "inference.policies.simulated.SimulatedPolicy",
    "python": "inference.policies.python.PythonPolicy",
    "openpi": "inference.policies.openpi.OpenpiPolicy",
    "replay": "inference.policies.replay.ReplayPolicy",
    "transformers": "inference.policies.vision_language.policy.TransformersPolicy",
    "lerobot": "inference.policies.lerobot.policy.LerobotPolicy",
}


class PolicyBackends:
    """Backend name to policy class, imported at first use and once only, however many threads ask.

    A plain object and not one per thread: what is shared is the class, and policies belong to whoever creates them.
    """

    def __init__(self, backends: Mapping[str, str]) -> None:
        self._paths = dict(backends)
        self._classes: dict[str, type[Policy]] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """The known backends, in alphabetical order."""
        return tuple(sorted(self._paths))

    def __getitem__(self, name: str) -> type[Policy]:
        """Raises ``PolicyConfigurationError`` naming the known backends."""
        if name not in self._paths:
            raise PolicyConfigurationError(f"There is no backend '{name}'. Known are: {', '.join(self.names)}.")
        with self._lock:
            if name not in self._classes:
                module, _, attribute = self._paths[name].rpartition(".")
                self._classes[name] = getattr(import_module(module), attribute)
            return self._classes[name]


backends = PolicyBackends(POLICY_BACKENDS)


def create_policy(backend: str, options: Mapping[str, Any]) -> Policy:
    """A policy that is configured and not yet loaded.

    ``options`` come from a policy version: text from the command line, or JSON values. Raises
    ``PolicyConfigurationError`` when the backend is unknown or an option is missing, unknown or of the wrong type.
    """
    return backends[backend].from_options(options)
