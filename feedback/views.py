"""The pages of annotators and reviewers: each fetches, calls one service, and answers."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views import View

from accounts.choices import Permission
from accounts.models import User
from collections_app.selectors import permitted_collection
from core import strict_json
from core.exception_handler import problem_response
from core.problems import Problem, unauthenticated
from feedback import agreement, disputes, likeness, own_answers, scoring, selectors, services
from feedback.choices import DisputeState, ReviewVerdict, SkipReason, TaskReason, TaskVerdict
from feedback.chunk_editor import chunk_editor, is_edited
from feedback.corrections import chunk_to_correct
from feedback.forms import RATINGS, AnswerForm, ReviewForm, SettleForm, SimilarForm, SkipForm, add_problem, posted_chunk
from feedback.models import Dispute, Feedback, FeedbackTask, TaskRule
from inference.models import InferenceResult
from inference.selectors import image_urls

# Of each choice: its value, its name, the key that chooses it, and that key as it is printed.
TASK_VERDICTS = [(verdict.value, verdict.label, verdict.value[0], verdict.value[0].upper()) for verdict in TaskVerdict]
REVIEW_VERDICTS = [
    (ReviewVerdict.ACCEPTED.value, gettext_lazy("Accept"), "a", "A"),
    (ReviewVerdict.SENT_BACK.value, gettext_lazy("Send back"), "b", "B"),
    (ReviewVerdict.FIXED.value, gettext_lazy("Fix"), "f", "F"),
]
RATING_KEYS = [(value, label, value, "") for value, label in RATINGS]
CONFIDENCES = [(str(n / 4), f"{25 * n} %", f"Shift+{n}", f"⇧{n}") for n in range(1, 5)]


def _user(request: HttpRequest) -> User:
    return cast(User, request.user)


def _scene(result: InferenceResult) -> dict[str, Any]:
    """What the robot saw and felt: images by camera, and the state's entries with names and units."""
    space = result.collection.action_space
    names = [*space.state_names, *(f"state {n}" for n in range(len(space.state_names), len(result.input_state)))]
    units = [*space.state_units, *[""] * len(result.input_state)]
    return {"images": image_urls(result), "state": list(zip(names, result.input_state, units, strict=False))}


class QueueView(LoginRequiredMixin, View):
    """What I hold, what waits for me, and how far I am."""

    def get(self, request: HttpRequest) -> HttpResponse:
        user = _user(request)
        workplaces = list(selectors.workplaces(user)[: selectors.LISTED_COLLECTIONS])
        queues = [
            {
                "collection": collection,
                "tasks": [
                    (task, scoring.explain(task.priority_parts)) for task in selectors.waiting_tasks(user, collection)
                ],
                "open": selectors.open_count(collection),
            }
            for collection in workplaces
        ]
        held = selectors.held_tasks(user)
        earlier = own_answers.last_answers(held, user) if held else {}
        context = {
            "queues": queues,
            "held": [(task, earlier.get(task.pk)) for task in held],
            "changed": own_answers.changed_answers(user),
            "progress": selectors.progress(user),
            "most_counted": selectors.COUNT_AT_MOST,
            "may_review": selectors.reviewable(user).exists(),
        }
        return render(request, "feedback/queue.html", context)


class NextTaskView(LoginRequiredMixin, View):
    """To the next task, which is then mine."""

    def post(self, request: HttpRequest) -> HttpResponse:
        slug = request.POST.get("collection")
        collection = permitted_collection(_user(request), slug, Permission.FEEDBACK_WRITE) if slug else None
        task = services.claim_next_task(annotator=_user(request), collection=collection)
        if task is None:
            messages.info(request, _("Nothing is waiting for you. New tasks appear as robots work."))
            return redirect("feedback-queue")
        return redirect(task)


class TaskView(LoginRequiredMixin, View):
    """Judge one chunk and correct it."""

    def get(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        task = selectors.permitted_task(_user(request), pk)
        draft = selectors.draft_of(task, _user(request))
        earlier = own_answers.last_answer(task, _user(request))
        content = draft.content if draft else own_answers.as_entered(earlier) if earlier else {}
        judgement = own_answers.judgement_of(earlier) if earlier else None
        form = AnswerForm(initial=content)
        return self._page(
            request,
            task,
            form,
            values=judgement.chunk if judgement else content.get("actions"),
            compared=earlier.human_correction if earlier and judgement else None,
            draft=draft,
            earlier=earlier,
            judgement=judgement,
        )

    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        task = selectors.permitted_task(_user(request), pk)
        form = AnswerForm(request.POST)
        steps = len(chunk_to_correct(task.inference_result)) or task.collection.horizon
        width = task.collection.action_space.dimensions.count()
        actions = posted_chunk(request.POST, steps=steps, dimensions=width)
        cells: dict[str, str] = {}
        accepts = form.is_valid() and form.cleaned_data["verdict"] == TaskVerdict.ACCEPT
        if accepts and is_edited(task.inference_result, actions):
            form.add_error("verdict", _("You changed the chunk: choose “Correct” to keep it, or put its numbers back."))
        if form.is_valid():
            try:
                services.submit_task(task_id=task.pk, annotator=_user(request), actions=actions, **form.cleaned_data)
            except Problem as problem:
                if problem.status != 400:
                    messages.error(request, problem.detail)
                    return redirect("feedback-queue")
                cells = add_problem(form, problem)
            else:
                return self._to_next(request)
        earlier = own_answers.last_answer(task, _user(request))
        return self._page(request, task, form, values=actions, earlier=earlier, cells=cells, status=422)

    def _to_next(self, request: HttpRequest) -> HttpResponse:
        following = services.claim_next_task(annotator=_user(request))
        if following is not None:
            return redirect(following)
        messages.success(request, _("Saved. Nothing more is waiting for you."))
        return redirect("feedback-queue")

    def _page(
        self,
        request: HttpRequest,
        task: FeedbackTask,
        form: AnswerForm,
        *,
        values: Any = None,
        compared: Any = None,
        cells: dict[str, str] | None = None,
        status: int = 200,
        **context: Any,
    ) -> HttpResponse:
        user = _user(request)
        result = task.inference_result
        steps = selectors.neighbours(result)
        editor = chunk_editor(result, values=values, compared=compared, errors=cells, steps=steps)
        context |= {
            "task": task,
            "result": result,
            "is_mine": selectors.is_held_by(task, user),
            "form": form,
            "editor": editor,
            "score_parts": scoring.explain(task.priority_parts),
            "answered_today": selectors.answered_today(user),
            "may_review": selectors.may_review(user, task.collection),
            "skip_reasons": SkipReason.choices,
            "verdicts": TASK_VERDICTS,
            "ratings": RATING_KEYS,
            "confidences": CONFIDENCES,
            **_scene(result),
        }
        return render(request, "feedback/task.html", context, status=status)


class TakeView(LoginRequiredMixin, View):
    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        try:
            return redirect(services.claim_task(task_id=pk, annotator=_user(request)))
        except Problem as problem:
            messages.error(request, problem.detail)
            return redirect("feedback-queue")


class DraftView(View):
    """Autosave. JSON in and out, 401 instead of a login page: the caller is a script."""

    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        try:
            if not request.user.is_authenticated:
                raise unauthenticated("Your session has ended.")
            content = strict_json.loads(request.body)
            draft = services.save_draft(task_id=pk, annotator=_user(request), content=content)
        except Problem as problem:
            return problem_response(problem)
        return JsonResponse({"saved_at": draft.saved_at.isoformat()})


class SkipView(LoginRequiredMixin, View):
    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        form = SkipForm(request.POST)
        if not form.is_valid():
            messages.error(request, _("Choose why you skip it."))
            return redirect("feedback-task", pk=pk)
        try:
            services.skip_task(task_id=pk, annotator=_user(request), **form.cleaned_data)
        except Problem as problem:
            messages.error(request, problem.errors[0].detail if problem.errors else problem.detail)
            return redirect("feedback-task", pk=pk)
        following = services.claim_next_task(annotator=_user(request))
        return redirect(following) if following else redirect("feedback-queue")


class ReleaseView(LoginRequiredMixin, View):
    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        try:
            services.release_task(task_id=pk, annotator=_user(request))
        except Problem as problem:
            messages.error(request, problem.detail)
        return redirect("feedback-queue")


class FlagView(View):
    """Ask for somebody to look at a result; the live page calls it."""

    def post(self, request: HttpRequest, request_id: uuid.UUID) -> HttpResponse:
        try:
            if not request.user.is_authenticated:
                raise unauthenticated("Your session has ended.")
            result = selectors.result_to_answer(request.user, request_id)
            task, is_new = services.flag_result(principal=request.user, result=result)
        except Problem as problem:
            return problem_response(problem)
        return JsonResponse({"task": task.get_absolute_url()}, status=201 if is_new else 200)


class SimilarView(LoginRequiredMixin, View):
    """Make tasks of moments like this one: first shown, then asked about, now and as more are recorded."""

    def get(self, request: HttpRequest, request_id: uuid.UUID) -> HttpResponse:
        result = selectors.result_to_ask_about(_user(request), request_id)
        rule = TaskRule.objects.filter(collection=result.collection_id, source=result.pk).first()
        first = SimilarForm.initial_of(rule)
        form = SimilarForm(request.GET if "threshold" in request.GET else first)
        moments: list[selectors.Moment] = []
        if form.is_valid():
            wanted = {name: form.cleaned_data[name] for name in ("threshold", "limit")}
            try:
                moments = selectors.moments(likeness.moments_like(result, **wanted))
            except Problem as problem:
                form.add_error(None, problem.detail)
        context = {
            "result": result,
            "form": form,
            "moments": [(moment, image_urls(moment.result)) for moment in moments],
            "rule": rule,
            **_scene(result),
        }
        return render(request, "feedback/similar.html", context)

    def post(self, request: HttpRequest, request_id: uuid.UUID) -> HttpResponse:
        result = selectors.result_to_ask_about(_user(request), request_id)
        form = SimilarForm(request.POST)
        if not form.is_valid():
            messages.error(request, _("Give numbers within their limits."))
            return redirect("feedback-similar", request_id)
        given = {"collection": result.collection, "reason": TaskReason.SIMILAR, "source": result, **form.cleaned_data}
        try:
            rule = services.set_task_rule(**given, actor=_user(request))
            made = services.ask_about_similar(rule_id=rule.pk)
        except Problem as problem:
            messages.error(request, problem.detail)
            return redirect("feedback-similar", request_id)
        text = ngettext("%d task was made.", "%d tasks were made.", made) % made
        messages.success(request, f"{text} {_('More follow as such moments are recorded.')}")
        return redirect("feedback-queue")


class ReviewQueueView(LoginRequiredMixin, View):
    """Answers that nobody has reviewed, oldest first."""

    def get(self, request: HttpRequest) -> HttpResponse:
        user = _user(request)
        context = {
            "disputes": selectors.open_disputes(user)[:20],
            "answers": selectors.answers_to_review(user)[:50],
            "collections": selectors.reviewable(user),
        }
        return render(request, "feedback/review_queue.html", context)


class ReviewView(LoginRequiredMixin, View):
    """Judge one answer beside the chunk that it is about and what others said."""

    def get(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        answer = selectors.permitted_review(_user(request), pk)
        return self._page(request, answer, ReviewForm(), values=answer.human_correction)

    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        answer = selectors.permitted_review(_user(request), pk)
        form = ReviewForm(request.POST)
        result = answer.inference_result
        steps = len(chunk_to_correct(result)) or answer.collection.horizon
        actions = posted_chunk(request.POST, steps=steps, dimensions=answer.collection.action_space.dimensions.count())
        cells: dict[str, str] = {}
        accepts = form.is_valid() and form.cleaned_data["verdict"] == ReviewVerdict.ACCEPTED
        if accepts and is_edited(result, actions, shown=answer.human_correction):
            form.add_error("verdict", _("You changed the chunk: choose “Fix” to keep it, or put its numbers back."))
        if form.is_valid():
            is_fix = form.cleaned_data["verdict"] == ReviewVerdict.FIXED
            try:
                services.review_feedback(
                    feedback_id=answer.pk,
                    reviewer=_user(request),
                    **form.cleaned_data,
                    fixed_actions=actions if is_fix else None,
                )
            except Problem as problem:
                if problem.status == 409:
                    messages.error(request, problem.detail)
                    return redirect("feedback-review")
                cells = add_problem(form, problem)
            else:
                following = selectors.answers_to_review(_user(request)).first()
                return redirect("feedback-review-answer", following.pk) if following else redirect("feedback-review")
        return self._page(request, answer, form, values=actions, cells=cells, status=422)

    def _page(
        self,
        request: HttpRequest,
        answer: Feedback,
        form: ReviewForm,
        *,
        values: Any,
        cells: dict[str, str] | None = None,
        status: int = 200,
    ) -> HttpResponse:
        result = answer.inference_result
        editor = chunk_editor(
            result,
            values=values,
            compared=answer.human_correction,
            errors=cells,
            steps=selectors.neighbours(result),
        )
        context = {
            "answer": answer,
            "result": result,
            "form": form,
            "editor": editor,
            "others": selectors.other_answers(answer),
            "dispute": Dispute.objects.filter(inference_result=result.pk).first() if answer.disputed else None,
            "verdicts": REVIEW_VERDICTS,
            **_scene(result),
        }
        return render(request, "feedback/review.html", context, status=status)


class DisputeView(LoginRequiredMixin, View):
    """Answers that contradict one another side by side; the reviewer says which stands, or corrects the chunk."""

    def get(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        return self._page(request, selectors.permitted_dispute(_user(request), pk), SettleForm())

    def post(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        dispute = selectors.permitted_dispute(_user(request), pk)
        form = SettleForm(request.POST)
        result = dispute.inference_result
        steps = len(chunk_to_correct(result)) or dispute.collection.horizon
        actions = posted_chunk(request.POST, steps=steps, dimensions=dispute.collection.action_space.dimensions.count())
        cells: dict[str, str] = {}
        if form.is_valid():
            chosen = form.cleaned_data["choice"]
            try:
                services.settle_dispute(
                    dispute_id=dispute.pk,
                    reviewer=_user(request),
                    chosen_id=chosen,
                    actions=actions if chosen is None else None,
                    comment=form.cleaned_data["comment"],
                )
            except Problem as problem:
                if problem.status != 400:
                    messages.error(request, problem.detail)
                    return redirect("feedback-review")
                cells = add_problem(form, problem)
            else:
                return redirect(selectors.open_disputes(_user(request)).first() or "feedback-review")
        return self._page(request, dispute, form, values=actions, cells=cells, status=422)

    def _page(
        self,
        request: HttpRequest,
        dispute: Dispute,
        form: SettleForm,
        *,
        values: Any = None,
        cells: dict[str, str] | None = None,
        status: int = 200,
    ) -> HttpResponse:
        result = dispute.inference_result
        answers = selectors.sides(dispute)
        corrections = [answer for answer in answers if answer.human_correction]
        shown = next((answer for answer in corrections if answer.pk == dispute.chosen_id), None)
        editor = chunk_editor(
            result,
            values=values or (shown or corrections[0]).human_correction if corrections else values,
            sides=[(str(answer.pk), answer.human_correction) for answer in answers],
            errors=cells,
            steps=selectors.neighbours(result),
        )
        took_part = any(answer.annotator_id == _user(request).pk for answer in answers)
        context = {
            "dispute": dispute,
            "result": result,
            "form": form,
            "editor": editor,
            "sides": disputes.sides(answers, result),
            "apart": disputes.most_apart(answers, result),
            "choices": _choices(answers),
            "took_part": took_part,
            "may_settle": dispute.state == DisputeState.OPEN and not took_part,
            **_scene(result),
        }
        return render(request, "feedback/dispute.html", context, status=status)


def _choices(answers: Sequence[Feedback]) -> list[tuple[str, str, str, str]]:
    """Each answer by its number, and the reviewer's own correction."""
    given = [
        (str(answer.pk), f"{answer.author}: {answer.get_verdict_display()}", str(number), str(number))
        for number, answer in enumerate(answers, start=1)
    ]
    return [*given, (SettleForm.OWN, _("My own correction"), "o", "O")]


class AgreementView(LoginRequiredMixin, View):
    """How far annotators agree, overall, by annotator and by action dimension."""

    def get(self, request: HttpRequest, slug: str) -> HttpResponse:
        collection = permitted_collection(_user(request), slug, Permission.FEEDBACK_REVIEW)
        context = {"collection": collection, "agreement": agreement.of_collection(collection)}
        return render(request, "feedback/agreement.html", context)
