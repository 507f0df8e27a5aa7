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
    """What an image stands for: its ENTRYPOINT and CMD, and programs that must be put into the container."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    binaries: tuple[tuple[str, str], ...] = ()
    """Path on the machine, path in the container."""
    folders: tuple[str, ...] = ()
    """Folders that its program expects, empty."""


SHELL: Final = Image(command=("/bin/sh",))
PAUSE: Final = Image(entrypoint=("/bin/sleep", "infinity"))
NGINX: Final = Image(
    entrypoint=("/usr/sbin/nginx", "-g", "daemon off;"),
    folders=("/var/lib/nginx", "/var/log/nginx", "/run"),
)
HTTPD: Final = Image(
    entrypoint=("/usr/sbin/apachectl", "-DFOREGROUND"),
    folders=("/var/log/apache2", "/run/apache2", "/run/lock"),
)
TABLE: Final[Mapping[str, Image]] = {
    "alpine": SHELL,
    "bash": SHELL,
    "busybox": SHELL,
    "debian": SHELL,
    "dnsutils": SHELL,
    "httpd": HTTPD,
    "jessie-dnsutils": SHELL,
    "nginx": NGINX,
    "pause": PAUSE,
    "ubuntu": SHELL,
}


def base_name(image: str) -> str:
    """`registry.k8s.io/e2e-test-images/busybox:1.29-4@sha256:…` is `busybox`."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def binary_image(path: str) -> Image:
    """An image that is one program of the machine (`--image NAME=PATH`)."""
    name = path.rpartition("/")[2]
    return Image(entrypoint=(f"/{name}",), binaries=((path, f"/{name}"),))


def argv(container: Container, images: Mapping[str, Image]) -> tuple[str, ...]:
    """The program and its arguments: `command` replaces ENTRYPOINT, `args` CMD, as the API has it.

    Raises UnknownImageError when neither the container nor the table names a program.
    """
    image = images.get(base_name(container.image))
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
