from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairway.io.containers.syscalls import is_mount, unmount
from fairway.io.containers.volumes import Supply, VolumeError, VolumeFiles, resolve_inside, write_files
from fairway.kube.podspec import NodePod
from fairway.pods.environment import MissingReferenceError, NodeFacts, Sources
from fairway.pods.volumes import File
from pod_objects import container, pod

pytestmark = pytest.mark.kernel
SOURCES = Sources({"settings": {"color": "red", "shape": "round"}}, {"key": {"id": "secret"}})


class Shelf:
    """Volumes in a folder, on a node whose root is another."""

    def __init__(self, folder: Path) -> None:
        self.host, self.folder = folder / "host", folder / "volumes"
        self.host.mkdir()
        self.files = VolumeFiles(self.folder, self.host)

    def make(self, one: NodePod, sources: Sources = SOURCES, **tokens: str) -> Path:
        """Where the volume `v` is."""
        found = {("v", path): text for path, text in tokens.items()}
        self.files.make(one, Supply(sources, found, NodeFacts("node-a")))
        return self.folder / one.metadata.uid / "v"


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    for uid in made.files.known():
        made.files.remove(uid)


def with_volume(**source: Any) -> NodePod:
    security = source.pop("securityContext", {})
    mounts = source.pop("mounts", [{"name": "v", "mountPath": "/v"}])
    return pod(container(volumeMounts=mounts), volumes=[{"name": "v", **source}], securityContext=security)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_are_files_with_their_modes(shelf: Shelf) -> None:
    items = [{"key": "color", "path": "deep/color", "mode": 0o400}]
    base = shelf.make(with_volume(configMap={"name": "settings", "items": items}))
    assert (base / "deep/color").read_text() == "red"
    assert mode_of(base / "deep/color") == 0o400
    assert [path.name for path in base.iterdir() if not path.name.startswith("..")] == ["deep"]


def test_files_change_all_at_once_and_old_ones_go(shelf: Shelf) -> None:
    one = with_volume(configMap={"name": "settings"})
    base = shelf.make(one)
    before = (base / "..data").resolve()
    held = (base / "color").open()
    shelf.make(one, Sources({"settings": {"color": "blue"}}, {}))
    assert (base / "..data").resolve() != before
    assert held.read() == "red"
    assert (base / "color").read_text() == "blue"
    assert not (base / "shape").exists()
    assert not (base / "shape").is_symlink()
    assert not before.exists()


def test_what_did_not_change_is_left_alone(shelf: Shelf) -> None:
    one = with_volume(configMap={"name": "settings"})
    before = (shelf.make(one) / "..data").resolve()
    assert (shelf.make(one) / "..data").resolve() == before


def test_the_group_of_the_pod_may_read_and_write(shelf: Shelf) -> None:
    group = {"securityContext": {"fsGroup": 4321}}
    base = shelf.make(with_volume(emptyDir={}, **group))
    assert (base.stat().st_gid, mode_of(base)) == (4321, 0o2777)
    base = shelf.make(with_volume(secret={"secretName": "key", "defaultMode": 0o400}, **group))
    assert ((base / "id").stat().st_gid, mode_of(base / "id")) == (4321, 0o440)


def test_a_token_is_for_the_pods_only_user(shelf: Shelf) -> None:
    sources = {"sources": [{"serviceAccountToken": {"path": "token"}}], "defaultMode": 0o644}
    base = shelf.make(with_volume(projected=sources, securityContext={"runAsUser": 1234}), token="abc")
    path = base / "token"
    assert (path.read_text(), path.stat().st_uid, mode_of(path)) == ("abc", 1234, 0o600)


def test_memory_is_a_file_system_of_its_own_size_and_goes_with_the_pod(shelf: Shelf) -> None:
    one = with_volume(emptyDir={"medium": "Memory", "sizeLimit": "1Mi"})
    base = shelf.make(one)
    (base / "kept").write_text("x")
    shelf.make(one)
    assert (base / "kept").exists()
    size = os.statvfs(base)
    assert size.f_blocks * size.f_frsize == 1 << 20
    shelf.files.remove(one.metadata.uid)
    assert not is_mount(base)
    assert shelf.files.known() == []


def test_a_volume_that_outgrows_its_limit_says_so(shelf: Shelf) -> None:
    one = with_volume(emptyDir={"sizeLimit": "10Ki"})
    base = shelf.make(one)
    assert shelf.files.over_limit(one) == ""
    (base / "big").write_bytes(bytes(20 << 10))
    assert shelf.files.over_limit(one) == 'Usage of EmptyDir volume "v" exceeds the limit "10Ki". '


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"configMap": {"name": "none"}}, 'MountVolume.SetUp failed for volume "v" : configmap "none" not found'),
        (
            {"persistentVolumeClaim": {"claimName": "data"}},
            'MountVolume.SetUp failed for volume "v" : this node has no volumes of kind persistentVolumeClaim',
        ),
        ({"nfs": {"server": "a", "path": "/"}}, "no volumes of kind nfs"),
        ({"hostPath": {"path": "/none", "type": "Directory"}}, "hostPath type check failed: /none is not a directory"),
        ({"hostPath": {"path": "/none", "type": "Socket"}}, "/none is not a socket"),
    ],
)
def test_a_volume_that_cannot_be_had_is_named_with_its_kind(shelf: Shelf, source: dict[str, Any], words: str) -> None:
    with pytest.raises(VolumeError) as caught:
        shelf.make(with_volume(**source))
    assert words in str(caught.value)


def test_an_optional_source_that_is_missing_is_an_empty_volume(shelf: Shelf) -> None:
    base = shelf.make(with_volume(configMap={"name": "none", "optional": True}))
    assert [path.name for path in base.iterdir() if not path.name.startswith("..")] == []


def test_a_host_path_lies_in_the_nodes_root_even_through_links(shelf: Shelf) -> None:
    (shelf.host / "out").symlink_to("/etc")
    one = with_volume(hostPath={"path": "/out/../out/new", "type": "DirectoryOrCreate"})
    shelf.make(one)
    mounts = shelf.files.mounts(one, one.spec.containers[0], {})
    assert mounts[0].source == str(shelf.host / "etc/new")
    assert (shelf.host / "etc/new").is_dir()
    assert not Path("/etc/new").exists()


def test_the_root_itself_has_no_parent(tmp_path: Path) -> None:
    assert resolve_inside(tmp_path, "/../../etc/./shadow") == tmp_path / "etc/shadow"
    (tmp_path / "a").symlink_to("a")
    with pytest.raises(MissingReferenceError, match="too many links"):
        resolve_inside(tmp_path, "/a")


def test_a_sub_path_is_expanded_made_and_kept_inside(shelf: Shelf) -> None:
    mounts = [{"name": "v", "mountPath": "/v", "subPathExpr": "$(NAME)/logs"}]
    one = with_volume(emptyDir={}, mounts=mounts)
    base = shelf.make(one)
    found = shelf.files.mounts(one, one.spec.containers[0], {"NAME": "web"})
    assert found[0].source == str(base / "web/logs")
    (base / "web/logs").rmdir()
    (base / "web/logs").symlink_to("/")
    with pytest.raises(MissingReferenceError, match="leaves the volume"):
        shelf.files.mounts(one, one.spec.containers[0], {"NAME": "web"})


def test_a_write_that_was_cut_short_is_mended(tmp_path: Path) -> None:
    base = tmp_path / "v"
    write_files(base, [File("a", b"1", 0o644)])
    (base / "..data_tmp").symlink_to("nowhere")
    write_files(base, [File("a", b"2", 0o644)])
    assert (base / "a").read_bytes() == b"2"


def test_a_mount_is_told_from_a_folder(shelf: Shelf) -> None:
    base = shelf.make(with_volume(emptyDir={"medium": "Memory"}))
    assert is_mount(base)
    unmount(base)
    assert not is_mount(base)
