"""Whatever stands in a Corefile, it is read or its mistake is named: no other exception leaves the reader."""

from __future__ import annotations

import random

import pytest

from dns_scenarios import SCENARIOS
from dns_world import MemoryWorld
from fairway.config.corefile_servers import read_corefile
from fairway.dns.chain import build_chain
from fairway.dns.state import ClusterState
from fairway.values.errors import ConfigError

PLACES = {"$PORT": "53", "$UP2PORT": "53", "$UP2": "192.0.2.2", "$UP": "192.0.2.1", "$API": "http://x", "$FOLDER": "/x"}
ODD = [
    "{", "}", '"', "\\", "#", "{$X}", "-1", "99999999999", "..", "a..b", "%", "://", "[::1]:x", "(", "²", "é", "*", "@",
    "::", "0x", "5s", "-5s", "1.5", ":", "/33", "\0", "{{", "}}", "([", "[[:x:]]",
]  # fmt: skip


def filled(text: str) -> str:
    for place, value in PLACES.items():
        text = text.replace(place, value)
    return text


FILES = [filled(scenario.corefile) for scenario in SCENARIOS if len(scenario.corefile) < 2000]
WORDS = [*ODD * 20, *(word for text in FILES for word in text.split())]


def mutated(dice: random.Random, text: str) -> str:
    lines = text.split("\n")
    at = dice.randrange(len(lines))
    match dice.randrange(4):
        case 0:
            words = lines[at].split(" ")
            words[dice.randrange(len(words))] = dice.choice(WORDS)
            lines[at] = " ".join(words)
        case 1:
            lines.insert(at, " ".join(dice.choices(WORDS, k=dice.randint(1, 4))))
        case 2:
            del lines[at]
        case _:
            start = dice.randrange(len(text))
            return text[:start] + dice.choice(["", *ODD]) + text[start + dice.randrange(4) :]
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_files_are_read_or_named_as_wrong(seed: int) -> None:
    dice, world, outcomes = random.Random(seed), MemoryWorld(), {True: 0, False: 0}
    for _ in range(5000):
        text = dice.choice(FILES)
        for _ in range(dice.randint(1, 3)):
            text = mutated(dice, text or " ")
        try:
            for server in read_corefile(text, "Corefile", {"X": "y z"}).servers:
                build_chain(server, world, lambda _settings: ClusterState())
        except ConfigError:
            outcomes[False] += 1
        else:
            outcomes[True] += 1
    assert min(outcomes.values()) > 100
