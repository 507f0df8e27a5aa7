"""What controllers may read: caches of many kinds, and the indexes that keep each question as cheap as its answer.

Selectors are answered through label pairs: a pod finds the Services that select it by its own labels, a Service its
pods by its rarest pair. Neither walks over all of the other.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from fairway.controllers.cache import Cache, IndexKeys
from fairway.controllers.hints import HintMode, hint_mode
from fairway.controllers.things import ResourceType, Things
from fairway.kube import objects
from fairway.kube.decode import Kind
from fairway.kube.discovery import EndpointsObject, SelectorService, SliceObject
from fairway.kube.meta import LABEL_SERVICE_NAME
from fairway.kube.objectmeta import ApiObject, contains
from fairway.kube.pod import Pod
from fairway.values.names import ObjectName

T = TypeVar("T", bound=ApiObject)

NAMESPACE = "namespace"
OWNER = "owner"
LABEL = "label"
NODE = "node"
SERVICE = "service"
SELECTOR = "selector"
BALANCER_IP = "balancer-ip"
HINTED = "hinted"
LONE = "lone"


def _namespace(one: ApiObject) -> Iterable[Hashable]:
    return (one.metadata.namespace,)


def _owner(one: ApiObject) -> Iterable[Hashable]:
    """The controller's uid."""
    ref = one.metadata.controller
    return (ref.uid,) if ref else ()


def _lone(one: ApiObject) -> Iterable[Hashable]:
    """The namespace of objects that no controller manages: who may be adopted."""
    return () if one.metadata.controller else (one.metadata.namespace,)


def _labels(one: ApiObject) -> Iterable[Hashable]:
    namespace = one.metadata.namespace
    return [(namespace, key, value) for key, value in one.metadata.label_map.items()]


def _node(one: Pod) -> Iterable[Hashable]:
    return (one.node,)


def _service(one: SliceObject) -> Iterable[Hashable]:
    name = one.metadata.label_map.get(LABEL_SERVICE_NAME)
    return (ObjectName(one.metadata.namespace, name),) if name else ()


def _selector(one: SelectorService) -> Iterable[Hashable]:
    """One pair of the selector finds it; the longest value is the likeliest to be its own."""
    if not one.spec.selector:
        return ()
    key, value = max(one.spec.selector.items(), key=lambda pair: (len(pair[1]), pair))
    return ((one.metadata.namespace, key, value),)


def _hinted(one: SelectorService) -> Iterable[Hashable]:
    """Only Services whose hints depend on every node."""
    return (True,) if hint_mode(one) is HintMode.SHARES else ()


def _balancer_ips(one: SelectorService) -> Iterable[Hashable]:
    return one.balancer_ips


_WORKLOAD = {NAMESPACE: _namespace}
_OWNED = {NAMESPACE: _namespace, OWNER: _owner, LONE: _lone}

INDEXES: Mapping[str, Mapping[str, IndexKeys]] = {
    "pods": {**_OWNED, LABEL: _labels, NODE: _node},
    "services": {NAMESPACE: _namespace, SELECTOR: _selector, BALANCER_IP: _balancer_ips, HINTED: _hinted},
    "endpointslices": {NAMESPACE: _namespace, SERVICE: _service},
    "replicasets": _OWNED,
    "controllerrevisions": _OWNED,
}


class View:
    """Read access to every kind that is followed."""

    def __init__(self) -> None:
        self._caches: dict[str, Cache[Any]] = {}
        self.things = Things()
        """Whatever is followed, by uid and by owner."""
        self.types: tuple[ResourceType, ...] = ()
        """What the server serves, as far as somebody asked it."""

    def cache(self, kind: Kind[T]) -> Cache[T]:
        """The cache of a kind; made when first asked for."""
        found = self._caches.get(kind.path)
        if found is None:
            found = self._caches[kind.path] = Cache(kind, INDEXES.get(kind.plural, _WORKLOAD))
            found.listen(self.things.note)
        return found

    def caches(self) -> Iterator[Cache[Any]]:
        return iter(list(self._caches.values()))

    def get(self, kind: Kind[T], name: ObjectName) -> T | None:
        return self.cache(kind).get(name)

    def all(self, kind: Kind[T]) -> Iterator[T]:
        return self.cache(kind).all()

    def in_namespace(self, kind: Kind[T], namespace: str) -> list[T]:
        return list(self.cache(kind).by(NAMESPACE, namespace))

    def owned(self, kind: Kind[T], uid: str) -> list[T]:
        """The objects whose controller has this uid, by name."""
        return sorted(self.cache(kind).by(OWNER, uid), key=_by_name)

    def lone(self, kind: Kind[T], namespace: str) -> list[T]:
        """The objects of a namespace that no controller manages, by name."""
        return sorted(self.cache(kind).by(LONE, namespace), key=_by_name)

    def pods_matching(self, namespace: str, selector: Mapping[str, str]) -> list[Pod]:
        """The pods that hold every pair of a selector, in no order."""
        pods = self.cache(objects.POD)
        if not selector:
            return list(pods.by(NAMESPACE, namespace))
        rarest = min(((namespace, *pair) for pair in selector.items()), key=lambda key: (pods.count(LABEL, key), key))
        found = pods.by(LABEL, rarest)
        others = {key: value for key, value in selector.items() if key != rarest[1]}
        return [pod for pod in found if contains(pod.metadata.label_map, others)] if others else list(found)

    def pods_on(self, node: str) -> list[Pod]:
        return sorted(self.cache(objects.POD).by(NODE, node), key=_by_name)

    def services_selecting(self, namespace: str, labels: Mapping[str, str]) -> list[SelectorService]:
        """The Services whose selector these labels fulfil."""
        services = self.cache(objects.SERVICE)
        return [
            service
            for key, value in labels.items()
            for service in services.by(SELECTOR, (namespace, key, value))
            if contains(labels, service.spec.selector or {})
        ]

    def hinted_by_shares(self) -> Collection[SelectorService]:
        """The Services that have hints in proportion to the zones' CPU."""
        return self.cache(objects.SERVICE).by(HINTED, True)

    def slices_of(self, service: ObjectName) -> list[SliceObject]:
        """The slices that name this Service, whoever made them, by name."""
        return sorted(self.cache(objects.ENDPOINT_SLICE).by(SERVICE, service), key=_by_name)

    def endpoints_of(self, service: ObjectName) -> EndpointsObject | None:
        return self.cache(objects.ENDPOINTS).get(service)


def _by_name(one: ApiObject) -> tuple[str, str]:
    return (one.metadata.namespace, one.metadata.name)
