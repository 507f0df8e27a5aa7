"""Logs as the settings ask for them."""

import json
import logging

import pytest

from fairway.cli.logs import apply_logging
from fairway.config.proxy import load, parse_flags


@pytest.fixture(autouse=True)
def restored():
    """The root logger is everybody's."""
    root, ours = logging.getLogger(), logging.getLogger("fairway")
    before = root.handlers[:], root.level, ours.level
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    for handler in before[0]:
        root.addHandler(handler)
    root.setLevel(before[1])
    ours.setLevel(before[2])


def logged(capsys, *flags):
    apply_logging(load(None, parse_flags(flags)).settings.logging)
    logging.getLogger("fairway.x").info("what=%d", 5)
    logging.getLogger("fairway.x").debug("detail")
    logging.getLogger("asyncio").debug("noise")
    return capsys.readouterr().err.splitlines()


def test_text_is_a_line_with_time_level_and_logger(capsys):
    (line,) = logged(capsys)
    assert line.endswith(" I fairway.x what=5")


def test_json_is_an_object_a_line(capsys):
    (line,) = logged(capsys, "--logging-format=json")
    entry = json.loads(line)
    assert {key: entry[key] for key in ("level", "logger", "msg")} == {
        "level": "info",
        "logger": "fairway.x",
        "msg": "what=5",
    }
    assert entry["ts"] > 0


def test_json_carries_what_went_wrong(capsys):
    apply_logging(load(None, parse_flags(["--logging-format=json"])).settings.logging)
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("fairway.x").exception("failed")
    assert "ValueError: broken" in json.loads(capsys.readouterr().err)["err"]


@pytest.mark.parametrize(("verbosity", "lines"), [(0, 1), (3, 1), (4, 2)])
def test_details_come_from_verbosity_four_on(capsys, verbosity, lines):
    assert len(logged(capsys, f"-v={verbosity}")) == lines
