"""What every kind has: its place in the API (`Resource`) and its behaviour (`Strategy`), with the behaviour of most.

The order in which a write calls these hooks is the real server's registry: begin (allocation), prepare, validate, warn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fairway.apiserver import names
from fairway.apiserver.fielderrors import FieldError, forbidden, invalid, required
from fairway.apiserver.fieldsets import Path
from fairway.apiserver.schema import Json, TypeNode

if TYPE_CHECKING:
    from fairway.apiserver.context import Call
    from fairway.apiserver.tables import Column

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
RESET_STATUS: tuple[Path, ...] = (("f:status",),)
RESET_SPEC: tuple[Path, ...] = (("f:spec",),)
IMMUTABLE = "field is immutable"


@dataclass(frozen=True, slots=True)
class Resource:
    """One row of the table of kinds."""

    group: str
    version: str
    plural: str
    kind: str
    type: TypeNode
    strategy: Strategy
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[str, ...] = ()
    storage: str = ""  # another resource's key, when both are views of the same objects
    to_storage: Callable[[Json], Json] | None = None
    from_storage: Callable[[Json], Json] | None = None
    list_kind: str = ""
    singular: str = ""
    custom: bool = False
    storage_version: str = ""  # of a custom resource

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> str:
        """Where the store keeps the objects."""
        return self.storage or (f"{self.plural}.{self.group}" if self.group else self.plural)

    @property
    def stored_group(self) -> str:
        """Errors name what is stored, not the view."""
        return self.storage.partition(".")[2] if self.storage else self.group

    @property
    def head(self) -> bytes:
        """What stands before the stored bytes in an answer."""
        return f'{{"kind":"{self.kind}","apiVersion":"{self.api_version}",'.encode()


class Strategy:
    """A kind that needs nothing special. Hooks change objects in place."""

    name_rule: names.NameRule = staticmethod(names.subdomain_name)
    creates_on_update = False
    needs_version = False  # a PUT must name the version that it replaces
    meta_last = False  # the kind's own rules come before those of metadata
    standard_finalizers = True  # a finalizer has a domain or is one of the known ones
    propagates = True  # a deletion may leave work for the garbage collector
    selects_namespace = True  # metadata.namespace is a field that lists can select by
    orphans = False  # a deletion that does not say how leaves the dependents alone
    returns_deleted = False  # DELETE answers with the object, not a Status
    scale: Json | None = None  # the paths of a custom resource's scale
    deprecated = ""  # what every request is warned of
    has_generation = False
    has_status = False
    generation_fields: tuple[str, ...] = ("spec",)
    selectable: tuple[str, ...] = ()  # fields beside metadata.name and metadata.namespace
    reset: tuple[Path, ...] = ()
    parts: tuple[str, ...] = ()  # sub-resources beside status that are a part of the object
    columns: tuple[Column, ...] = ()
    # How often the kind's own update validation repeats the generic checks of metadata: update checks, whole checks.
    meta_checks: tuple[int, int] = (1, 0)

    def default(self, obj: Json) -> None:
        """What decoding fills in, on creates and updates alike."""

    def admit(self, call: Call, obj: Json, old: Json | None) -> None:
        """What admission fills in or refuses."""

    def prepare_create(self, call: Call, obj: Json) -> None:
        if self.has_status:
            from fairway.apiserver.schema import zero

            field = call.resource.type.fields.get("status")
            obj.pop("status", None)
            if field is not None and field.always_present():
                obj["status"] = zero(field.type)
        if self.has_generation:
            obj["metadata"]["generation"] = 1

    def begin_create(self, call: Call, obj: Json) -> None:
        """Allocate what the object needs; raises ApiError. Nothing is stored before `call.after` runs."""

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        return []

    def prepare_update(self, call: Call, obj: Json, old: Json) -> None:
        if self.has_status:
            _keep(obj, old, "status")
        if self.has_generation:
            self.bump_generation(obj, old)

    def begin_update(self, call: Call, obj: Json, old: Json) -> None:
        """As begin_create."""

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        return self.validate(call, obj)

    def warnings(self, call: Call, obj: Json, old: Json | None) -> list[str]:
        return []

    def prepare_status(self, call: Call, obj: Json, old: Json) -> None:
        """A write to the status sub-resource leaves the rest as it is, labels and annotations excepted."""
        for name in {*obj, *old} - {"metadata", "status"}:
            _keep(obj, old, name)

    def validate_status(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        return []

    def status_reset(self) -> tuple[Path, ...]:
        return RESET_SPEC

    def prepare_part(self, call: Call, obj: Json, old: Json, part: str) -> None:
        """As prepare_status, for one of `parts`."""

    def validate_part(self, call: Call, obj: Json, old: Json, part: str) -> list[FieldError]:
        return []

    def other_reset(self, part: str) -> tuple[Path, ...]:
        """Fields that nobody owns by a write to a sub-resource other than status."""
        return ()

    def after_write(self, call: Call, obj: Json) -> None:
        """The object is stored."""

    def after_delete(self, call: Call, obj: Json) -> None:
        """The object is gone: let go what it held."""

    def begin_delete(self, call: Call, obj: Json) -> bool:
        """Whether the kind deals with this deletion itself: the object is then as the answer shows it."""
        return False

    def fields(self, obj: Json) -> dict[str, str]:
        """Values of `selectable`."""
        return {}

    def bump_generation(self, obj: Json, old: Json) -> None:
        changed = any(obj.get(f) != old.get(f) for f in self.generation_fields)
        metadata = obj["metadata"]
        metadata["generation"] = old["metadata"].get("generation", 0) + (1 if changed else 0)


def _keep(obj: Json, old: Json, name: str) -> None:
    if name in old:
        obj[name] = old[name]
    else:
        obj.pop(name, None)


def get(obj: Any, *path: str) -> Any:
    """A value deep inside, or None."""
    for step in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(step)
    return obj


# ---- metadata ---------------------------------------------------------------------------------------------------
def validate_meta(resource: Resource, obj: Json) -> list[FieldError]:
    """ValidateObjectMeta of k8s.io/apimachinery, path `metadata`."""
    meta = obj["metadata"]
    rule = resource.strategy.name_rule
    name, prefix, namespace = meta.get("name", ""), meta.get("generateName", ""), meta.get("namespace", "")
    out: list[FieldError] = []
    if prefix:
        out += [invalid("metadata.generateName", prefix, m) for m in rule(prefix, True)]
    if not name:
        out.append(required("metadata.name", "name or generateName is required"))
    else:
        out += [invalid("metadata.name", name, m) for m in rule(name, False)]
    if resource.namespaced:
        if not namespace:
            out.append(required("metadata.namespace"))
        else:
            out += [invalid("metadata.namespace", namespace, m) for m in names.dns_label_errors(namespace)]
    elif namespace:
        out.append(forbidden("metadata.namespace", "not allowed on this type"))
    return out + _common_meta(meta, standard=resource.strategy.standard_finalizers)


def _common_meta(meta: Json, *, standard: bool) -> list[FieldError]:
    out: list[FieldError] = []
    if meta.get("generation", 0) < 0:
        out.append(invalid("metadata.generation", meta["generation"], "must be greater than or equal to 0"))
    if meta.get("labels"):
        out += names.labels_errors(meta["labels"], "metadata.labels")
    if meta.get("annotations"):
        out += names.annotations_errors(meta["annotations"], "metadata.annotations")
    if meta.get("ownerReferences"):
        out += _owner_errors(meta["ownerReferences"])
    if meta.get("finalizers"):
        out += _finalizer_errors(meta["finalizers"], standard=standard)
    return out


def _owner_errors(owners: list[Json]) -> list[FieldError]:
    path = "metadata.ownerReferences"
    out: list[FieldError] = []
    controller = ""
    for ref in owners:
        api_version = ref.get("apiVersion", "")
        if not api_version or api_version.endswith("/") or api_version.count("/") > 1:
            out.append(invalid(f"{path}.apiVersion", api_version, "version must not be empty"))
        out += [
            invalid(f"{path}.{n}", ref.get(n, ""), "must not be empty")
            for n in ("kind", "name", "uid")
            if not ref.get(n)
        ]
        if (api_version, ref.get("kind")) == ("v1", "Event"):
            out.append(invalid(path, ref, "/v1, Kind=Event is disallowed from being an owner"))
        if ref.get("controller"):
            this = f"{ref.get('kind')}/{ref.get('name')}"
            if controller:
                words = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{controller} and {this}"
                )
                out.append(invalid(path, owners, words))
            else:
                controller = this
    return out


_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")


def _finalizer_errors(finalizers: list[str], *, standard: bool) -> list[FieldError]:
    out: list[FieldError] = []
    for name in finalizers:
        out += [invalid("metadata.finalizers", name, m) for m in names.qualified_name_messages(name)]
    if standard:
        out += _standard_finalizer_errors(finalizers)
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        words = "finalizer orphan and foregroundDeletion cannot be both set"
        out.append(invalid("metadata.finalizers", finalizers, words))
    return out


def _standard_finalizer_errors(finalizers: list[str]) -> list[FieldError]:
    """A finalizer without a domain must be one of the known ones."""
    words = "name is neither a standard finalizer name nor is it fully qualified"
    return [
        invalid(f"metadata.finalizers[{i}]", name, words)
        for i, name in enumerate(finalizers)
        if "/" not in name and name not in _STANDARD_FINALIZERS
    ]


def validate_meta_update(resource: Resource, obj: Json, old: Json) -> list[FieldError]:
    """The generic registry's check, and those that the kind's own validation repeats: each is a cause of its own."""
    checks, whole = resource.strategy.meta_checks
    out = _meta_update_errors(obj, old)
    if out:
        out = out * (1 + checks)
    if checks and resource.strategy.standard_finalizers:
        out += _standard_finalizer_errors(obj["metadata"].get("finalizers") or [])
    return out + validate_meta(resource, obj) * whole


def _meta_update_errors(obj: Json, old: Json) -> list[FieldError]:
    """ValidateObjectMetaUpdate; the system's fields were carried over before."""
    new, was = obj["metadata"], old["metadata"]
    out: list[FieldError] = []
    if was.get("deletionTimestamp"):
        extra = sorted(set(new.get("finalizers") or ()) - set(was.get("finalizers") or ()))
        if extra:
            listed = ", ".join(f'"{e}"' for e in extra)
            words = "no new finalizers can be added if the object is being deleted, found new finalizers "
            out.append(forbidden("metadata.finalizers", f"{words}[]string{{{listed}}}"))
    for name in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        out += immutable(new.get(name), was.get(name), f"metadata.{name}")
    out += names.labels_errors(new.get("labels"), "metadata.labels")
    out += names.annotations_errors(new.get("annotations"), "metadata.annotations")
    return out + _owner_errors(new.get("ownerReferences") or [])


def immutable(value: Any, old: Any, path: str) -> list[FieldError]:
    return [] if value == old else [invalid(path, value, IMMUTABLE)]


def enum_error(value: str, allowed: tuple[str, ...], path: str) -> list[FieldError]:
    from fairway.apiserver.fielderrors import unsupported

    return [] if value in allowed else [unsupported(path, value, sorted(allowed))]


__all__ = [
    "ALL_VERBS",
    "IMMUTABLE",
    "RESET_SPEC",
    "RESET_STATUS",
    "Resource",
    "Strategy",
    "enum_error",
    "field",
    "get",
    "immutable",
    "validate_meta",
    "validate_meta_update",
]
