"""Members and robots that somebody brings in a spreadsheet: first what each line would do, then all or nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from accounts.choices import Role
from accounts.models import User
from collections_app import services
from collections_app.models import Collection, Membership, Robot
from core.csv_lines import plain

LINES_AT_MOST = 2_000
CHARACTERS_AT_MOST = 512 * 1024
ADDED, CHANGED, SAME = "added", "changed", "same"


@dataclass(slots=True)
class Line:
    """One line of the file: its number there, its cells by column, what it would do, and why it cannot."""

    number: int
    cells: dict[str, str]
    change: str = SAME
    before: str = ""
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plan:
    lines: list[Line]

    @property
    def ready(self) -> bool:
        return bool(self.changes) and not self.faulty

    @property
    def changes(self) -> list[Line]:
        return [line for line in self.lines if line.change != SAME and not line.errors]

    @property
    def faulty(self) -> list[Line]:
        return [line for line in self.lines if line.errors]


def plan_members(collection: Collection, text: str) -> Plan:
    """Who would get which role. Nobody is removed by not being named. Raises ``ValidationError`` for no such table."""
    lines = _read(text, MEMBER_COLUMNS)
    names = {line.cells["username"] for line in lines}
    users = set(User.objects.filter(username__in=names, is_active=True).values_list("username", flat=True))
    roles = dict(
        Membership.objects.filter(collection=collection, user__username__in=names).values_list("user__username", "role")
    )
    known = {**{str(role.label).lower(): role.value for role in Role}, **{role.value: role.value for role in Role}}
    for line in _once(lines, "username"):
        role = known.get(line.cells["role"].lower(), "")
        if line.cells["username"] not in users:
            line.errors.append(_("Nobody has this username."))
        if not role:
            line.errors.append(_("Not a role. Roles: %(roles)s.") % {"roles": ", ".join(Role.values)})
        line.cells["role"] = role or line.cells["role"]
        _compare(line, roles.get(line.cells["username"]), role)
    return Plan(lines)


def plan_robots(collection: Collection, text: str) -> Plan:
    """Which robots would be registered or described anew. Raises ``ValidationError`` for no such table."""
    lines = _read(text, ROBOT_COLUMNS)
    described = dict(
        Robot.objects.filter(collection=collection, name__in={line.cells["name"] for line in lines}).values_list(
            "name", "description"
        )
    )
    for line in _once(lines, "name"):
        try:
            Robot(collection=collection, **line.cells).clean_fields(exclude=["collection"])
        except ValidationError as error:
            line.errors += error.messages
        _compare(line, described.get(line.cells["name"]), line.cells["description"])
    return Plan(lines)


@transaction.atomic
def import_members(collection: Collection, plan: Plan) -> int:
    """Give the roles of a plan without errors; how many changed."""
    users = User.objects.filter(is_active=True).in_bulk(
        [line.cells["username"] for line in plan.changes], field_name="username"
    )
    for line in plan.changes:
        services.set_membership(
            collection=collection, user=users[line.cells["username"]], role=Role(line.cells["role"])
        )
    return len(plan.changes)


@transaction.atomic
def import_robots(collection: Collection, plan: Plan) -> int:
    """Register and describe the robots of a plan without errors; how many changed."""
    for line in plan.changes:
        services.register_robot(collection=collection, **line.cells)
    return len(plan.changes)


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be brought in a spreadsheet, and how."""

    columns: tuple[str, ...]
    plan: Callable[[Collection, str], Plan]
    apply: Callable[[Collection, Plan], int]
    example: str


MEMBER_COLUMNS = ("username", "role")
ROBOT_COLUMNS = ("name", "description")
KINDS: Mapping[str, Kind] = {
    "members": Kind(MEMBER_COLUMNS, plan_members, import_members, "username,role\nkim,annotator\nalex,reviewer"),
    "robots": Kind(ROBOT_COLUMNS, plan_robots, import_robots, 'name,description\narm-07,"Cell 3, new gripper"'),
}


def rows_of(collection: Collection, kind: str) -> list[list[Any]]:
    """What there is, in the columns that an import reads."""
    if kind == "members":
        members = Membership.objects.filter(collection=collection).order_by("user__username")
        return [list(row) for row in members.values_list("user__username", "role")]
    return [list(row) for row in Robot.objects.filter(collection=collection).values_list(*ROBOT_COLUMNS)]


def _read(text: str, columns: tuple[str, ...]) -> list[Line]:
    """The lines below a head that names ``columns``, in any order, between commas, semicolons or tabs."""
    if len(text) > CHARACTERS_AT_MOST:
        raise ValidationError(_("The file is too large."))
    text = text.lstrip("\ufeff").strip()
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    rows = list(csv.reader(io.StringIO(text), delimiter=separator))
    titles = [title.strip().lower() for title in rows[0]] if rows else []
    if set(columns) - set(titles):
        raise ValidationError(
            _("The first line has to name the columns: %(columns)s.") % {"columns": ", ".join(columns)}
        )
    if len(rows) - 1 > LINES_AT_MOST:
        raise ValidationError(_("At most %(count)d lines at once.") % {"count": LINES_AT_MOST})
    places = {column: titles.index(column) for column in columns}
    return [
        Line(number, {column: plain(row[at].strip()) if at < len(row) else "" for column, at in places.items()})
        for number, row in enumerate(rows[1:], start=2)
        if any(cell.strip() for cell in row)
    ]


def _once(lines: list[Line], column: str) -> list[Line]:
    """``lines``; those that name again what an earlier one named say so."""
    seen: dict[str, int] = {}
    for line in lines:
        first = seen.setdefault(line.cells[column], line.number)
        if first != line.number:
            line.errors.append(_("Line %(number)d names this already.") % {"number": first})
    return lines


def _compare(line: Line, before: str | None, after: str) -> None:
    line.change = ADDED if before is None else SAME if before == after else CHANGED
    line.before = before or ""
