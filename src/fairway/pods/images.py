"""Image names to what this machine has in their place; nothing is ever pulled.

Decides the command of a container that names none, and says what to do about an image that means nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from fairway.kube.podspec import Container
from fairway.values.errors import FairwayError


class UnknownImageError(FairwayError):
    """An image that stands for nothing on this machine, in a container without a command of its own."""


class Image(NamedTuple):
    """What an image stands for: its configuration, and what lies over the machine's own files in its containers."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    binaries: tuple[tuple[str, str], ...] = ()
    """Path on the machine, path in the container; files or folders."""
    folders: tuple[str, ...] = ()
    """Folders that its program expects, empty."""
    layer: str = ""
    """Name of a folder that `tools/images` makes; without it, the machine's own programs serve."""
    working_dir: str = ""
    env: tuple[tuple[str, str], ...] = ()


SHELL: Final = Image(command=("/bin/sh",))
BUSYBOX: Final = Image(command=("sh",), layer="busybox")
PAUSE: Final = Image(entrypoint=("/bin/sleep", "infinity"))
NGINX: Final = Image(
    command=("nginx", "-g", "daemon off;"), folders=("/var/lib/nginx", "/var/log/nginx", "/run"), layer="nginx"
)
PYTHON: Final = Image(command=("python3",), binaries=(("/usr/bin/python3", "/usr/bin/python"),))
HTTPD: Final = Image(command=("httpd-foreground",), layer="httpd", working_dir="/usr/local/apache2")
TABLE: Final[Mapping[str, Image]] = {
    "alpine": SHELL,
    "bash": SHELL,
    "busybox": BUSYBOX,
    "debian": SHELL,
    "dnsutils": SHELL,
    "glibc-dns-testing": SHELL,
    "httpd": HTTPD,
    "jessie-dnsutils": SHELL,
    "nginx": NGINX,
    "nginx-new": NGINX,
    "pause": PAUSE,
    "python": PYTHON,
    "ubuntu": SHELL,
}


def base_name(image: str) -> str:
    """`registry.k8s.io/e2e-test-images/busybox:1.29-4@sha256:…` is `busybox`."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def binary_image(path: str) -> Image:
    """An image that is one program of the machine (`--image NAME=PATH`)."""
    name = path.rpartition("/")[2]
    return Image(entrypoint=(f"/{name}",), binaries=((path, f"/{name}"),))


def agnhost(program: str, package: str, coredns: str = "") -> Image:
    """The image of the official suite: the real program, or the folder of Fairway's own in its place; and the CoreDNS
    that the image has besides, if there is one."""
    files: tuple[tuple[str, str], ...] = ((program, "/agnhost") if program else (package, "/usr/lib/agnhost"),)
    files += ((coredns, "/coredns"),) if coredns else ()
    return Image(entrypoint=("/agnhost",), command=("pause",), binaries=files, layer="agnhost")


def layered(images: Mapping[str, Image], folders: Mapping[str, str]) -> dict[str, Image]:
    """The table with the paths of its layers; an image whose layer this machine lacks has its own programs."""
    return {name: image._replace(layer=folders.get(image.layer, "")) for name, image in images.items()}


def find(image: str, images: Mapping[str, Image]) -> Image | None:
    """What stands for an image."""
    return images.get(base_name(image))


def argv(container: Container, images: Mapping[str, Image]) -> tuple[str, ...]:
    """The program and its arguments: `command` replaces ENTRYPOINT, `args` CMD, as the API has it.

    Raises UnknownImageError when neither the container nor the table names a program.
    """
    image = find(container.image, images)
    if container.command:
        return (*container.command, *(container.args or ()))
    if image is None:
        name = base_name(container.image)
        raise UnknownImageError(
            f"image {container.image!r} stands for nothing on this machine and the container has no command: "
            f"give it a command, or start with --image {name}=/path/of/a/program"
        )
    rest = container.args or image.command
    if not image.entrypoint and not rest:
        raise UnknownImageError(f"image {container.image!r} has no program to run: give the container a command")
    return (*image.entrypoint, *rest)
