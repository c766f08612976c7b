from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.formats import date_format
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.choices import Permission
from accounts.models import User
from collections_app.restricted_admin import CollectionFilter, RestrictedAdmin, RestrictedRecordAdmin
from core.admin import ReadOnlyAdmin
from core.problems import Problem
from pipeline import quarantine, services
from pipeline.embeddings.filters import SearchFilters
from pipeline.embeddings.search import search
from pipeline.forms import FixForm
from pipeline.models import (
    Embedding,
    Export,
    PipelineRun,
    QuarantinedRecord,
    RetentionRule,
    RunShard,
    StageRun,
    StoredObject,
    VectorIndexHealth,
    VectorSet,
)
from pipeline.storage import purging, retention


class ReadOnlyInline(admin.TabularInline):
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class StageRunInline(ReadOnlyInline):
    model = StageRun
    fields = ("stage", "state", "records_in", "records_out", "seconds", "counts", "error")
    readonly_fields = fields


class RunShardInline(ReadOnlyInline):
    model = RunShard
    fields = ("number", "state", "records", "attempts", "file", "error")
    readonly_fields = fields


@admin.register(PipelineRun)
class PipelineRunAdmin(RestrictedRecordAdmin):
    list_display = ("created_at", "collection", "state", "percent", "records_in", "records_out", "records_quarantined")
    list_filter = ("state", "trigger", ("collection", CollectionFilter))
    list_select_related = ("collection",)
    search_fields = ("id", "collection__slug")
    inlines = (StageRunInline, RunShardInline)
    actions = ("run_again", "replay", "cancel", "purge_raw")

    @admin.display(description=_("progress"), ordering="progress")
    def percent(self, run: PipelineRun) -> str:
        return f"{run.progress:.0%}"

    @admin.action(description=_("Run again over the same window"), permissions=["export"])
    def run_again(self, request: HttpRequest, runs: QuerySet[PipelineRun]) -> None:
        for run in self.permitted(request, runs, Permission.EXPORT_WRITE):
            _told(
                self,
                request,
                lambda run=run: services.start_run(
                    collection=run.collection,
                    requested_by=_person(request),
                    window_start=run.window_start,
                    window_end=run.window_end,
                    trigger="admin",
                ),
            )

    @admin.action(description=_("Replay what is in quarantine"), permissions=["export"])
    def replay(self, request: HttpRequest, runs: QuerySet[PipelineRun]) -> None:
        for run in self.permitted(request, runs, Permission.EXPORT_WRITE):
            _told(self, request, lambda run=run: services.replay_quarantine(run=run, requested_by=_person(request)))

    @admin.action(description=_("Cancel"), permissions=["export"])
    def cancel(self, request: HttpRequest, runs: QuerySet[PipelineRun]) -> None:
        for run in self.permitted(request, runs, Permission.EXPORT_WRITE):
            _told(self, request, lambda run=run: services.cancel_run(run=run))

    @admin.action(description=_("Purge the raw data behind them"), permissions=["manage"])
    def purge_raw(self, request: HttpRequest, runs: QuerySet[PipelineRun]) -> HttpResponse | None:
        permitted = self.permitted(request, runs.select_related("collection"), Permission.COLLECTION_MANAGE)
        if "confirmed" not in request.POST:
            return self._preview_of_purge(request, permitted)
        for run in permitted:
            _told(self, request, lambda run=run: services.purge_raw(run=run))
        return None

    def _preview_of_purge(self, request: HttpRequest, runs: list[PipelineRun]) -> HttpResponse:
        """What would go, with a button that does it."""
        rows = [(run, purging.preview(run), _refusal(partial(purging.refuse_unless_possible, run))) for run in runs]
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Purge the raw data behind these runs?"),
            "opts": self.opts,
            "rows": rows,
            "possible": [run.pk for run, _found, refusal in rows if not refusal],
            "checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/pipeline/pipelinerun/purge_raw.html", context)


@admin.register(QuarantinedRecord)
class QuarantinedRecordAdmin(RestrictedRecordAdmin):
    """Managers fix what was refused and have it replayed."""

    form = FixForm
    change_form_template = "admin/pipeline/quarantinedrecord/change_form.html"
    list_display = ("created_at", "run", "stage", "reason", "detail", "inference_result_id", "fixed_at", "resolved_at")
    list_filter = (
        "stage",
        "reason",
        ("fixed_at", admin.EmptyFieldListFilter),
        ("resolved_at", admin.EmptyFieldListFilter),
    )
    list_select_related = ("run__collection",)
    search_fields = ("=inference_result__request_id", "reason")
    _about = ("run", "stage", "reason", "detail", "inference_result_id", "created_at", "resolved_at")
    _fixed = ("original", "fixed_at", "fixed_by")
    readonly_fields = (*_about, *_fixed)

    def get_fieldsets(self, request: HttpRequest, obj: QuarantinedRecord | None = None) -> Any:
        fix = (_("Fix"), {"fields": tuple(quarantine.FIXABLE)})
        may_fix = [fix] if self.has_change_permission(request, obj) else []
        return [(None, {"fields": self._about}), *may_fix, (_("Before it was fixed"), {"fields": self._fixed})]

    def has_change_permission(self, request: HttpRequest, obj: QuarantinedRecord | None = None) -> bool:
        waits = obj is None or obj.resolved_at is None
        return waits and self.holds(request, Permission.COLLECTION_MANAGE, obj)

    def save_model(self, request: HttpRequest, obj: QuarantinedRecord, form: Any, change: bool) -> None:
        services.fix_quarantined(
            record=obj,
            values=form.values(form.cleaned_data),
            fixed_by=_person(request),
            replay="_replay" in request.POST,
        )


@admin.register(StoredObject)
class StoredObjectAdmin(RestrictedRecordAdmin):
    ordering = ("-id",)  # ids follow the time
    list_display = ("key", "kind", "collection", "bytes", "legal_hold", "created_at")
    list_filter = ("kind", "legal_hold")
    list_select_related = ("collection",)
    search_fields = ("key", "=sha256")
    actions = ("hold", "release")

    @admin.action(description=_("Place under legal hold"), permissions=["manage"])
    def hold(self, request: HttpRequest, objects: QuerySet[StoredObject]) -> None:
        for stored_object in self.permitted(request, objects, Permission.COLLECTION_MANAGE):
            services.set_legal_hold(stored_object=stored_object, held=True)

    @admin.action(description=_("Release from legal hold"), permissions=["manage"])
    def release(self, request: HttpRequest, objects: QuerySet[StoredObject]) -> None:
        for stored_object in self.permitted(request, objects, Permission.COLLECTION_MANAGE):
            services.set_legal_hold(stored_object=stored_object, held=False)


class ExportFileInline(ReadOnlyInline):
    model = StoredObject
    fk_name = "export"
    fields = ("key", "bytes", "sha256")
    readonly_fields = fields


@admin.register(Export)
class ExportAdmin(RestrictedRecordAdmin):
    list_display = ("created_at", "collection", "format", "state", "percent", "records", "requested_by")
    list_filter = ("state", "format", ("collection", CollectionFilter))
    list_select_related = ("collection", "requested_by")
    search_fields = ("id", "collection__slug")
    inlines = (ExportFileInline,)
    actions = ("export_again",)

    @admin.display(description=_("progress"), ordering="progress")
    def percent(self, export: Export) -> str:
        return f"{export.progress:.0%}"

    @admin.action(description=_("Write the same export again"), permissions=["export"])
    def export_again(self, request: HttpRequest, exports: QuerySet[Export]) -> None:
        for export in self.permitted(request, exports, Permission.EXPORT_WRITE):
            _told(
                self,
                request,
                lambda export=export: services.start_export(
                    collection=export.collection,
                    export_format=export.format,
                    query=export.query,
                    requested_by=_person(request),
                ),
            )


@admin.register(RetentionRule)
class RetentionRuleAdmin(RestrictedAdmin):
    """Managers say how long their collection's data is kept."""

    list_display = ("collection", "kind", "days", "action", "legal_hold", "enabled")
    readonly_fields = ("preview",)
    list_filter = ("kind", "action", "enabled", "legal_hold")
    list_select_related = ("collection",)
    autocomplete_fields = ("collection",)
    actions = ("preview_now", "apply_now")

    @admin.display(description=_("would remove now"))
    def preview(self, rule: RetentionRule) -> str:
        return "-" if rule._state.adding else _described(retention.preview(rule))

    @admin.action(description=_("Dry run: show what they would remove now"))
    def preview_now(self, request: HttpRequest, rules: QuerySet[RetentionRule]) -> None:
        for rule in rules.select_related("collection"):
            self.message_user(request, f"{rule.collection}: {rule}: {_described(retention.preview(rule))}")

    @admin.action(description=_("Apply them now"), permissions=["delete"])
    def apply_now(self, request: HttpRequest, rules: QuerySet[RetentionRule]) -> None:
        for rule in self.permitted(request, rules, Permission.COLLECTION_MANAGE):
            _told(self, request, lambda rule=rule: services.apply_retention_rule(rule=rule))

    def has_delete_permission(self, request: HttpRequest, obj: RetentionRule | None = None) -> bool:
        return self.has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: RetentionRule, form: Any, change: bool) -> None:
        services.save_retention_rule(rule=obj, changed={name: form.cleaned_data[name] for name in form.changed_data})

    def delete_model(self, request: HttpRequest, obj: RetentionRule) -> None:
        services.delete_retention_rule(rule=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[RetentionRule]) -> None:
        for rule in self.permitted(request, queryset, Permission.COLLECTION_MANAGE):
            services.delete_retention_rule(rule=rule)


@admin.register(Embedding)
class EmbeddingAdmin(RestrictedRecordAdmin):
    """Its search box searches by meaning."""

    list_display = ("text", "source_kind", "collection", "safety_verdict", "model_name", "occurred_at")
    list_filter = ("source_kind", "safety_verdict")
    list_select_related = ("collection",)
    search_fields = ("text",)
    search_help_text = _("Searches by meaning and by words.")
    exclude = ("embedding", "inference_result")
    readonly_fields = ("inference_result_id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Embedding]:
        return super().get_queryset(request).defer("embedding", "search_vector")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Embedding], search_term: str
    ) -> tuple[QuerySet[Embedding], bool]:
        if not search_term.strip():
            return queryset, False
        hits = search(principal=request.user, text=search_term, filters=SearchFilters(), limit=100)
        return queryset.filter(pk__in=[hit.embedding_id for hit in hits]), False


@admin.register(VectorSet)
class VectorSetAdmin(RestrictedRecordAdmin):
    """Which model's vectors serve a collection, and how far those of a new one are."""

    list_display = ("collection", "model_name", "model_revision", "dimensions", "state", "percent", "served_at")
    list_filter = ("state", ("collection", CollectionFilter))
    list_select_related = ("collection",)
    search_fields = ("collection__slug", "model_revision")
    exclude = ("folder", "copied_to")

    @admin.display(description=_("made"))
    def percent(self, vectors: VectorSet) -> str:
        return f"{vectors.progress:.0%}"


@admin.register(VectorIndexHealth)
class VectorIndexHealthAdmin(ReadOnlyAdmin):
    """The index belongs to no collection: whoever runs the system looks after it."""

    list_display = ("measured_at", "method", "dimensions", "rows", "dead_rows", "megabytes", "recall", "maintenance")
    date_hierarchy = "measured_at"

    @admin.display(description=_("MB"), ordering="bytes")
    def megabytes(self, health: VectorIndexHealth) -> str:
        return f"{health.bytes / 1e6:.1f}"


def _described(found: retention.Preview) -> str:
    if not found.records and not found.objects:
        return gettext("nothing")
    text = gettext("%(records)d records, %(objects)d objects, %(megabytes).1f MB, the oldest of %(day)s")
    day = "-" if found.oldest is None else date_format(found.oldest, "DATE_FORMAT")
    return text % {"records": found.records, "objects": found.objects, "megabytes": found.bytes / 1e6, "day": day}


def _person(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None


def _refusal(check: Callable[[], None]) -> str:
    """What a service would say against it; empty where nothing."""
    try:
        check()
    except Problem as problem:
        return problem.detail
    return ""


def _told(page: admin.ModelAdmin, request: HttpRequest, act: Any) -> None:
    """Call a service; what it refuses is shown."""
    try:
        act()
    except Problem as problem:
        page.message_user(request, problem.detail, messages.ERROR)
