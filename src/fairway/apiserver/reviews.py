"""Kinds that are questions: who am I, may I, whose token is this. Everything is allowed to whoever is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairway.apiserver import errors
from fairway.apiserver.fielderrors import FieldError, invalid, quote
from fairway.apiserver.identity import is_open, is_powerful
from fairway.apiserver.request import Json, Request

if TYPE_CHECKING:
    from fairway.apiserver.tokens import Authenticator


def review(kind: str, obj: Json, request: Request, now: float, authenticator: Authenticator) -> Json:
    """Answer one review; `obj` is decoded and has no status yet."""
    spec = obj.get("spec") or {}
    match kind:
        case "SelfSubjectReview":
            return {**obj, "status": {"userInfo": request.user.info()}}
        case "TokenReview":
            return {**obj, "status": _token(spec, now, authenticator)}
        case "SelfSubjectRulesReview":
            return {**obj, "spec": {}, "status": _rules(spec)}
    _check(kind, spec, obj)
    user = request.user.name if kind == "SelfSubjectAccessReview" else spec.get("user", "")
    groups = request.user.groups if kind == "SelfSubjectAccessReview" else tuple(spec.get("groups") or ())
    path = (spec.get("nonResourceAttributes") or {}).get("path", "")
    known = {"system:authenticated", "system:unauthenticated"} & set(groups)
    status: Json = {"allowed": is_powerful(user, groups) or bool(path and known and is_open(path))}
    return {**obj, "status": status}


def _check(kind: str, spec: Json, obj: Json) -> None:
    found = _metadata_errors(kind, obj["metadata"])
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and other is not None:
        shown = {"Path": other.get("path", ""), "Verb": other.get("verb", "")}
        found.append(
            invalid("spec.nonResourceAttributes", shown, "cannot be specified in combination with resourceAttributes")
        )
    if resource is None and other is None:
        words = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        found.append(invalid("spec.resourceAttributes", None, words))
    if kind != "SelfSubjectAccessReview" and not spec.get("user") and not spec.get("groups"):
        found.append(invalid("spec.user", "", "at least one of user or group must be specified"))
    found += _selector_errors(resource or {})
    if kind == "LocalSubjectAccessReview" and other is not None and resource is None:
        shown = {"Path": other.get("path", ""), "Verb": other.get("verb", "")}
        found.append(invalid("spec.nonResourceAttributes", shown, "disallowed on this kind of request"))
    if kind == "LocalSubjectAccessReview" and resource is not None:
        namespace = (obj.get("metadata") or {}).get("namespace", "")
        if resource.get("namespace", "") != namespace:
            found.append(
                invalid(
                    "spec.resourceAttributes.namespace", resource.get("namespace", ""), "must match metadata.namespace"
                )
            )
    if found:
        error = errors.invalid("", "authorization.k8s.io", "", found)
        raise error


def _selector_errors(resource: Json) -> list[FieldError]:
    return [
        invalid(
            f"spec.resourceAttributes.{name}.rawSelector", raw, "may not specified at the same time as requirements"
        )
        for name in ("fieldSelector", "labelSelector")
        if (raw := (resource.get(name) or {}).get("rawSelector")) and resource[name].get("requirements")
    ]


def _metadata_errors(kind: str, metadata: Json) -> list[FieldError]:
    """A question has no name."""
    local = kind == "LocalSubjectAccessReview"
    if not metadata.keys() - {"managedFields", "namespace" if local else ""}:
        return []
    return [invalid("metadata", metadata, f"must be empty{' except for namespace' if local else ''}")]


def _token(spec: Json, now: float, authenticator: Authenticator) -> Json:
    token = spec.get("token", "")
    if not token:
        raise errors.bad_request("token is required for TokenReview in authentication")
    audiences = tuple(spec.get("audiences") or ())
    user = authenticator.token(token, now, audiences)
    meant = authenticator.audiences(token)
    if user is None:
        return {"user": {}, "error": _why(meant, audiences or (authenticator.issuer,))}
    shown = [a for a in audiences if a in meant] if audiences else [authenticator.issuer]
    return {"authenticated": True, "user": user.info(), "audiences": shown}


def _why(meant: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    if meant and not set(meant) & set(wanted):
        texts = ["[" + " ".join(map(quote, names)) + "]" for names in (meant, wanted)]
        return f"[invalid bearer token, token audiences {texts[0]} is invalid for the target audiences {texts[1]}]"
    return "invalid bearer token"


def _rules(spec: Json) -> Json:
    if not spec.get("namespace"):
        raise errors.bad_request("no namespace on request")
    return {
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        "incomplete": False,
    }
