"""`agnhost SUBCOMMAND [FLAGS]`, as the folder that it lies in is run."""

from __future__ import annotations

import os
import sys

if not __package__:
    # Run as a folder, below whatever name the pod has it. (pathlib would cost 10 ms.)
    _folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    sys.path.append(os.path.dirname(_folder))  # noqa: PTH120
    __package__ = os.path.basename(_folder)  # noqa: PTH119

COMMANDS = {
    "connect": ("tools", "connect"),
    "dns-server-list": ("tools", "dns_server_list"),
    "dns-suffix": ("tools", "dns_suffix"),
    "entrypoint-tester": ("tools", "entrypoint_tester"),
    "etc-hosts": ("tools", "etc_hosts"),
    "guestbook": ("guestbook", "main"),
    "liveness": ("servers", "liveness"),
    "logs-generator": ("tools", "logs_generator"),
    "net": ("closewait", "main"),
    "netexec": ("netexec", "main"),
    "pause": ("tools", "pause"),
    "porter": ("servers", "porter"),
    "serve-hostname": ("servers", "serve_hostname"),
    "tcp-reset": ("servers", "tcp_reset"),
    "test-webserver": ("servers", "test_webserver"),
}


def main() -> int:
    """Run one subcommand; its exit code."""
    from importlib import import_module

    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        known = ", ".join(sorted(COMMANDS))
        sys.stderr.write(f'Error: unknown command "{name}" for "app": Fairway\'s agnhost has {known}\n')
        return 1
    module, function = COMMANDS[name]
    code = getattr(import_module(f"{__package__}.{module}"), function)(sys.argv[2:])
    return int(code or 0)


if __name__ == "__main__":
    sys.exit(main())
