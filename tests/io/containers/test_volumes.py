from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairway.io.containers.syscalls import is_mount, unmount
from fairway.io.containers.volumes import Supply, VolumeError, VolumeFiles, write_files
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

    def source(self, one: NodePod, **env: str) -> Path:
        """What the container has of it."""
        return Path(self.files.mounts(one, one.spec.containers[0], env)[0].source)


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
    (shelf.host / "etc").mkdir()
    (shelf.host / "out").symlink_to("/etc")
    one = with_volume(hostPath={"path": "/out/../out/new", "type": "DirectoryOrCreate"})
    shelf.make(one)
    source = shelf.source(one)
    assert source.samefile(shelf.host / "etc/new")
    assert not Path("/etc/new").exists()
    shelf.files.remove(one.metadata.uid)
    assert not source.exists()
    assert (shelf.host / "etc/new").is_dir()


def test_a_host_path_may_be_a_file(shelf: Shelf) -> None:
    one = with_volume(hostPath={"path": "/made", "type": "FileOrCreate"})
    shelf.make(one)
    (shelf.host / "made").write_text("kept")
    assert shelf.source(one).read_text() == "kept"


def test_links_that_go_round_are_named(shelf: Shelf) -> None:
    (shelf.host / "a").symlink_to("a")
    with pytest.raises(VolumeError, match="Too many levels of symbolic links"):
        shelf.make(with_volume(hostPath={"path": "/a"}))


def test_a_sub_path_is_expanded_and_made_with_the_volumes_mode(shelf: Shelf) -> None:
    mounts = [{"name": "v", "mountPath": "/v", "subPathExpr": "$(NAME)/logs"}]
    group = {"securityContext": {"fsGroup": 4321}}
    one = with_volume(emptyDir={}, mounts=mounts, **group)
    base = shelf.make(one)
    assert shelf.source(one, NAME="web").samefile(base / "web/logs")
    assert (mode_of(base / "web/logs"), (base / "web/logs").stat().st_gid) == (0o2777, 4321)
    assert shelf.source(one, NAME="web").samefile(base / "web/logs")


@pytest.mark.parametrize("target", ["/", "../..", "/etc/hostname"])
@pytest.mark.parametrize("source", [{"emptyDir": {}}, {"hostPath": {"path": "/data"}}])
def test_a_sub_path_that_leads_out_of_its_volume_is_refused(shelf: Shelf, source: Any, target: str) -> None:
    one = with_volume(**source, mounts=[{"name": "v", "mountPath": "/v", "subPath": "a/b"}])
    base = shelf.make(one)
    if "hostPath" in source:
        base = shelf.host / "data"
    (base / "a").mkdir()
    (base / "a/b").symlink_to(target)
    words = 'failed to prepare subPath for volumeMount "v" of container "main": subPath \'a/b\' leaves the volume'
    with pytest.raises(MissingReferenceError, match=words):
        shelf.source(one)


def test_a_link_that_is_put_there_later_changes_nothing(shelf: Shelf) -> None:
    """Else a second container of the pod could have any folder of the machine."""
    one = with_volume(emptyDir={}, mounts=[{"name": "v", "mountPath": "/v", "subPath": "part"}])
    base = shelf.make(one)
    source = shelf.source(one)
    (base / "part").rename(base / "moved")
    (base / "part").symlink_to("/")
    assert source.samefile(base / "moved")


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
