"""A policy class of the user's own, named by its dotted path."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar, Protocol, Self, cast

from inference.exceptions import PolicyConfigurationError, PolicyError, PolicyLoadError
from inference.policies.base import ActionChunk, Observation, Policy, PolicyInfo

_ABSENT = object()


class PolicyLike(Protocol):
    """What a user's class must offer: the methods of ``Policy``, without having to inherit from it.

    ``close()`` is called where it exists.
    """

    @property
    def info(self) -> PolicyInfo: ...

    def load(self) -> None: ...

    def infer(self, observations: Sequence[Observation]) -> list[ActionChunk]: ...


class PythonPolicy(Policy):
    """Wraps an instance of the class at the option ``path``, such as ``my_robot.policies:Grasp``.

    All other options go to the class: to ``from_options`` of a ``Policy``, else to its constructor by keyword.
    """

    backend: ClassVar[str] = "python"

    def __init__(self, *, path: str, wrapped: PolicyLike) -> None:
        self._path = path
        self._wrapped = wrapped

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Imports the user's module. Raises ``PolicyConfigurationError`` saying which step failed."""
        remaining = dict(options)
        path = remaining.pop("path", None)
        if not isinstance(path, str) or path.count(":") != 1:
            raise PolicyConfigurationError(f"The python backend needs 'path' as package.module:Class, not {path!r}.")
        user_class = _import_class(path)
        if issubclass(user_class, Policy):
            return cls(path=path, wrapped=user_class.from_options(remaining))
        try:
            wrapped = user_class(**remaining)
        except TypeError as error:
            raise PolicyConfigurationError(f"'{path}' does not take these options: {error}.") from error
        for name in ("load", "infer", "info"):
            if inspect.getattr_static(wrapped, name, _ABSENT) is _ABSENT:
                raise PolicyConfigurationError(f"'{path}' is not a policy: it has no '{name}'.")
        return cls(path=path, wrapped=cast(PolicyLike, wrapped))

    @property
    def info(self) -> PolicyInfo:
        return self._wrapped.info

    def load(self) -> None:
        try:
            self._wrapped.load()
        except PolicyError:
            raise
        except Exception as error:
            raise PolicyLoadError(f"'{self._path}' could not be loaded: {type(error).__name__}: {error}") from error

    def infer(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        return self._wrapped.infer(observations)

    def close(self) -> None:
        close = getattr(self._wrapped, "close", None)
        if close is not None:
            close()


def _import_class(path: str) -> type[Any]:
    module_name, _, attribute = path.partition(":")
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise PolicyConfigurationError(f"The module of '{path}' cannot be imported: {error}.") from error
    found = getattr(module, attribute, None)
    if not isinstance(found, type):
        raise PolicyConfigurationError(f"The module '{module_name}' has no class '{attribute}'.")
    return found
