"""One terminal for many processes: each line starts with the coloured name of who said it."""

from __future__ import annotations

import contextlib
import sys
from typing import TextIO

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92)  # ANSI foreground colours that are legible on black and on white
_BOLD = "\x1b[1m"
_RED = "\x1b[31m"
_RESET = "\x1b[0m"


class Console:
    """:param names: everyone who will speak, for alignment and stable colours"""

    def __init__(self, names: list[str], stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self._width = max(map(len, names), default=0)
        self._colour = {name: f"\x1b[{_COLOURS[index % len(_COLOURS)]}m" for index, name in enumerate(names)}
        self._is_terminal = stream.isatty()

    def line(self, name: str, text: str) -> None:
        """A line that process ``name`` wrote."""
        prefix = f"{name:<{self._width}} |"
        self._write(f"{self._painted(prefix, self._colour.get(name, ''))} {text}")

    def say(self, text: str) -> None:
        """A message of the launcher itself."""
        self._write(self._painted(text, _BOLD))

    def complain(self, text: str) -> None:
        """A message of the launcher about something that went wrong."""
        self._write(self._painted(text, _RED))

    def _painted(self, text: str, code: str) -> str:
        return f"{code}{text}{_RESET}" if self._is_terminal else text

    def _write(self, text: str) -> None:
        # Who read our output may have left (`make run | head`): the system goes on.
        with contextlib.suppress(BrokenPipeError):
            self._stream.write(text + "\n")
            self._stream.flush()
