"""The command table: help, versions, unknown words and exit codes."""

from __future__ import annotations

import importlib

import pytest

from fairway.cli.main import COMMANDS, Exit, exit_code, main
from fairway.kube.status import ApiUnreachableError
from fairway.values.errors import ConfigError, FairwayError, UnavailableError


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.name)
def test_every_command_of_the_table_can_be_run(command: object) -> None:
    module = importlib.import_module(command.module)  # type: ignore[attr-defined]
    assert callable(module.run)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == Exit.OK
    shown = capsys.readouterr().out
    assert [command.name for command in COMMANDS if f"  {command.name} " not in shown] == []


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fly"]) == Exit.USAGE
    assert "no such command: fly" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UnavailableError("no nftables"), Exit.UNAVAILABLE),
        (ConfigError("bad"), Exit.USAGE),
        (ApiUnreachableError("down"), Exit.API_UNREACHABLE),
        (FairwayError("other"), Exit.FAILED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_exit_code_tells_the_kind_of_failure(error: FairwayError, expected: Exit) -> None:
    assert exit_code(error) is expected
