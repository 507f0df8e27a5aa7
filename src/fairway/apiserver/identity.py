"""Acting as somebody else (`kubectl --as`), and what somebody without rights is told.

There are no roles here: the admin, the cluster's components and its accounts may do everything, anybody else no more
than ask for the documents and for themselves.
"""

from __future__ import annotations

from urllib.parse import unquote

from fairway.apiserver import errors
from fairway.apiserver.fielderrors import quote
from fairway.apiserver.options import flag
from fairway.apiserver.request import Request, User
from fairway.apiserver.routes import Route

_PREFIX = "impersonate-"
_EXTRA = _PREFIX + "extra-"
_ACCOUNT = "system:serviceaccount:"
_AUTHENTICATED = "system:authenticated"
_OPEN = ("/api", "/apis", "/healthz", "/livez", "/readyz", "/version", "/openapi")
_SELF = ("selfsubjectreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def impersonated(request: Request) -> User | None:
    """Who the headers say that the request is to be taken for; raises ApiError if they say it incompletely."""
    headers = request.headers
    groups = tuple(g.strip() for g in headers.get(_PREFIX + "group", "").split(",") if g.strip())
    extra = tuple((unquote(k[len(_EXTRA) :]), (v,)) for k, v in headers.items() if k.startswith(_EXTRA))
    name, uid = headers.get(_PREFIX + "user", ""), headers.get(_PREFIX + "uid", "")
    if not name:
        if groups or uid or extra:
            shown = ", ".join(quote(g) for g in groups)
            listed = f"[]string{{{shown}}}" if groups else "[]string(nil)"
            what = f'&user.DefaultInfo{{Name:"", UID:{quote(uid)}, Groups:{listed}, Extra:map[string][]string(nil)}}'
            raise errors.bad_request(f"requested {what} without impersonating a user name")
        return None
    if name.startswith(_ACCOUNT) and not groups:
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{name.split(':')[2]}")
    if name != "system:anonymous" and _AUTHENTICATED not in groups:
        groups = (*groups, _AUTHENTICATED)
    return User(name, groups, uid, extra)


def is_powerful(name: str, groups: tuple[str, ...]) -> bool:
    """May a user of this name and these groups do everything?"""
    if name == "system:anonymous" or "system:unauthenticated" in groups:
        return False
    return "system:masters" in groups or name == "admin" or name.startswith("system:")


def is_open(path: str) -> bool:
    """May everybody read this path, which names no resource?"""
    return any(path == p or path.startswith(f"{p}/") for p in _OPEN)


def check(request: Request, route: Route | None) -> None:
    """Raise Forbidden when somebody without rights asks for more than everybody may have."""
    user = request.user
    if is_powerful(user.name, user.groups):
        return
    if route is None or not route.plural:
        if not is_open(request.path) or request.method not in ("GET", "HEAD"):
            verb = _VERBS.get(request.method, request.method.lower())
            words = f'forbidden: User {quote(user.name)} cannot {verb} path "{request.path}"'
            raise errors.ApiError(403, "Forbidden", words, {})
        return
    if request.method == "POST" and route.plural in _SELF and not route.name:
        return
    kind = f"{route.plural}/{route.subresource}" if route.subresource else route.plural
    where = f'in the namespace "{route.namespace}"' if route.namespace else "at the cluster scope"
    why = (
        f'User {quote(user.name)} cannot {_verb(request, route)} resource "{kind}" in API group "{route.group}" {where}'
    )
    raise errors.forbidden(route.plural, route.group, route.name, why)


def _verb(request: Request, route: Route) -> str:
    if request.method in ("GET", "HEAD"):
        if route.watch or (not route.name and flag(request, "watch")):
            return "watch"
        return "get" if route.name else "list"
    verb = _VERBS.get(request.method, request.method.lower())
    return "deletecollection" if verb == "delete" and not route.name else verb
