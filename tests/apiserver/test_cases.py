"""Every recorded case of a real kube-apiserver, against ours."""

from __future__ import annotations

from typing import Any

import pytest

from api_cases import Player, load
from api_world import World


@pytest.mark.parametrize("case", load(), ids=lambda c: c["id"])
def test_answers_as_the_real_server_did(case: dict[str, Any]) -> None:
    differences = Player(World(), case).play()

    assert differences == []
