"""`fairway proxy`: the Service proxy of this node, on kube-proxy's configuration file and flags."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from fairway import __version__
from fairway.cli.logs import set_up_logging
from fairway.cli.rights import require_root
from fairway.cli.wiring import load_settings
from fairway.config.proxy import FLAGS, Flag, ProxySettings, parse_flags, usage, write_config
from fairway.config.proxy.kinds import Bool, Text
from fairway.values.address import Family

OWN_FLAGS = (
    Flag("manifests", "Objects from a folder of YAML or JSON files instead of an API server.", kind=Text("a path")),
    Flag("once", "Return as soon as the kernel holds the plan.", kind=Bool()),
    Flag("dry-run", "Print what would change in the kernel, change nothing, and exit.", kind=Bool()),
    Flag("strict-config", "Refuse a configuration file with unknown fields.", kind=Bool()),
)


def run(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    if arguments[:1] == ["status"]:
        from fairway.cli import status

        return status.run(arguments[1:])
    table = (*FLAGS, *OWN_FLAGS)
    if "-h" in arguments or "--help" in arguments:
        sys.stdout.write(f"usage: fairway proxy [FLAGS]\n       fairway proxy status [FLAGS]\n\n{usage(table)}\n")
        return 0
    flags = parse_flags(arguments, table)
    if _is_on(flags, "version"):
        sys.stdout.write(f"fairway {__version__}\n")
        return 0
    set_up_logging()
    if _is_on(flags, "cleanup"):
        return _clean_up()
    settings = load_settings(flags, sets_logs=True).settings
    if "write-config-to" in flags:
        Path(flags["write-config-to"]).write_text(write_config(settings), encoding="utf-8")
        return 0
    require_root("fairway proxy")
    if _is_on(flags, "dry-run"):
        from fairway.cli import status

        return status.dry_run(settings, flags)
    return _serve(settings, flags)


def _is_on(flags: Mapping[str, str], name: str) -> bool:
    return Bool().read_flag(flags.get(name, "false"))


def _clean_up() -> int:
    """Remove everything that is ours, and only that."""
    from fairway.io.netlink.nftables import NftablesKernel

    require_root("fairway proxy --cleanup")
    for family in Family:
        with NftablesKernel(family) as kernel:
            kernel.remove()
    return 0


def _serve(settings: ProxySettings, flags: Mapping[str, str]) -> int:
    import uvloop

    from fairway.cli.serve import Proxy

    async def main() -> int:
        proxy = Proxy(settings, flags)
        if _is_on(flags, "init-only"):
            proxy.set_parameters()
            return 0
        return await proxy.run(once=_is_on(flags, "once"))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())
