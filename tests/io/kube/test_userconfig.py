"""The user's kubeconfig on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fairway.io.kube import userconfig
from fairway.values.errors import ConfigError


def test_the_file_is_found_as_kubectl_finds_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    listed = {"KUBECONFIG": f"{first}:{second}", "HOME": str(tmp_path)}
    assert userconfig.place(listed) == second  # neither is there: the last
    second.touch()
    assert userconfig.place(listed) == second
    first.touch()
    assert userconfig.place(listed) == first
    assert userconfig.place({"HOME": str(tmp_path)}) == tmp_path / ".kube" / "config"


def test_a_change_is_written_whole_for_its_owner_alone_and_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config"
    userconfig.change(path, lambda tree: {**tree, "kind": "Config"})
    assert yaml.safe_load(path.read_text()) == {"kind": "Config"}
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    userconfig.change(path, lambda tree: {**tree, "more": 1})
    assert yaml.safe_load(path.read_text()) == {"kind": "Config", "more": 1}
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in path.parent.iterdir()] == ["config"]


@pytest.mark.parametrize("text", ["- a list", "a: b: c", "\x00"])
def test_a_file_that_cannot_be_read_is_named_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConfigError, match=str(path)):
        userconfig.change(path, lambda tree: tree)
    assert path.read_text() == text
    assert [one.name for one in tmp_path.iterdir()] == ["config"]


def test_a_lock_that_others_hold_is_waited_for_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userconfig, "LOCK_SECONDS", 0.0)
    path = tmp_path / "config"
    (tmp_path / "config.lock").touch()
    with pytest.raises(ConfigError, match=r"config\.lock is held by somebody else"):
        userconfig.change(path, lambda tree: tree)
