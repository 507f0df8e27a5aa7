"""The probe of the machine's own nft: says what is wrong in one line, is never fatal, leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

import netns
import nft_programs
from fairway.dataplanes.nftables import layout
from fairway.io.netlink.nftables_probe import _examples, find_listing_fault
from fairway.values.address import Family

pytestmark = pytest.mark.kernel


def script(folder: Path, text: str) -> str:
    path = folder / "nft"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("nft", nft_programs.programs())
def test_known_versions_list_the_table(nft: str) -> None:
    with netns.private():
        assert find_listing_fault(nft) is None
        assert netns.run("nft", "list", "ruleset") == ""


def test_the_examples_are_in_every_container() -> None:
    for family in Family:
        assert {item.container for item in _examples(family)} == {c.name for c in layout.CONTAINERS}


def test_a_version_that_aborts_is_named(tmp_path: Path) -> None:
    nft = script(tmp_path, "echo first >&2; echo 'Assertion failed' >&2; kill -ABRT $$")
    assert find_listing_fault(nft) == (
        f"{nft} list ruleset fails with the fairway table present: SIGABRT: Assertion failed"
    )


def test_a_version_that_fails_as_json_only_is_named(tmp_path: Path) -> None:
    nft = script(tmp_path, '[ "$1" = -j ] && exit 3; exit 0')
    assert find_listing_fault(nft) == f"{nft} -j list ruleset fails with the fairway table present: exit code 3"


def test_without_nft_there_is_nothing_to_say() -> None:
    assert find_listing_fault("no-such-program") is None
