"""get, list and watch of stored objects: selectors, pages, versions, and the form that the client accepts."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from fairway.apiserver import errors, selectors
from fairway.apiserver.accept import Form, Shape
from fairway.apiserver.context import Call, decode, encode
from fairway.apiserver.kinds.base import Resource
from fairway.apiserver.options import ListOptions
from fairway.apiserver.request import Json, Response
from fairway.apiserver.store import Entry, TooOldError
from fairway.apiserver.tables import headers_of, rows_of, table_form, table_of


class _Meta(msgspec.Struct):
    labels: dict[str, str] | None = None
    name: str = ""
    namespace: str = ""


class _Labelled(msgspec.Struct):
    metadata: _Meta


_meta_decoder = msgspec.json.Decoder(_Labelled)


class Selection(NamedTuple):
    """What a list or watch picks: labels, then fields (which cost a whole decoding unless they are the name)."""

    labels: selectors.LabelSelector
    fields: selectors.FieldSelector
    resource: Resource

    @property
    def empty(self) -> bool:
        return not self.labels and not self.fields

    def picks(self, data: bytes) -> bool:
        if not self.labels and not self.fields:
            return True
        meta = _meta_decoder.decode(data).metadata
        if self.labels and not selectors.matches(self.labels, meta.labels or {}):
            return False
        if not self.fields:
            return True
        values = {"metadata.name": meta.name, "metadata.namespace": meta.namespace}
        if any(t.field not in values for t in self.fields):
            values |= self.resource.strategy.fields(decode(data))
        return selectors.fields_match(self.fields, lambda f: values.get(f, ""))


def selection(resource: Resource, options: ListOptions) -> Selection:
    """Parse and check the selectors of a request."""
    try:
        labels = selectors.parse_labels(options.labels)
        fields = selectors.parse_fields(options.fields)
    except selectors.SelectorError as error:
        raise errors.bad_request(str(error)) from None
    known = ("metadata.name", "metadata.namespace", *resource.strategy.selectable)
    if not resource.strategy.selects_namespace:
        known = ("metadata.name", *resource.strategy.selectable)
    for term in fields:
        if term.field in known:
            continue
        if resource.strategy.selectable or resource.custom:
            raise errors.bad_request(f"field label not supported: {term.field}")
        listed = ", ".join(f'"{k}"' for k in known)
        raise errors.bad_request(f'"{term.field}" is not a known field selector: only {listed}')
    return Selection(labels, fields, resource)


def prefix_of(resource: Resource, namespace: str) -> str:
    return f"{namespace}/" if resource.namespaced and namespace else ""


# ---- one object -------------------------------------------------------------------------------------------------
def get(call: Call, name: str, shape: Shape) -> Response:
    entry = call.store.get(call.resource.key, call.key(name))
    check_version(call.request.first("resourceVersion"), call.store.version, "get")
    if entry is None:
        raise errors.not_found(call.resource.plural, call.resource.group, name)
    return one(call, entry.data, shape)


def one(call: Call, data: bytes, shape: Shape, code: int = 200) -> Response:
    """An object's stored bytes, in the form that was asked for."""
    resource = call.resource
    if shape.form is Form.OBJECT:
        return Response(code, render(resource, data), shape.content_type)
    obj = decode(data)
    if shape.form is Form.TABLE:
        table = table_of(resource, [obj], call.now, table_form(call.request.first("includeObject"), shape.version))
        table = {
            "kind": "Table",
            "apiVersion": shape.version,
            "metadata": {"resourceVersion": obj["metadata"].get("resourceVersion", "")},
            **table,
        }
        return Response(code, encode(table), shape.content_type)
    if shape.many:
        raise _wrong_number(resource, "PartialObjectMetadataList", "not a list", resource.kind)
    body = {"kind": "PartialObjectMetadata", "apiVersion": shape.version, "metadata": obj["metadata"]}
    return Response(code, encode(body), shape.content_type)


def _wrong_number(resource: Resource, asked: str, what: str, kind: str) -> errors.ApiError:
    go_type = f"*{resource.group.split('.')[0] or 'core'}.{kind}"
    return errors.not_acceptable(f"you requested {asked}, but the requested object is {what} ({go_type})")


def check_many(resource: Resource, shape: Shape) -> None:
    """A list cannot be shown as one object."""
    if shape.form is Form.PARTIAL and not shape.many:
        raise _wrong_number(resource, "PartialObjectMetadata", "a list", f"{resource.kind}List")


def render(resource: Resource, data: bytes) -> bytes:
    """Stored bytes with their kind in front."""
    if resource.from_storage is not None:
        data = encode(resource.from_storage(decode(data)))
    return resource.head + data[1:]


def item(resource: Resource, data: bytes) -> bytes:
    """Stored bytes as an item of a list: built-in kinds leave their kind out."""
    if resource.from_storage is not None:
        data = encode(resource.from_storage(decode(data)))
    return resource.head + data[1:] if resource.custom else data


def check_version(text: str, current: int, verb: str) -> int | None:
    """The version that a read asks for; None when it says nothing."""
    if not text:
        return None
    if not text.isdigit():
        word = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise errors.bad_request(f"invalid resource version: {word}") if verb == "list" else errors.plain_internal(word)
    if int(text) > current and verb != "watch":
        raise errors.too_large_version(int(text), current)
    return int(text)


# ---- lists ------------------------------------------------------------------------------------------------------
class _Token(NamedTuple):
    version: int
    start: str


def _parse_token(text: str) -> _Token:
    head = "invalid continue token: continue key is not valid: "
    if (bad := next((i for i, c in enumerate(text) if not (c.isalnum() and c.isascii()) and c not in "-_"), -1)) >= 0:
        raise errors.bad_request(f"{head}illegal base64 data at input byte {bad}")
    if len(text) % 4 == 1:
        raise errors.bad_request(f"{head}illegal base64 data at input byte {len(text) - 1}")
    try:
        token = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError as error:
        raise errors.bad_request(f"{head}{error}") from None
    if not isinstance(token, dict) or token.get("v") != "meta.k8s.io/v1":
        shown = token.get("v", "") if isinstance(token, dict) else ""
        raise errors.bad_request(f"{head}server does not recognize this encoded version {shown}")
    version, start = token.get("rv"), token.get("start")
    if not isinstance(start, str) or not start:
        raise errors.bad_request(f"{head}encoded start key empty (encoded version meta.k8s.io/v1)")
    if not isinstance(version, int) or version == 0:
        raise errors.bad_request(f"{head}incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    return _Token(version, start)


def _make_token(version: int, start: str) -> str:
    raw = msgspec.json.encode({"v": "meta.k8s.io/v1", "rv": version, "start": start})
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Page(NamedTuple):
    """What a list shows at once; `token` leads on, `remaining` says how many more there are, if that is known."""

    entries: list[tuple[str, Entry]]
    version: int
    token: str
    remaining: int | None


def page_of(call: Call, options: ListOptions, chosen: Selection, namespace: str) -> Page:
    store, resource = call.store, call.resource
    prefix = prefix_of(resource, namespace)
    if options.token:
        if options.version not in ("", "0"):
            raise errors.bad_request("specifying resource version is not allowed when using continue")
        token = _parse_token(options.token)
        version, start = token.version if token.version > 0 else store.version, prefix + token.start
    else:
        asked = check_version(options.version, store.version, "list")
        exact = options.match == "Exact" or (asked and options.limit > 0 and not options.match)
        version, start = (asked if exact and asked else store.version), ""
    try:
        entries = store.entries_at(version, resource.key, prefix, start)
    except TooOldError:
        raise _too_old(options, store.version, start[len(prefix) :]) from None
    limit = 0 if options.version == "0" and options.match != "Exact" and not options.token else options.limit
    return _cut(entries, limit, version, chosen, prefix)


def _too_old(options: ListOptions, current: int, start: str) -> errors.ApiError:
    if not options.token:
        return errors.expired("The resourceVersion for the provided list is too old.")
    error = errors.expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
        "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
        "modified, or deleted between the time the first chunk was returned and now may show up in the list."
    )
    error.list_meta = {"continue": _make_token(current, start)}
    return error


def _cut(entries: list[tuple[str, Entry]], limit: int, version: int, chosen: Selection, prefix: str) -> Page:
    if limit <= 0 or (chosen.empty and len(entries) <= limit):
        kept = entries if chosen.empty else [e for e in entries if chosen.picks(e[1].data)]
        return Page(kept, version, "", None)
    kept = []
    for i, (key, entry) in enumerate(entries):
        if len(kept) < limit and not chosen.picks(entry.data):
            continue
        if len(kept) == limit:  # the next one may fit or not: that is the next page's to find out
            if any(t.field == "metadata.name" and t.equal for t in chosen.fields):
                break
            rest = len(entries) - i if chosen.empty else None
            return Page(kept, version, _make_token(version, key[len(prefix) :]), rest)
        kept.append((key, entry))
    return Page(kept, version, "", None)


def list_objects(call: Call, options: ListOptions, shape: Shape, namespace: str, name: str = "") -> Response:
    resource = call.resource
    check_many(resource, shape)
    return show_page(call, page_of(call, options, selection(resource, options), namespace), shape)


def show_page(call: Call, page: Page, shape: Shape) -> Response:
    """A page as the client wants it."""
    resource = call.resource
    meta: Json = {"resourceVersion": str(page.version)}
    if page.token:
        meta["continue"] = page.token
        if page.remaining is not None:
            meta["remainingItemCount"] = page.remaining
    elif resource.custom and shape.form is Form.OBJECT:
        meta["continue"] = ""  # as the real server's untyped lists
    datas = [e.data for _, e in page.entries]
    if shape.form is Form.OBJECT:
        kind = resource.list_kind or f"{resource.kind}List"
        head = f'{{"kind":"{kind}","apiVersion":"{resource.api_version}","metadata":'.encode() + encode(meta)
        if resource.from_storage is not None or resource.custom:
            datas = [item(resource, d) for d in datas]
        return Response(200, head + b',"items":[' + b",".join(datas) + b"]}", shape.content_type)
    return Response(200, _shaped_list(call, shape, meta, datas), shape.content_type)


def _shaped_list(call: Call, shape: Shape, meta: Json, datas: list[bytes]) -> bytes:
    if shape.form is Form.TABLE:
        form = table_form(call.request.first("includeObject"), shape.version)
        rows = b",".join([encode(row) for row in rows_of(call.resource, map(decode, datas), call.now, form)])
        top = {"kind": "Table", "apiVersion": shape.version, "metadata": meta}
        start = encode({**top, "columnDefinitions": headers_of(call.resource)})
        return b'%b,"rows":[%b]}' % (start[:-1], rows)
    head = {"kind": "PartialObjectMetadata", "apiVersion": shape.version}
    items = [{**head, "metadata": decode(d)["metadata"]} for d in datas] or None
    return encode({"kind": "PartialObjectMetadataList", "apiVersion": shape.version, "metadata": meta, "items": items})


Render = Callable[[bytes], bytes]


def event_renderer(call: Call, shape: Shape) -> Callable[[bytes, bool], bytes]:
    """How a watch shows objects; the second argument says: this is the first event (tables carry columns once)."""
    resource = call.resource
    if shape.form is Form.OBJECT:
        return lambda data, _first: render(resource, data)
    if shape.form is Form.PARTIAL:

        def partial(data: bytes, _first: bool) -> bytes:
            body = {"kind": "PartialObjectMetadata", "apiVersion": shape.version, "metadata": decode(data)["metadata"]}
            return encode(body)

        return partial
    form = table_form(call.request.first("includeObject"), shape.version)

    def table(data: bytes, first: bool) -> bytes:
        obj = decode(data)
        rows = table_of(resource, [obj], call.server.env.now(), form)
        if not first:
            rows["columnDefinitions"] = None
        meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        return encode({"kind": "Table", "apiVersion": shape.version, "metadata": meta, **rows})

    return table
