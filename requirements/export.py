"""Writes requirements/{base,ml,demo,dev}.txt from pyproject.toml and the installed environment; `--check` compares.

pyproject.toml says what we want, the environment in which the tests passed says what that took: every package that the
wanted ones need, with the version installed. So an export needs no resolver and no network, and pins exactly what ran.
`make requirements` writes; `make lint` checks that each wanted package is pinned, within what pyproject.toml allows.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

FOLDER = Path(__file__).resolve().parent
BASE = "base"
HEADER = "# Made by `make requirements` from pyproject.toml.\n"


def wanted() -> dict[str, list[Requirement]]:
    """File name to the direct requirements of pyproject.toml that it pins."""
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]
    groups = {BASE: project["dependencies"], **project["optional-dependencies"]}
    return {name: [Requirement(line) for line in lines] for name, lines in groups.items()}


def closure(direct: Iterable[Requirement]) -> dict[str, Version]:
    """Installed versions of ``direct`` and of all that they need, by canonical name.

    :raises SystemExit: something is not installed
    """
    found: dict[str, Version] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(requirement, extra) for requirement in direct for extra in ("", *requirement.extras)]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            sys.exit(f"{name} is not installed: run `make install` first.")
        found[name] = Version(installed.version)
        for line in installed.requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(needed, inner) for inner in ("", *needed.extras)]
    return found


def export() -> None:
    groups = wanted()
    base = closure(groups[BASE])
    for name, direct in groups.items():
        pins = base if name == BASE else {n: v for n, v in closure(direct).items() if n not in base}
        # A local version (torch's "+cpu") names a build of one index; the public part is the same everywhere.
        lines = [f"{package}=={version.public}\n" for package, version in sorted(pins.items()) if package != "pip"]
        above = "" if name == BASE else f"-r {BASE}.txt\n"
        (FOLDER / f"{name}.txt").write_text(HEADER + above + "".join(lines))


def pinned(name: str) -> dict[str, Version]:
    """What ``name``.txt pins, what it includes among it."""
    versions: dict[str, Version] = {}
    for line in (FOLDER / f"{name}.txt").read_text().splitlines():
        if line.startswith("-r "):
            versions |= pinned(line.removeprefix("-r ").removesuffix(".txt"))
        elif line and not line.startswith("#"):
            package, _, version = line.partition("==")
            versions[canonicalize_name(package)] = Version(version)
    return versions


def disagreements() -> list[str]:
    found = []
    for name, direct in wanted().items():
        pins = pinned(name)
        for requirement in direct:
            version = pins.get(canonicalize_name(requirement.name))
            if version is None or version not in requirement.specifier:
                found.append(f"requirements/{name}.txt: {requirement} is wanted, {version or 'nothing'} is pinned")
    return found


def main() -> None:
    if sys.argv[1:] != ["--check"]:
        export()
    elif problems := disagreements():
        sys.exit("\n".join([*problems, "Install what pyproject.toml says and run: make requirements"]))


if __name__ == "__main__":
    main()
