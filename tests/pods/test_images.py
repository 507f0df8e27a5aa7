from __future__ import annotations

import pytest

from fairway.pods.images import TABLE, Image, UnknownImageError, argv, base_name, binary_image, layered
from pod_objects import pod


@pytest.mark.parametrize(
    "image", ["busybox", "busybox:1.36", "docker.io/library/busybox", "localhost:5000/x/busybox:1@sha256:00"]
)
def test_registry_tag_and_digest_do_not_matter(image: str) -> None:
    assert base_name(image) == "busybox"


def command(table: dict[str, Image] | None = None, **fields: object) -> tuple[str, ...]:
    one = pod({"name": "main", **fields})
    return argv(one.spec.containers[0], {**TABLE, **(table or {})})


def test_command_replaces_the_entrypoint_and_args_the_command() -> None:
    table = {"tool": binary_image("/opt/bin/agnhost")}
    assert command(table, image="tool:2", args=["pause"]) == ("/agnhost", "pause")
    assert command(table, image="tool", command=["ls"], args=["-l"]) == ("ls", "-l")
    assert command(image="busybox") == ("sh",)


def test_an_unknown_image_without_a_command_says_what_to_do() -> None:
    with pytest.raises(UnknownImageError, match="--image thing=/path/of/a/program"):
        command(image="example.com/thing:1")
    assert command(image="example.com/thing:1", command=["true"]) == ("true",)


def test_an_image_whose_layer_is_not_there_has_the_machines_own_programs() -> None:
    found = layered(TABLE, {"nginx": "/images/nginx"})
    assert (found["nginx"].layer, found["busybox"].layer) == ("/images/nginx", "")
