"""What an export's query may say, and the records that it chooses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Max, Min, QuerySet
from django.utils.dateparse import parse_datetime

from collections_app.choices import Outcome
from collections_app.models import Collection
from core.problems import invalid
from feedback.models import Feedback
from inference.choices import Verdict
from inference.models import InferenceResult


@dataclass(frozen=True, slots=True)
class ExportQuery:
    """Filters, each optional. What is chosen is always published the same way: no filter takes redaction off."""

    created_after: datetime | None = None
    created_before: datetime | None = None
    robot: str | None = None
    episode: str | None = None
    model: str | None = None
    verdict: str | None = None
    outcome: str | None = None
    tag: str | None = None
    corrected: bool | None = None

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> ExportQuery:
        """Read a query as it was sent. Raises ``Problem`` 400 naming the wrong field."""
        values: dict[str, Any] = {}
        for name, value in given.items():
            if name == "redact_images" and value is True:  # what older queries say
                continue
            if name not in cls.__dataclass_fields__:
                raise invalid(f"/query/{name}", "No such filter.")
            if value is not None:
                values[name] = _READERS[name](name, value)
        return cls(**values)

    def as_json(self) -> dict[str, Any]:
        """The query as ``parse`` reads it, without the filters that are not set."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: v.isoformat() if isinstance(v, datetime) else v for name, v in values.items()}

    def results(self, collection: Collection, *, as_of: datetime) -> QuerySet[InferenceResult]:
        """The chosen records, of those that existed at ``as_of``."""
        name, _, version = (self.model or "").partition("@")
        lookups = {
            "created_at__gte": self.created_after,
            "created_at__lt": self.created_before,
            "robot__name": self.robot,
            "episode__external_id": self.episode,
            "model_name": name or None,
            "model_version": version or None,
            "safety_verdict": self.verdict,
            "episode__outcome": self.outcome,
            "episode__tags__contains": None if self.tag is None else [self.tag],
        }
        results = InferenceResult.objects.sent().filter(
            collection=collection,
            created_at__lte=as_of,
            **{lookup: value for lookup, value in lookups.items() if value is not None},
        )
        if self.corrected is not None:
            corrections = Feedback.objects.usable().corrections().filter(collection=collection, created_at__lte=as_of)
            chosen = {"pk__in": corrections.values("inference_result")}
            results = results.filter(**chosen) if self.corrected else results.exclude(**chosen)
        return results


def window(results: QuerySet[InferenceResult]) -> tuple[datetime, datetime] | None:
    """From the first record to just after the last; None where there are none. Depends on the data alone."""
    found = results.aggregate(first=Min("created_at"), last=Max("created_at"))
    return None if found["first"] is None else (found["first"], found["last"] + timedelta(microseconds=1))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > 200:
        raise invalid(f"/query/{name}", "Give a text.")
    return value


def _moment(name: str, value: Any) -> datetime:
    try:
        moment = parse_datetime(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise invalid(f"/query/{name}", "Give a date and time with an offset, such as 2026-11-22T10:00:00Z.")
    return moment


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise invalid(f"/query/{name}", "Give true or false.")
    return value


def _verdict(name: str, value: Any) -> str:
    if value not in Verdict.values:
        raise invalid(f"/query/{name}", f"Give one of {', '.join(Verdict.values)}.")
    return str(value)


def _outcome(name: str, value: Any) -> str:
    if value not in Outcome.values:
        raise invalid(f"/query/{name}", f"Give one of {', '.join(Outcome.values)}.")
    return str(value)


_READERS = {
    "created_after": _moment,
    "created_before": _moment,
    "robot": _text,
    "episode": _text,
    "model": _text,
    "verdict": _verdict,
    "outcome": _outcome,
    "tag": _text,
    "corrected": _flag,
}
