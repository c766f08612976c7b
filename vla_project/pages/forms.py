from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.choices import Role
from accounts.models import User
from collections_app.choices import Outcome
from collections_app.spreadsheets import CHARACTERS_AT_MOST
from feedback.choices import FeedbackType
from inference.choices import Verdict
from pipeline.choices import ExportFormat, ObjectKind, RetentionAction, SearchBy
from pipeline.embeddings.filters import FILTER_NAMES, SearchFilters

# Of what a collection has by itself; models, backups and the audit trail are the whole system's.
KINDS_WITH_RULES = (
    ObjectKind.RAW,
    ObjectKind.PROCESSED,
    ObjectKind.EXPORT,
    ObjectKind.EMBEDDINGS,
    ObjectKind.ARCHIVE,
)


class ResultFilterForm(forms.Form):
    """Which results of a collection to show; ``q`` searches by meaning."""

    q = forms.CharField(required=False, max_length=400, label=_("Search"))
    verdict = forms.ChoiceField(required=False, label=_("Safety"), choices=[("", _("Any")), *Verdict.choices])
    robot = forms.CharField(required=False, max_length=64, label=_("Robot"))
    model = forms.CharField(required=False, max_length=100, label=_("Policy"))


class SearchForm(forms.Form):
    """What the search page asks for; every field stands in its link."""

    q = forms.CharField(required=False, max_length=400, label=_("Search"))
    similar_to = forms.UUIDField(required=False, widget=forms.HiddenInput)
    by = forms.ChoiceField(required=False, label=_("Compare"), choices=[("", SearchBy.TEXT.label), SearchBy.choices[1]])
    collection = forms.SlugField(required=False, label=_("Collection"))
    robot = forms.CharField(required=False, max_length=64, label=_("Robot"))
    model = forms.CharField(required=False, max_length=97, label=_("Policy"))
    verdict = forms.ChoiceField(required=False, label=_("Safety"), choices=[("", _("Any")), *Verdict.choices])
    outcome = forms.ChoiceField(required=False, label=_("Outcome"), choices=[("", _("Any")), *Outcome.choices])
    label = forms.ChoiceField(required=False, label=_("Feedback"), choices=[("", _("Any")), *FeedbackType.choices])
    anomaly = forms.ChoiceField(
        required=False, label=_("Anomaly"), choices=[("", _("Any")), ("true", _("Yes")), ("false", _("No"))]
    )
    created_after = forms.DateField(required=False, label=_("From"), widget=forms.DateInput(attrs={"type": "date"}))
    created_before = forms.DateField(required=False, label=_("Before"), widget=forms.DateInput(attrs={"type": "date"}))

    def filters(self) -> SearchFilters:
        """Raises ``KeyError`` before the form is valid."""
        given: dict[str, Any] = {
            name: self.cleaned_data[name] or None for name in FILTER_NAMES if name in self.cleaned_data
        }
        given["anomaly"] = {"true": True, "false": False}.get(self.cleaned_data["anomaly"])
        for name in ("created_after", "created_before"):
            if given[name] is not None:
                given[name] = datetime.combine(given[name], time.min, UTC)
        return SearchFilters(**given)

    def link(self) -> dict[str, str]:
        """What of the query stands in a link: the fields that say something."""
        return {name: str(value) for name, value in self.cleaned_data.items() if value}


class SaveSearchForm(forms.Form):
    name = forms.CharField(max_length=100, label=_("Name"))


class EpisodeFilterForm(forms.Form):
    outcome = forms.ChoiceField(
        required=False,
        label=_("Outcome"),
        choices=[("", _("Any")), *Outcome.choices, ("none", _("Not known yet"))],
    )
    robot = forms.CharField(required=False, max_length=64, label=_("Robot"))
    tag = forms.CharField(required=False, max_length=64, label=_("Tag"))


class EpisodeForm(forms.Form):
    """What a person says of an episode."""

    outcome = forms.ChoiceField(
        required=False, label=_("Outcome"), choices=[("", _("Not known yet")), *Outcome.choices]
    )
    tags = forms.CharField(required=False, max_length=400, label=_("Tags"), help_text=_("Separated by commas."))

    def clean_tags(self) -> list[str]:
        tags = [tag.strip() for tag in self.cleaned_data["tags"].split(",")]
        return list(dict.fromkeys(tag for tag in tags if tag))


class ExportForm(forms.Form):
    format = forms.ChoiceField(label=_("Format"), choices=ExportFormat.choices)


class RetentionForm(forms.Form):
    """How long a collection keeps one kind of data."""

    kind = forms.ChoiceField(
        label=_("Kind of data"),
        choices=[(kind.value, kind.label) for kind in KINDS_WITH_RULES],
    )
    days = forms.IntegerField(label=_("Days"), min_value=1, max_value=36_500, initial=90)
    action = forms.ChoiceField(label=_("Then"), choices=RetentionAction.choices)
    enabled = forms.BooleanField(label=_("At work"), required=False, initial=True)
    legal_hold = forms.BooleanField(label=_("Legal hold"), required=False)


class MemberForm(forms.Form):
    """Somebody's role in a collection."""

    username = forms.CharField(max_length=150, label=_("Username"))
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        user = User.objects.filter(username=cleaned.get("username", ""), is_active=True).first()
        if cleaned.get("username") and user is None:
            self.add_error("username", _("Nobody has this username."))
        return {**cleaned, "user": user}


class SpreadsheetForm(forms.Form):
    """A spreadsheet saved as CSV: a file, or its text."""

    file = forms.FileField(
        required=False, label=_("CSV file"), widget=forms.FileInput(attrs={"accept": ".csv,text/csv"})
    )
    text = forms.CharField(required=False, label=_("Or its text"), widget=forms.Textarea(attrs={"rows": 6}))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        file = cleaned.get("file")
        if file is not None:
            try:
                cleaned["text"] = file.read(CHARACTERS_AT_MOST + 1).decode("utf-8-sig")
            except UnicodeDecodeError:
                self.add_error("file", _("This is no text in UTF-8. Save it as “CSV UTF-8”."))
        if not cleaned.get("text") and not self.errors:
            self.add_error("file", _("Choose a file, or paste its text."))
        return cleaned
