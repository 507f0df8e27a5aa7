"""The kubeconfig of whoever starts a cluster: found as kubectl finds it, changed under kubectl's own lock.

What is in it is decided in `fairway.cluster.kubeconfig`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from fairway.cluster.kubeconfig import Tree
from fairway.values.errors import ConfigError

LOCK_SECONDS = 5.0


def place(environ: Mapping[str, str] = os.environ) -> Path:
    """The file that is changed: of a KUBECONFIG list the first that is there, else its last; else ~/.kube/config."""
    listed = [Path(one) for one in environ.get("KUBECONFIG", "").split(os.pathsep) if one]
    if listed:
        return next((one for one in listed if one.exists()), listed[-1])
    return Path(environ.get("HOME") or "/root") / ".kube" / "config"


def read(path: Path) -> Tree:
    """Its tree; empty when it is not there. Raises ConfigError."""
    from fairway.kube.yaml import YAMLError, read_yaml

    try:
        tree = read_yaml(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise ConfigError(f"kubeconfig {path}: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"kubeconfig {path}: a mapping is expected")
    return tree


def write(path: Path, tree: Tree) -> None:
    """Put it in place at once, for its owner alone, so that nobody reads half of it."""
    import yaml

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.touch(mode=0o600)
    part.write_text(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), encoding="utf-8")
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        part.chmod(found.st_mode & 0o777)
        os.chown(part, found.st_uid, found.st_gid)
    part.replace(path)


def change(path: Path, how: Callable[[Tree], Tree]) -> None:
    """Read, change and write it, alone. Raises ConfigError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        try:
            write(path, how(read(path)))
        except ConfigError as error:
            raise ConfigError(f"kubeconfig {path}: {error}" if str(path) not in str(error) else str(error)) from None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """kubectl and kind keep each other out by this file, too."""
    lock = path.with_name(f"{path.name}.lock")
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                raise ConfigError(f"kubeconfig {path}: {lock} is held by somebody else; remove it if not") from None
            time.sleep(0.05)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
