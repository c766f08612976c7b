"""What the user asked for: the environment, and under it the file `.env`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vla_project.launcher.exceptions import LauncherError

_FALSE = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True)
class LaunchOptions:
    """The variables of contract.md section 1 that decide what is started.

    :param variables: everything set, `.env` included; the processes inherit it
    """

    project: Path
    var_dir: Path
    host: str
    port: int
    demo: bool
    variables: Mapping[str, str]

    @classmethod
    def read(cls, project: Path, environ: Mapping[str, str]) -> Self:
        """:raises LauncherError: `.env` or `PORT` cannot be understood"""
        variables = {**read_env_file(project / ".env"), **environ}
        port = variables.get("PORT", "8000")
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise LauncherError(f"PORT must be a number from 1 to 65535, not {port!r}.")
        return cls(
            project=project,
            var_dir=(project / variables.get("VAR_DIR", "var")).resolve(),
            host=variables.get("HOST", "127.0.0.1"),
            port=int(port),
            demo=variables.get("DEMO", "1").strip().lower() not in _FALSE,
            variables=variables,
        )

    @property
    def base_url(self) -> str:
        """Where a browser on this machine finds the system."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"http://{host}:{self.port}"


def read_env_file(path: Path) -> dict[str, str]:
    """``KEY=value`` lines; ``#`` starts a comment line, ``export`` and one pair of quotes are dropped.

    :raises LauncherError: a line is none of these
    """
    if not path.exists():
        return {}
    values: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise LauncherError(f"{path}, line {number}: expected KEY=value.")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        values[name.strip()] = value
    return values


def as_env_file(values: Mapping[str, str]) -> str:
    """The text that :func:`read_env_file` reads back."""
    return "".join(f"{name}={value}\n" for name, value in values.items())
