"""What needs a person now: the list on the home page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.choices import Permission
from accounts.models import ApiKey, User
from collections_app.models import Collection, Robot
from feedback.models import Feedback, FeedbackTask
from inference.choices import Verdict, VersionState
from inference.models import InferenceResult, PolicyVersion
from pipeline.choices import JobState
from pipeline.models import Export, PipelineRun, QuarantinedRecord

SILENT_AFTER = timedelta(minutes=5)
SILENT_UNTIL = timedelta(hours=12)
EXPIRES_WITHIN = timedelta(days=14)
# Nobody acts differently on the ten-thousandth open task: counting stops here, so that the page stays quick.
COUNT_AT_MOST = 1000


@dataclass(frozen=True, slots=True)
class Attention:
    """One line: how pressing it is (``fail``, ``warn`` or ``accent``), what it is, and where to act on it."""

    tone: str
    icon: str
    text: str
    detail: str
    url: str


def attention_of(user: User) -> list[Attention]:
    """Everything that waits for ``user``, the most pressing first. A dozen bounded queries, however much data."""
    found = [
        *_failed_policies(user),
        *_failed_jobs(user),
        *_unsafe_results(user),
        *_silent_robots(user),
        *_quarantine(user),
        *_own_tasks(user),
        *_open_tasks(user),
        *_reviews(user),
        *_expiring_keys(user),
    ]
    order = ["fail", "warn", "accent"]
    return sorted(found, key=lambda item: order.index(item.tone))


def _failed_policies(user: User) -> list[Attention]:
    versions = PolicyVersion.objects.restrict(user).filter(state=VersionState.FAILED, deployments__isnull=False)
    return [
        Attention(
            "fail",
            "model",
            _("%(version)s does not load") % {"version": version},
            version.state_detail.splitlines()[0] if version.state_detail else "",
            reverse("admin:inference_policyversion_change", args=[version.pk])
            if user.is_staff
            else reverse("collections"),
        )
        for version in versions.distinct()[:5]
    ]


def _failed_jobs(user: User) -> list[Attention]:
    since = timezone.now() - timedelta(days=3)
    failed = {"state": JobState.FAILED, "created_at__gte": since}
    runs = PipelineRun.objects.restrict(user, Permission.EXPORT_WRITE).filter(**failed).select_related("collection")
    exports = Export.objects.restrict(user, Permission.EXPORT_WRITE).filter(**failed).select_related("collection")
    return [
        Attention(
            "fail",
            "run",
            _("A pipeline run of %(collection)s failed") % {"collection": run.collection},
            run.error.splitlines()[0] if run.error else "",
            reverse("collection-runs", args=[run.collection.slug]),
        )
        for run in runs[:3]
    ] + [
        Attention(
            "fail",
            "export",
            _("An export of %(collection)s failed") % {"collection": export.collection},
            export.error.splitlines()[0] if export.error else "",
            reverse("collection-exports", args=[export.collection.slug]),
        )
        for export in exports[:3]
    ]


def _unsafe_results(user: User) -> list[Attention]:
    since = timezone.now() - timedelta(hours=1)
    rejected = (
        InferenceResult.objects.sent()
        .restrict(user)
        .filter(created_at__gte=since, safety_verdict=Verdict.REJECTED)
        .values("collection__slug", "collection__name")
        .annotate(count=Count("pk"))
        .order_by("-count")
    )
    return [
        Attention(
            "fail",
            "rejected",
            ngettext(
                "%(count)d chunk was rejected in %(collection)s",
                "%(count)d chunks were rejected in %(collection)s",
                row["count"],
            )
            % {"count": row["count"], "collection": row["collection__name"]},
            _("Within the last hour the safety check sent these robots nothing."),
            reverse("collection-results", args=[row["collection__slug"]]) + f"?verdict={Verdict.REJECTED.value}",
        )
        for row in rejected[:5]
    ]


def _silent_robots(user: User) -> list[Attention]:
    now = timezone.now()
    silent = (
        Robot.objects.restrict(user)
        .filter(last_seen_at__lt=now - SILENT_AFTER, last_seen_at__gte=now - SILENT_UNTIL)
        .select_related("collection")
        .order_by("-last_seen_at")[:6]
    )
    by_collection: dict[Collection, list[Robot]] = {}
    for robot in silent:
        by_collection.setdefault(robot.collection, []).append(robot)
    return [
        Attention(
            "warn",
            "offline",
            ngettext(
                "%(count)d robot of %(collection)s went silent",
                "%(count)d robots of %(collection)s went silent",
                len(robots),
            )
            % {"count": len(robots), "collection": collection},
            ", ".join(robot.name for robot in robots),
            reverse("live", args=[collection.slug]),
        )
        for collection, robots in by_collection.items()
    ]


def _quarantine(user: User) -> list[Attention]:
    records = QuarantinedRecord.objects.restrict(user, Permission.EXPORT_WRITE).filter(resolved_at=None)
    count = _bounded_count(records)
    if not count:
        return []
    newest = records.select_related("run__collection").first()
    assert newest is not None
    return [
        Attention(
            "warn",
            "warning",
            ngettext("%(count)s record waits in quarantine", "%(count)s records wait in quarantine", count)
            % {"count": _shown(count)},
            newest.reason,
            reverse("collection-runs", args=[newest.run.collection.slug]),
        )
    ]


def _own_tasks(user: User) -> list[Attention]:
    count = _bounded_count(FeedbackTask.objects.held_by(user).restrict(user, Permission.FEEDBACK_WRITE))
    if not count:
        return []
    text = ngettext("You have %(count)s task in hand", "You have %(count)s tasks in hand", count)
    return [
        Attention(
            "accent", "feedback", text % {"count": _shown(count)}, _("Your draft is kept."), reverse("feedback-queue")
        )
    ]


def _open_tasks(user: User) -> list[Attention]:
    count = _bounded_count(FeedbackTask.objects.restrict(user, Permission.FEEDBACK_WRITE).open())
    if not count:
        return []
    text = ngettext("%(count)s result waits for an opinion", "%(count)s results wait for an opinion", count)
    detail = _("Those from which the policies learn most come first.")
    return [Attention("accent", "inbox", text % {"count": _shown(count)}, detail, reverse("feedback-queue"))]


def _reviews(user: User) -> list[Attention]:
    count = _bounded_count(Feedback.objects.restrict(user, Permission.FEEDBACK_REVIEW).reviewable_by(user))
    if not count:
        return []
    text = ngettext("%(count)s answer waits for your review", "%(count)s answers wait for your review", count)
    return [Attention("accent", "shield", text % {"count": _shown(count)}, "", reverse("feedback-review"))]


def _expiring_keys(user: User) -> list[Attention]:
    if not user.is_superuser:
        return []
    keys = ApiKey.objects.usable().filter(expires_at__lt=timezone.now() + EXPIRES_WITHIN).order_by("expires_at")
    return [
        Attention(
            "warn",
            "key",
            _("The API key %(name)s expires on %(day)s") % {"name": key.name, "day": f"{key.expires_at:%Y-%m-%d}"},
            _("Rotate it while the old one still works."),
            reverse("admin:accounts_apikey_change", args=[key.pk]),
        )
        for key in keys[:5]
    ]


def _bounded_count(queryset: QuerySet) -> int:
    return queryset.order_by()[:COUNT_AT_MOST].count()


def _shown(count: int) -> str:
    return f"{count}+" if count >= COUNT_AT_MOST else str(count)
