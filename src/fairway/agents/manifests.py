"""A folder of manifests as a source of objects: the same feeds and sinks as for an API server.

Decides which object counts when several files define it, what stays while a file is broken, and what has changed. How
files are found and noticed is the `Folder`'s business.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from fairway.agents.clock import Clock
from fairway.agents.feed import Change, Feed
from fairway.kube.manifests import Manifest, ManifestObject, Place, read_manifest
from fairway.kube.selector import LabelSelector
from fairway.values.errors import FairwayError
from fairway.values.names import ObjectName

log = logging.getLogger(__name__)

RETRY: Final = 1.0
"""How often to look for a folder that cannot be read any more."""


class Folder(Protocol):
    """Manifest files. The real one is `fairway.io.host.tree.ManifestFolder`."""

    def scan(self) -> Mapping[str, object | None]:
        """The files and a version of each; None: leave that file as it was. Raises OSError."""
        ...

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises OSError."""
        ...

    async def changed(self) -> None:
        """Return when the folder may have changed since the last scan."""
        ...


class _Key(NamedTuple):
    """What makes two definitions the same object."""

    feed: int
    name: ObjectName


class _Definition(NamedTuple):
    place: Place
    object: Any
    """Decoded."""


@dataclass(slots=True)
class _File:
    version: object = None
    definitions: dict[_Key, _Definition] = field(default_factory=dict)
    errors: tuple[str, ...] = ()


class ManifestSource:
    """Feeds sinks from a folder. `load` reads what is there once, `run` then follows it until cancelled."""

    def __init__(self, folder: Folder, feeds: Sequence[Feed[Any]], clock: Clock) -> None:
        self._folder = folder
        self._feeds = feeds
        self._clock = clock
        self._wanted = {(f.kind.api_version, f.kind.name): i for i, f in enumerate(feeds)}
        self._selectors = [_Selector(f) for f in feeds]
        self._files: dict[str, _File] = {}
        self._claims: defaultdict[_Key, dict[str, _Definition]] = defaultdict(dict)
        self._delivered: dict[_Key, Any] = {}
        self._disputes: dict[_Key, str] = {}
        self.has_synced = False
        """The folder has been handed over whole once."""
        self.last_contact: float | None = None
        """When the folder was last read, by the clock."""
        self.stale_since: float | None = None
        """Since when the folder cannot be read; None while it can."""

    @property
    def errors(self) -> tuple[str, ...]:
        """All that is wrong in the files as they are now, sorted by file."""
        wrong = [error for _, file in sorted(self._files.items()) for error in file.errors]
        return (*wrong, *sorted(self._disputes.values()))

    async def run(self) -> None:
        """Follow the folder until cancelled."""
        while True:
            try:
                await self.load()
                await self._folder.changed()
            except OSError as error:
                if self.stale_since is None:
                    self.stale_since = self._clock.now()
                    log.error(
                        "folder='%s' msg='cannot be read: everything stays as it was' error='%s'", self._folder, error
                    )
                await self._clock.sleep(RETRY)

    async def load(self) -> None:
        """Read what has changed since the last time and hand it over. Raises OSError when the folder is unreadable."""
        versions = self._folder.scan()
        touched: set[_Key] = set()
        for name in self._files.keys() - versions.keys():
            touched |= self._put(name, _File())
            del self._files[name]
        for name, version in versions.items():
            known = self._files.get(name)
            if version is None or (known is not None and known.version == version):
                continue
            touched |= self._put(name, self._read(name, version, known or _File()))
            await asyncio.sleep(0)  # a thousand files are read without holding up the loop
        self._deliver(touched)
        if self.stale_since is not None:
            log.info("folder='%s' msg='can be read again'", self._folder)
        self.last_contact, self.stale_since = self._clock.now(), None

    # -- one file

    def _read(self, name: str, version: object, known: _File) -> _File:
        try:
            manifest = read_manifest(name, self._folder.read(name), self._is_wanted)
        except OSError as error:
            # Perhaps gone again, then the next scan says so; else its objects stay.
            log.error("file='%s' msg='cannot be read: its objects stay as they were' error='%s'", name, error.strerror)
            return _File(version, known.definitions, (f"{name}: {error.strerror}",))
        definitions, errors = self._definitions(manifest, known)
        if not manifest.is_whole:
            # What is missing now may stand in the part that could not be read.
            definitions = {**known.definitions, **definitions}
        for text in errors:
            log.error("msg='%s' kept='last good version, if any'", text)
        return _File(version, definitions, errors)

    def _definitions(self, manifest: Manifest, known: _File) -> tuple[dict[_Key, _Definition], tuple[str, ...]]:
        made: dict[_Key, _Definition] = {}
        errors = [*manifest.errors]
        for one in manifest.objects:
            index = self._wanted[one.api_version, one.kind]
            tree, key = self._placed(one, index)
            if not self._selectors[index].matches(tree):
                continue
            if key in made:
                errors.append(f"{one.place}: {one.kind} {key.name}: defined before: {made[key].place}; that one counts")
                continue
            try:
                made[key] = _Definition(one.place, self._feeds[index].kind.decode(tree))
            except (FairwayError, msgspec.MsgspecError, ValueError) as error:
                errors.append(f"{one.place}: {error}")
                if key in known.definitions:
                    made[key] = known.definitions[key]
        return made, tuple(errors)

    def _placed(self, one: ManifestObject, index: int) -> tuple[Mapping[str, Any], _Key]:
        """The object with its namespace as `kubectl apply` would give it."""
        name = one.name
        if self._feeds[index].kind.is_namespaced and not name.namespace:
            name = ObjectName("default", name.name)
            tree = {**one.tree, "metadata": {**one.tree["metadata"], "namespace": "default"}}
            return tree, _Key(index, name)
        if not self._feeds[index].kind.is_namespaced:
            name = ObjectName("", name.name)
        return one.tree, _Key(index, name)

    def _is_wanted(self, api_version: str, kind: str) -> bool:
        return (api_version, kind) in self._wanted

    # -- all files

    def _put(self, name: str, file: _File) -> set[_Key]:
        """Replace one file's claims; returns the objects that may have changed by that."""
        before = self._files.get(name, _File()).definitions
        self._files[name] = file
        for key in before.keys() - file.definitions.keys():
            del self._claims[key][name]
        for key, definition in file.definitions.items():
            self._claims[key][name] = definition
        return {*before, *file.definitions}

    def _deliver(self, touched: Collection[_Key]) -> None:
        changes: defaultdict[int, list[Change[Any]]] = defaultdict(list)
        for key in sorted(touched):
            now = self._holder(key)
            if now == self._delivered.get(key):
                continue
            changes[key.feed].append(Change(key.name, now))
            if now is None:
                del self._delivered[key]
            else:
                self._delivered[key] = now
        if self.has_synced:
            for index, some in sorted(changes.items()):
                self._feeds[index].sink.apply(some)
            return
        for index, feed in enumerate(self._feeds):
            feed.sink.replace([change.object for change in changes[index]], ())
        self.has_synced = True
        log.info("folder='%s' files=%d objects=%d msg=read", self._folder, len(self._files), len(self._delivered))

    def _holder(self, key: _Key) -> Any:
        """The definition that counts: the one in the file whose name comes first."""
        claims = self._claims.get(key)
        if not claims:
            self._claims.pop(key, None)
            self._disputes.pop(key, None)
            return None
        first, *others = sorted(claims)
        self._note_dispute(key, claims[first].place, [claims[name].place for name in others])
        return claims[first].object

    def _note_dispute(self, key: _Key, holder: Place, losers: Iterable[Place]) -> None:
        lost = "; ".join(map(str, losers))
        if not lost:
            self._disputes.pop(key, None)
            return
        kind = self._feeds[key.feed].kind.name
        text = f"{kind} {key.name}: defined more than once: {holder} counts, not: {lost}"
        if self._disputes.get(key) != text:
            self._disputes[key] = text
            log.error("msg='%s'", text)


class _Selector:
    """What a feed's selectors and namespace ask, as an API server would."""

    def __init__(self, feed: Feed[Any]) -> None:
        self._labels = LabelSelector.parse(feed.labels)
        self._namespace = feed.namespace
        pairs = [part.partition("=") for part in feed.fields.split(",") if part]
        self._fields = [(path.removesuffix("!"), value.removeprefix("="), path[-1:] != "!") for path, _, value in pairs]

    def matches(self, tree: Mapping[str, Any]) -> bool:
        """Whether the object is meant; labels that are no mapping are left to the decoder."""
        meta = tree["metadata"]
        if self._namespace not in ("", meta.get("namespace")):
            return False
        labels = meta.get("labels") or {}
        if isinstance(labels, dict) and not self._labels.matches(labels):
            return False
        return all((_field(tree, path) == value) is wanted for path, value, wanted in self._fields)


def _field(tree: Any, path: str) -> str:
    for step in path.split("."):
        tree = tree.get(step, "") if isinstance(tree, Mapping) else ""
    return str(tree)
