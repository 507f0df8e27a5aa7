"""`fairway up`: a Kubernetes cluster on this machine, its nodes network namespaces, its pods containers by runc."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from fairway.cli.clusters import answer, make_parser, say
from fairway.cli.rights import require_root
from fairway.cluster.host import host_changes
from fairway.cluster.preflight import problems
from fairway.cluster.settings import RANGES, ClusterSettings, flag_of, make_settings
from fairway.io.host.statefolder import ROOT, SUPERVISOR, StateFolder
from fairway.values.errors import ConfigError, FairwayError, UnavailableError

READY_SECONDS = 60.0
RENEWAL = 10.0
RANGE_HELP = {
    "underlay": "of nodes, and of this machine as they see it",
    "pod_cidr": "of pods, a part for each node",
    "service_cidr": "of Services",
    "lb_cidr": "of Services of type LoadBalancer",
}


def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    settings = read_settings(options)
    folder = StateFolder(ROOT / settings.name)
    if options.dry_run:
        return _tell_changes(settings, options.output)
    require_root("fairway up")
    began = time.monotonic()
    is_asked = settings != read_settings(parser.parse_args(["--name", settings.name]))
    is_new = _bring_up(folder, settings, is_asked=is_asked)
    _report(folder, options.output, time.monotonic() - began, is_new=is_new)
    code = 0
    if options.demo:
        from fairway.cli import demo

        code = demo.run(folder)
    if options.foreground:
        _stay(folder)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("up", __doc__)
    parser.add_argument("--nodes", type=int, default=3, metavar="N", help="how many nodes (3)")
    parser.add_argument("--zones", type=int, default=3, metavar="N", help="in how many zones they lie in turn (3)")
    parser.add_argument("--ip-family", default="ipv4", metavar="F", help="ipv4, ipv6 or dual")
    for field, (ipv4, ipv6) in RANGES.items():
        words = f"{RANGE_HELP[field]} ({ipv4}; IPv6: {ipv6})"
        parser.add_argument(flag_of(field), dest=field, default="", metavar="A[,B]", help=words)
    parser.add_argument("--mode", default="nftables", help="the proxies' dataplane")
    parser.add_argument("--api-port", type=int, default=6443, metavar="P", help="where the API server listens (6443)")
    parser.add_argument("--api", default="", metavar="KUBECONFIG", help="an API server in place of the embedded one")
    parser.add_argument("--controllers", default="*", metavar="LIST", help="as kube-controller-manager's flag")
    parser.add_argument("--node-grace", type=float, default=50.0, metavar="S", help="until a silent node is not ready")
    parser.add_argument(
        "--image", action="append", default=[], metavar="NAME=PATH", help="a program of this machine for an image"
    )
    parser.add_argument("--foreground", action="store_true", help="stay, and take the cluster down at Ctrl-C")
    parser.add_argument("--demo", action="store_true", help="show Services at work, and what to try next")
    parser.add_argument("--dry-run", action="store_true", help="list what would change on this machine, and end")
    return parser


def read_settings(options: argparse.Namespace) -> ClusterSettings:
    """Settings from flags. Raises ConfigError."""
    from fairway.cli.images import image_table
    from fairway.config.proxy.settings import Mode
    from fairway.controllers.registry import select_controllers

    image_table(options.image)  # says what is wrong
    select_controllers(options.controllers)
    if options.mode != Mode.NFTABLES.value:
        raise ConfigError(f"--mode: {options.mode!r} is not there yet; nftables is")
    if not 0 < options.api_port < 65536:
        raise ConfigError(f"--api-port: {options.api_port} is no port")
    if options.node_grace <= RENEWAL:
        raise ConfigError(
            f"--node-grace: {options.node_grace:g} is no more than the {RENEWAL:g} s between signs of life"
        )
    if options.api and not Path(options.api).is_file():
        raise ConfigError(f"--api: {options.api}: no such file")
    pairs = [text.partition("=") for text in options.image]
    return make_settings(
        options.ip_family,
        {field: getattr(options, field) for field in RANGES},
        name=options.name,
        nodes=options.nodes,
        zones=options.zones,
        mode=options.mode,
        api_port=options.api_port,
        api=str(Path(options.api).absolute()) if options.api else "",
        controllers=options.controllers,
        node_grace=options.node_grace,
        images={name: str(Path(path).absolute()) for name, _, path in pairs},
    )


def _tell_changes(settings: ClusterSettings, output: str) -> int:
    changes = [str(change) for change in host_changes(settings)]
    changes += [f"folder {ROOT / settings.name}", f"context {settings.name} in the kubeconfig of whoever starts it"]
    if output == "json":
        answer("changes", name=settings.name, changes=changes)
    else:
        print("\n".join(changes))
    return 0


# -- bringing it up


def _bring_up(folder: StateFolder, settings: ClusterSettings, *, is_asked: bool) -> bool:
    """Make, or mend, the cluster; whether there was something to do. `is_asked`: for other than default settings."""
    from fairway.io.host import clusters

    is_new = not folder.exists
    if is_new:
        _check_room(settings)
    elif (known := folder.settings()) != settings:
        if is_asked:
            say(f"cluster {settings.name} keeps the settings that it was started with; `fairway down` first for others")
        settings = known
    lost = [] if is_new else clusters.lost_nodes(settings)
    if not is_new and not clusters.missing(settings) and all(part.is_ready for part in folder.parts()):
        return False
    began = time.monotonic()
    with _clearing_up(folder) if is_new else contextlib.nullcontext():
        clusters.build(folder, settings)
        clusters.end(folder, lost)
        clusters.start(folder)
        clusters.wait_ready(
            folder, READY_SECONDS, lambda name: say(f"  {name} is ready ({time.monotonic() - began:.1f} s)")
        )
        _merge_kubeconfig(folder, settings)
    return True


def _check_room(settings: ClusterSettings) -> None:
    from fairway.io.host.facts import host_facts

    found = problems(settings, host_facts(settings.api_port))
    if found:
        raise UnavailableError("\n  ".join(["this machine cannot have the cluster as it is:", *found]))


@contextlib.contextmanager
def _clearing_up(folder: StateFolder) -> Iterator[None]:
    """What was begun is taken back when it fails, or at Ctrl-C; a second one leaves at once."""
    from fairway.io.host import clusters

    def leave(number: int, frame: object) -> None:
        os._exit(130)

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except (KeyboardInterrupt, FairwayError) as error:
        signal.signal(signal.SIGINT, leave)
        if isinstance(error, KeyboardInterrupt):
            say("cleaning up; Ctrl-C again leaves at once, and `fairway gc` cleans up then")
        clusters.stop(folder)
        clusters.clear(folder)
        raise


def _merge_kubeconfig(folder: StateFolder, settings: ClusterSettings) -> None:
    from fairway.cluster.kubeconfig import access_of, merged
    from fairway.io.kube import userconfig

    access = access_of(userconfig.read(folder.kubeconfig))
    path = userconfig.place()
    folder.keep_kubeconfig_place(path)
    userconfig.change(path, lambda tree: merged(tree, settings.name, access))


def _report(folder: StateFolder, output: str, seconds: float, *, is_new: bool) -> None:
    settings = folder.settings()
    names = [node.name for node in settings.topology.nodes]
    if output == "json":
        place = folder.kubeconfig_place()
        fields = {"kubeconfig": str(place), "context": settings.name, "nodes": names}
        answer("up", name=settings.name, started=is_new, seconds=round(seconds, 3), **fields)
    elif is_new:
        say(f"cluster {settings.name} is ready after {seconds:.1f} s; kubectl's context is now {settings.name}")
    else:
        say(f"cluster {settings.name} runs already: {', '.join(names)}; kubectl's context is {settings.name}")


def _stay(folder: StateFolder) -> None:
    """Until Ctrl-C; a supervisor that dies meanwhile is started again."""
    from fairway.cli import down
    from fairway.io.host import clusters

    say("up until Ctrl-C")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            pid = folder.part(SUPERVISOR).pid
            if pid:
                _wait_for_end(pid)
            if not folder.exists:
                return  # `fairway down` in another terminal
            clusters.start(folder)
            clusters.wait_ready(folder, READY_SECONDS, lambda name: say(f"  {name} is ready"))
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        say("taking it down; Ctrl-C again leaves at once")
        down.take_down(folder)


def _wait_for_end(pid: int) -> None:
    import select

    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([descriptor], [], [])
    finally:
        os.close(descriptor)
