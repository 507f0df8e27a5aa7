"""The rows that the DNS answers from, with the indexes that questions need.

One writer, the sinks of the watches, all on one thread; a change touches what it changes and says so, so that finished
answers can be made anew. Which answers those are is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from fairway.dns.rows import NamespaceRow, PodRow, ServiceRow, SliceRow
from fairway.values.names import ObjectName


class _Named(Protocol):
    @property
    def name(self) -> ObjectName: ...


R = TypeVar("R", bound=_Named)
R_co = TypeVar("R_co", bound=_Named, covariant=True)


class ChangeLike(Protocol[R_co]):
    """One object as it now is; None when it is gone (`fairway.agents.feed.Change`)."""

    @property
    def name(self) -> ObjectName: ...
    @property
    def object(self) -> R_co | None: ...


class Touched:
    """What changed since it was last asked: Services whose names must be answered anew, and cluster IPs whose reverse
    names must be. Endpoints' reverse names are answered when asked, so that a change of endpoints names none."""

    def __init__(self) -> None:
        self.services: set[ObjectName] = set()
        self.addresses: set[bytes] = set()
        self.namespaces: set[str] = set()
        """That came or went; their Services are named above."""
        self.everything = False
        """Nothing was ever taken: all there is must be answered anew."""

    def __bool__(self) -> bool:
        return self.everything or bool(self.services or self.addresses or self.namespaces)


class Table(Generic[R]):
    """The rows of one kind. A sink of the watches: `replace` and `apply` (see `fairway.agents.feed.Sink`)."""

    def __init__(self, changed: Callable[[R | None, R | None], None], listed: Callable[[], None]) -> None:
        self._rows: dict[ObjectName, R] = {}
        self._changed = changed
        self._listed = listed
        self.has_synced = False

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[R]:
        return iter(self._rows.values())

    def get(self, name: ObjectName) -> R | None:
        return self._rows.get(name)

    def replace(self, objects: Sequence[R], kept: Collection[ObjectName]) -> None:
        """All there is; `kept` exist but cannot be read now."""
        there = {row.name for row in objects}
        for name in [n for n in self._rows if n not in there and n not in kept]:
            self._put(name, None)
        for row in objects:
            self._put(row.name, row)
        self.has_synced = True
        self._listed()

    def apply(self, changes: Iterable[ChangeLike[R]]) -> None:
        """Changes in order."""
        for change in changes:
            self._put(change.name, change.object)
        self._listed()

    def _put(self, name: ObjectName, row: R | None) -> None:
        old = self._rows.get(name)
        if row is None:
            if old is None:
                return
            del self._rows[name]
        elif row == old:
            return
        else:
            self._rows[name] = row
        self._changed(old, row)


K = TypeVar("K")
V = TypeVar("V")


class Index(Generic[K, V]):
    """Key → rows, mostly one row a key: that one is kept bare, since a tuple for each of 250,000 would cost 14 MB."""

    def __init__(self) -> None:
        self._rows: dict[K, V | list[V]] = {}

    def add(self, key: K, row: V) -> None:
        found = self._rows.get(key)
        if found is None:
            self._rows[key] = row
        elif isinstance(found, list):
            found.append(row)
        else:
            self._rows[key] = [found, row]

    def remove(self, key: K, row: V) -> None:
        found = self._rows.get(key)
        if isinstance(found, list):
            found[:] = [r for r in found if r is not row]
            if len(found) == 1:
                self._rows[key] = found[0]
        elif found is row:
            del self._rows[key]

    def get(self, key: K) -> Sequence[V]:
        found = self._rows.get(key)
        if found is None:
            return ()
        return found if isinstance(found, list) else (found,)


class ClusterState:
    """Everything that one `kubernetes` plugin answers from.

    `changed` is called after each batch; `take_touched` then says what it was about.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self.changed = changed
        self.services: Table[ServiceRow] = Table(self._service_changed, self._batch_ended)
        self.imports: Table[ServiceRow] = Table(self._import_changed, self._batch_ended)
        self.slices: Table[SliceRow] = Table(self._slice_changed, self._batch_ended)
        self.namespaces: Table[NamespaceRow] = Table(self._namespace_changed, self._batch_ended)
        self.pods: Table[PodRow] = Table(self._pod_changed, self._batch_ended)
        self._slices_of: Index[tuple[str, str], SliceRow] = Index()
        self._slices_of_import: Index[tuple[str, str], SliceRow] = Index()
        self._slices_at: Index[bytes, SliceRow] = Index()
        self._services_at: Index[bytes, ServiceRow] = Index()
        self._services_outside: Index[str, ServiceRow] = Index()
        self._pods_at: Index[str, PodRow] = Index()
        self._touched = Touched()
        self._touched.everything = True
        self._triggers: list[tuple[str, float]] = []
        self.modified = 1
        """Counts changes; whoever serves SOA records turns it into a serial."""
        self.modified_outside = 1

    # -- questions

    def service(self, namespace: str, name: str) -> ServiceRow | None:
        return self.services.get(ObjectName(namespace, name))

    def service_import(self, namespace: str, name: str) -> ServiceRow | None:
        return self.imports.get(ObjectName(namespace, name))

    def slices_of(self, namespace: str, name: str) -> Sequence[SliceRow]:
        return self._slices_of.get((namespace, name))

    def slices_of_import(self, namespace: str, name: str) -> Sequence[SliceRow]:
        return self._slices_of_import.get((namespace, name))

    def slices_at(self, address: bytes) -> Sequence[SliceRow]:
        """Slices of Services that hold the address."""
        return self._slices_at.get(address)

    def services_at(self, address: bytes) -> Sequence[ServiceRow]:
        """Services with that cluster IP."""
        return self._services_at.get(address)

    def services_outside(self, address: str) -> Sequence[ServiceRow]:
        """Services with that external address, spelt as in the API."""
        return self._services_outside.get(address)

    def pods_at(self, address: str) -> Sequence[PodRow]:
        """Pods with that address, spelt as in the API."""
        return self._pods_at.get(address)

    def has_namespace(self, name: str) -> bool:
        return self.namespaces.get(ObjectName("", name)) is not None

    def take_touched(self) -> Touched:
        """What changed since the last call."""
        touched, self._touched = self._touched, Touched()
        return touched

    def take_triggers(self) -> list[tuple[str, float]]:
        """Of the slices that came since the last call: the kind of their Service, and when their change happened."""
        taken, self._triggers = self._triggers, []
        return taken

    # -- changes

    def _batch_ended(self) -> None:
        self.changed()

    def _service_changed(self, old: ServiceRow | None, new: ServiceRow | None) -> None:
        self.modified += 1
        for row in filter(None, (old, new)):
            if not self._touched.everything:
                self._touched.services.add(row.name)
                self._touched.addresses.update(row.cluster_ips)
            if row.external:
                self.modified_outside += 1
        if old is not None:
            for address in old.cluster_ips:
                self._services_at.remove(address, old)
            for text in old.external:
                self._services_outside.remove(text, old)
        if new is not None:
            for address in new.cluster_ips:
                self._services_at.add(address, new)
            for text in new.external:
                self._services_outside.add(text, new)

    def _import_changed(self, old: ServiceRow | None, new: ServiceRow | None) -> None:
        self.modified += 1
        for row in filter(None, (old, new)):
            if not self._touched.everything:
                self._touched.services.add(row.name)

    def _slice_changed(self, old: SliceRow | None, new: SliceRow | None) -> None:
        self.modified += 1
        if old is not None:
            self._slice_gone(old)
        if new is not None:
            namespace = new.name.namespace
            self._note_slice(new)
            if new.service:
                self._slices_of.add((namespace, new.service), new)
                for i in range(len(new)):
                    self._slices_at.add(new.address(i), new)
            if new.imported:
                self._slices_of_import.add((namespace, new.imported), new)
            service = self.service(namespace, new.service) if new.triggered else None
            if service is not None:
                kind = "headless_with_selector" if service.is_headless else "cluster_ip"
                self._triggers.append((kind, new.triggered))

    def _slice_gone(self, old: SliceRow) -> None:
        namespace = old.name.namespace
        self._note_slice(old)
        if old.service:
            self._slices_of.remove((namespace, old.service), old)
            for i in range(len(old)):
                self._slices_at.remove(old.address(i), old)
        if old.imported:
            self._slices_of_import.remove((namespace, old.imported), old)

    def _note_slice(self, row: SliceRow) -> None:
        if self._touched.everything or not (row.service or row.imported):
            return  # a slice without a Service's label answers nothing
        self._touched.services.add(ObjectName(row.name.namespace, row.service or row.imported))

    def _namespace_changed(self, old: NamespaceRow | None, new: NamespaceRow | None) -> None:
        if (old is None) != (new is None):
            self.modified += 1
            name = (old or new).name.name  # type: ignore[union-attr]
            if self._touched.everything:
                return
            self._touched.namespaces.add(name)
            self._touched.services.update(row.name for row in self.services if row.name.namespace == name)

    def _pod_changed(self, old: PodRow | None, new: PodRow | None) -> None:
        for address in old.addresses if old else ():
            assert old is not None
            self._pods_at.remove(address, old)
        for address in new.addresses if new else ():
            assert new is not None
            self._pods_at.add(address, new)
