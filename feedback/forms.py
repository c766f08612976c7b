"""What people send from the pages. Forms check shape; services check meaning."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from core.problems import Problem
from feedback.choices import ReviewVerdict, SkipReason, TaskReason, TaskVerdict
from feedback.models import TaskRule
from inference.models import InferenceResult

# Answers are overruled by settling a dispute, not by themselves.
REVIEW_VERDICTS = [choice for choice in ReviewVerdict.choices if choice[0] != ReviewVerdict.OVERRULED]
RATINGS = [(str(value), str(value)) for value in range(1, 6)]


def cell_name(step: int, dimension: int) -> str:
    """The name of the input that holds one number of a chunk."""
    return f"a-{step}-{dimension}"


def posted_chunk(data: Mapping[str, str], *, steps: int, dimensions: int) -> list[list[Any]]:
    """The chunk in the inputs named by ``cell_name``. What is no number stays text, for the service to point at."""
    return [
        [_number(data.get(cell_name(step, dimension), "")) for dimension in range(dimensions)] for step in range(steps)
    ]


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


class AnswerForm(forms.Form):
    """An annotator's judgement; the chunk's numbers are read by ``posted_chunk``."""

    verdict = forms.TypedChoiceField(
        choices=TaskVerdict.choices, coerce=TaskVerdict, error_messages={"required": _("Choose a verdict.")}
    )
    rating = forms.TypedChoiceField(choices=RATINGS, coerce=int, empty_value=None, required=False)
    confidence = forms.FloatField(min_value=0, max_value=1, required=False)
    comment = forms.CharField(max_length=10_000, required=False, widget=forms.Textarea)
    active_seconds = forms.FloatField(min_value=0, required=False)


class ReviewForm(forms.Form):
    verdict = forms.TypedChoiceField(
        choices=REVIEW_VERDICTS,
        coerce=ReviewVerdict,
        error_messages={"required": _("Choose a verdict.")},
    )
    comment = forms.CharField(max_length=10_000, required=False, widget=forms.Textarea)


class SettleForm(forms.Form):
    """``choice`` is the id of the answer that stands, or ``OWN``: the chunk that was posted."""

    OWN = "own"

    choice = forms.CharField(max_length=36, error_messages={"required": _("Choose what stands.")})
    comment = forms.CharField(max_length=10_000, required=False, widget=forms.Textarea)

    def clean_choice(self) -> uuid.UUID | None:
        """The answer's id; None for a correction of one's own."""
        if self.cleaned_data["choice"] == self.OWN:
            return None
        try:
            return uuid.UUID(self.cleaned_data["choice"])
        except ValueError:
            raise forms.ValidationError(_("Choose what stands.")) from None


class SkipForm(forms.Form):
    reason = forms.TypedChoiceField(choices=SkipReason.choices, coerce=SkipReason)
    note = forms.CharField(max_length=200, required=False)


def add_problem(form: forms.Form, problem: Problem) -> dict[str, str]:
    """Put a service's refusal where a person sees it. Returns the messages of single numbers by ``cell_name``."""
    cells: dict[str, str] = {}
    form.add_error(None, problem.detail)
    for error in problem.errors:
        name, _slash, place = error.pointer.lstrip("/").partition("/")
        if name in form.fields:
            form.add_error(name, error.detail)
        elif place.count("/") == 1:
            step, dimension = place.split("/")
            cells[cell_name(int(step), int(dimension))] = error.detail
        else:
            form.add_error(None, error.detail)
    return cells


class SimilarForm(forms.Form):
    """How many moments like a given one, and how like."""

    threshold = forms.FloatField(
        label=_("At least so like"), min_value=0.3, max_value=1, initial=0.6, widget=forms.NumberInput({"step": "0.05"})
    )
    limit = forms.IntegerField(label=_("At most so many"), min_value=1, max_value=100, initial=20)
    overlap = forms.IntegerField(label=_("Annotators for each"), min_value=1, max_value=5, initial=1)

    @classmethod
    def initial_of(cls, rule: TaskRule | None) -> dict[str, Any]:
        """What ``rule`` says, or what is usual."""
        return {name: getattr(rule, name) if rule else field.initial for name, field in cls.base_fields.items()}


class AssignForm(forms.Form):
    """To whom tasks are given, of ``people``."""

    def __init__(self, *args: Any, people: QuerySet[User], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["annotator"] = forms.ModelChoiceField(label=_("Annotator"), queryset=people)


class TaskRuleForm(forms.ModelForm):
    """``request_id`` names the result that others shall be like, where that is the reason."""

    request_id = forms.UUIDField(required=False, help_text=_("For “similar”: the request of the result to be like."))

    class Meta:
        model = TaskRule
        fields = ["collection", "reason", "enabled", "sample_rate", "threshold", "overlap", "limit"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            self.fields["request_id"].disabled = True
            self.fields["request_id"].initial = self.instance.source and self.instance.source.request_id

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        request_id = cleaned.pop("request_id", None)
        reason = cleaned.get("reason", self.instance.reason)
        if self.instance.pk is not None:
            cleaned["source"] = self.instance.source
        elif reason == TaskReason.SIMILAR:
            recorded = InferenceResult.objects.filter(collection=cleaned.get("collection"))
            cleaned["source"] = request_id and recorded.with_request_id(request_id).first()
            if cleaned["source"] is None:
                self.add_error("request_id", _("Name a recorded request of this collection."))
        if reason == TaskReason.SIMILAR and not cleaned.get("limit"):
            self.add_error("limit", _("Say about how many results people are asked."))
        return cleaned
