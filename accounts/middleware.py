"""Who is acting, from where: what every audit entry of a request shares."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from accounts.audit import AuditContext, bind_audit_context

# Whoever has not said who they are, told apart from what the system does by itself. No person can have this name.
ANONYMOUS = "(anonymous)"


class AuditContextMiddleware:
    """Bind the browser user's identity and address for the audit trail; API authentication refines it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        user = request.user if request.user.is_authenticated else None
        bind_audit_context(
            AuditContext(
                actor_id=user.pk if user else None,
                actor_name=user.get_username() if user else ANONYMOUS,
                ip_address=request.META.get("REMOTE_ADDR") or None,
            )
        )
        return self.get_response(request)
