"""Query options of each verb, checked as the API checks them (422 of `CreateOptions` and its like)."""

from __future__ import annotations

import re
from typing import NamedTuple

from fairway.apiserver import errors
from fairway.apiserver.fielderrors import FieldError, forbidden, invalid, required, too_long, unsupported
from fairway.apiserver.request import Json, Request


def flag(request: Request, name: str) -> bool:
    """A boolean as the API reads it: anything but 0, f and false (of any case) is true."""
    values = request.query.get(name)
    if not values:
        return False
    return values[0].lower() not in ("0", "f", "false")


class WriteOptions(NamedTuple):
    """Of create, update and patch."""

    dry_run: bool
    manager: str
    validation: str
    force: bool


def _dry_run_errors(values: list[str]) -> list[FieldError]:
    return [unsupported("dryRun", values, ("All",))] if any(v != "All" for v in values) else []


def _manager_errors(manager: str) -> list[FieldError]:
    out: list[FieldError] = []
    if len(manager.encode()) > 128:
        out.append(too_long("fieldManager", 128))
    at = 0
    for letter in manager:
        if not letter.isprintable():
            words = f"invalid character U+{ord(letter):04X} (at position {at})"
            out.append(invalid("fieldManager", manager, words))
        at += len(letter.encode())
    return out


def default_manager(request: Request) -> str:
    """The first part of the client's name, when it gave no field manager."""
    agent = request.headers.get("user-agent", "")
    agent = agent.encode("latin-1", "ignore").decode("utf-8", "replace")
    return "".join(c for c in agent.split("/", 1)[0][:128] if c.isprintable()) or "unknown"


def write_options(request: Request, kind: str, *, apply: bool = False) -> WriteOptions:
    """`kind` is CreateOptions, UpdateOptions or PatchOptions."""
    dry = request.query.get("dryRun", [])
    manager, validation = request.first("fieldManager"), request.first("fieldValidation")
    found = _dry_run_errors(dry) + _manager_errors(manager)
    if kind == "PatchOptions":
        if apply and not manager:
            found.append(required("fieldManager", "is required for apply patch"))
        if not apply and "force" in request.query:
            found.append(forbidden("force", "may not be specified for non-apply patch"))
    if validation not in ("", "Ignore", "Warn", "Strict"):
        found.append(unsupported("fieldValidation", validation, ("", "Ignore", "Strict", "Warn")))
    if found:
        raise errors.invalid(kind, "meta.k8s.io", "", found)
    return WriteOptions(bool(dry), manager or default_manager(request), validation or "Warn", flag(request, "force"))


class ListOptions(NamedTuple):
    """Of list, watch and deletecollection."""

    labels: str
    fields: str
    version: str
    match: str
    limit: int
    token: str
    watch: bool
    bookmarks: bool
    timeout: float
    initial: bool | None


def _integer(request: Request, name: str) -> int:
    if name not in request.query:
        return 0
    text = request.first(name)
    if not re.fullmatch(r"[+-]?\d+", text):
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if not -(1 << 63) <= int(text) < 1 << 63:
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": value out of range')
    return int(text)


def list_options(request: Request, *, watch: bool) -> ListOptions:
    initial = flag(request, "sendInitialEvents") if "sendInitialEvents" in request.query else None
    options = ListOptions(
        request.first("labelSelector"),
        request.first("fieldSelector"),
        request.first("resourceVersion"),
        request.first("resourceVersionMatch"),
        _integer(request, "limit"),
        request.first("continue"),
        watch,
        flag(request, "allowWatchBookmarks"),
        float(_integer(request, "timeoutSeconds")),
        initial,
    )
    if watch and initial is None and not options.match and options.version in ("", "0"):
        options = options._replace(initial=True, match="NotOlderThan")  # what an old client means
    found = _list_errors(options)
    if found:
        raise errors.invalid("ListOptions", "meta.k8s.io", "", found)
    return options


def _list_errors(options: ListOptions) -> list[FieldError]:
    """k8s.io/apimachinery's ValidateListOptions with WatchList on."""
    out: list[FieldError] = []
    match = options.match
    if options.watch:
        return _watch_errors(options)
    if match:
        if not options.version:
            out.append(
                forbidden(
                    "resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided"
                )
            )
        if options.token:
            out.append(forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"))
        if match not in ("Exact", "NotOlderThan"):
            out.append(unsupported("resourceVersionMatch", match, ("Exact", "NotOlderThan", "")))
        if match == "Exact" and options.version == "0":
            out.append(
                forbidden("resourceVersionMatch", 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
            )
    if options.initial is not None:
        out.append(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return out


def _watch_errors(options: ListOptions) -> list[FieldError]:
    out: list[FieldError] = []
    if options.initial is not None:
        if options.match != "NotOlderThan":
            out.append(
                forbidden(
                    "resourceVersionMatch",
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                )
            )
            if options.match:
                out.append(unsupported("resourceVersionMatch", options.match, ("NotOlderThan",)))
        elif options.token:
            out.append(forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"))
    elif options.match:
        out.append(
            forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )
        )
        if options.match != "NotOlderThan":
            out.append(unsupported("resourceVersionMatch", options.match, ("NotOlderThan",)))
    return out


class DeleteOptions(NamedTuple):
    """Of delete and deletecollection."""

    dry_run: bool
    grace: int | None
    propagation: str
    uid: str
    version: str


def queried_delete_options(request: Request) -> DeleteOptions:
    """Of a request without a body: with one, the query does not count."""
    query = request.query
    body: Json = {"dryRun": query.get("dryRun"), "propagationPolicy": request.first("propagationPolicy") or None}
    if "gracePeriodSeconds" in query:
        body["gracePeriodSeconds"] = _integer(request, "gracePeriodSeconds")
    if "orphanDependents" in query:
        body["orphanDependents"] = flag(request, "orphanDependents")
    return delete_options(body)


def delete_options(body: Json) -> DeleteOptions:
    """Of a document; raises ApiError for what cannot be."""
    dry, grace = body.get("dryRun") or [], body.get("gracePeriodSeconds")
    given, orphan = body.get("propagationPolicy"), body.get("orphanDependents")
    propagation = given or ""
    found: list[FieldError] = []
    if propagation and orphan is not None:
        found.append(
            invalid("propagationPolicy", propagation, "orphanDependents and deletionPropagation cannot be both set")
        )
    if given is not None and given not in ("Foreground", "Background", "Orphan"):
        found.append(unsupported("propagationPolicy", propagation, ("Foreground", "Background", "Orphan", "nil")))
    found += _dry_run_errors(dry)
    if found:
        raise errors.invalid("DeleteOptions", "meta.k8s.io", "", found)
    if orphan is not None and not propagation:
        propagation = "Orphan" if orphan else "Background"
    preconditions = body.get("preconditions") or {}
    return DeleteOptions(
        bool(dry), grace, propagation, preconditions.get("uid") or "", preconditions.get("resourceVersion") or ""
    )
