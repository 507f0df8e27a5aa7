"""Caches that know what this process wrote, however late the watch tells of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from fairway.controllers.view import View
from fairway.kube.discovery import SelectorService, SelectorSpec
from fairway.kube.objectmeta import EPOCH, ObjectMeta
from fairway.kube.objects import POD, SERVICE
from fairway.kube.pod import Pod
from fairway.values.names import ObjectName

NAME = ObjectName("shop", "web-0")


class Told(NamedTuple):
    name: ObjectName
    object: Any


def pod(version: int, uid: str = "a", **labels: str) -> Pod:
    return Pod(ObjectMeta("web-0", "shop", uid=uid, resource_version=str(version), labels=labels))


def test_an_own_write_is_seen_at_once() -> None:
    cache = View().cache(POD)
    cache.note_written(pod(5), now=0)
    assert cache.get(NAME) == pod(5)


def test_older_news_does_not_undo_an_own_write() -> None:
    cache = View().cache(POD)
    cache.replace([pod(3)], ())
    cache.note_written(pod(5), now=0)
    cache.apply([Told(NAME, pod(4))])
    assert cache.get(NAME) == pod(5)


def test_newer_news_replaces_an_own_write() -> None:
    cache = View().cache(POD)
    cache.note_written(pod(5), now=0)
    cache.apply([Told(NAME, pod(6))])
    assert cache.get(NAME) == pod(6)


def test_a_list_that_is_older_does_not_hide_what_was_made_here() -> None:
    cache = View().cache(POD)
    cache.note_written(pod(5), now=0)
    cache.replace([], ())
    assert cache.get(NAME) == pod(5)


def test_a_list_hides_what_the_watch_had_told_of() -> None:
    cache = View().cache(POD)
    cache.note_written(pod(5), now=0)
    cache.apply([Told(NAME, pod(5))])
    cache.replace([], ())
    assert cache.get(NAME) is None


def test_the_end_of_an_earlier_object_does_not_take_its_successor() -> None:
    cache = View().cache(POD)
    cache.replace([pod(3, "a")], ())
    cache.note_deleted(NAME, "a")
    cache.note_written(pod(5, "b"), now=0)
    cache.apply([Told(NAME, None)])
    assert cache.get(NAME) == pod(5, "b")


def test_late_news_of_a_deleted_object_does_not_bring_it_back() -> None:
    cache = View().cache(POD)
    cache.replace([pod(3)], ())
    cache.note_deleted(NAME, "a")
    cache.apply([Told(NAME, pod(4))])
    assert cache.get(NAME) is None


def test_what_was_made_here_and_never_told_of_is_forgotten_in_the_end() -> None:
    cache = View().cache(POD)
    cache.note_written(pod(5), now=10)
    cache.forget_unseen(before=11)
    assert cache.get(NAME) is None


def test_an_unreadable_object_keeps_its_last_good_version() -> None:
    cache = View().cache(POD)
    cache.replace([pod(3)], ())
    cache.replace([], {NAME})
    assert cache.get(NAME) == pod(3)


def test_listeners_hear_of_each_change_once() -> None:
    cache = View().cache(POD)
    heard: list[tuple[Any, Any]] = []
    cache.listen(lambda _kind, old, new: heard.append((old, new)))
    cache.note_written(pod(5), now=0)
    cache.apply([Told(NAME, pod(5)), Told(NAME, None), Told(NAME, None)])
    assert heard == [(None, pod(5)), (pod(5), None)]


def service(name: str, **selector: str) -> SelectorService:
    return SelectorService(ObjectMeta(name, "shop", resource_version="1"), SelectorSpec(selector=selector))


def test_a_pod_finds_the_services_that_select_it() -> None:
    view = View()
    view.cache(SERVICE).replace(
        [service("a", app="web"), service("b", app="web", tier="x"), service("c", app="db")], ()
    )
    found = view.services_selecting("shop", {"app": "web", "version": "2"})
    assert [one.metadata.name for one in found] == ["a"]


def test_a_service_finds_its_pods_by_the_rarest_pair() -> None:
    view = View()
    pods = [
        Pod(ObjectMeta(f"p{i}", "shop", uid=str(i), resource_version="1", labels={"app": "web", "slot": str(i % 50)}))
        for i in range(100)
    ]
    view.cache(POD).replace(pods, ())
    found = view.pods_matching("shop", {"app": "web", "slot": "7"})
    assert sorted(one.metadata.name for one in found) == ["p57", "p7"]


def test_an_index_forgets_what_changed() -> None:
    view = View()
    cache = view.cache(POD)
    cache.replace([pod(1, app="web")], ())
    cache.apply([Told(NAME, pod(2, app="db"))])
    assert view.pods_matching("shop", {"app": "web"}) == []
    assert view.pods_matching("shop", {"app": "db"}) == [pod(2, app="db")]


def test_the_answer_to_the_write_that_ended_an_object_does_not_bring_it_back() -> None:
    cache = View().cache(POD)
    cache.replace([pod(3)], ())
    cache.apply([Told(NAME, None)])
    ended = msgspec.structs.replace(pod(4).metadata, deletion_timestamp=EPOCH)
    cache.note_written(Pod(ended), now=0)
    assert cache.get(NAME) is None
