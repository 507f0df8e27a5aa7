"""What images stand for on this machine: the table, its layers, agnhost, and what `--image` says."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from fairway.pods.images import TABLE, Image, agnhost, binary_image, layered
from fairway.values.errors import ConfigError

_CLONE = Path(__file__).resolve().parents[3]
FOLDERS = (_CLONE / ".images", Path("/usr/local/lib/fairway/images"), Path("/usr/lib/fairway/images"))
"""Where `tools/images` may have put its layers."""
PEERS = _CLONE / ".peers" / "bin"


def image_table(flags: Iterable[str] = ()) -> dict[str, Image]:
    """All images; each flag is `NAME=PATH` of a program. Raises ConfigError for one that is not."""
    layers = {
        path.name: str(path)
        for folder in reversed(FOLDERS)
        if folder.is_dir()
        for path in folder.iterdir()
        if path.is_dir()
    }
    real = PEERS / "agnhost"
    found = {**TABLE, "agnhost": _real_agnhost(real) if real.is_file() else agnhost("", _package())}
    for flag in flags:
        name, _, path = flag.partition("=")
        if not name or not path:
            raise ConfigError(f"--image: {flag!r} is not NAME=PATH")
        if not os.access(path, os.X_OK) or not Path(path).is_file():
            raise ConfigError(f"--image: {name}: {path} is no program")
        program = Path(path).resolve()
        found[name] = _real_agnhost(program) if name == "agnhost" else binary_image(str(program))
    return layered(found, layers)


def _real_agnhost(program: Path) -> Image:
    """With the CoreDNS that `make peers` puts beside it."""
    coredns = program.with_name("coredns")
    return agnhost(str(program), "", str(coredns) if coredns.is_file() else "")


def _package() -> str:
    """The folder of Fairway's own agnhost; it imports nothing of Fairway, so it runs inside a pod as it is."""
    spec = find_spec("fairway.io.agnhost")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return next(iter(spec.submodule_search_locations))
