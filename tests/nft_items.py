"""Elements of the fairway table by hand, so that the kernel's rules are judged apart from plan and items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.layout import Dispatch, Policy
from fairway.reconcile.items import Action, Item, Operation
from fairway.values.address import Address, Prefix
from fairway.values.protocol import Protocol

NOTHING = b""


def backends(svc: int, targets: Sequence[tuple[Address, int]], *, comment: str = "") -> list[Item]:
    """A set of backends without affinity."""
    return [
        count(svc, len(targets), comment),
        *(
            Item(layout.BACKENDS, layout.place_key(place, svc), layout.address_data(*target))
            for place, target in enumerate(targets)
        ),
    ]


def count(svc: int, number: int, comment: str = "") -> Item:
    return Item(layout.COUNTS, layout.svc_key(svc), layout.count_data(number, comment))


def sticky_backends(svc: int, targets: dict[int, tuple[Address, int]]) -> list[Item]:
    """A set of backends with affinity: ids to targets."""
    items = [count(svc, len(targets))]
    for place, (number, target) in enumerate(sorted(targets.items())):
        items.append(Item(layout.BACKEND_IDS, layout.place_key(place, svc), layout.id_data(number)))
        items.append(Item(layout.ENDPOINTS, layout.place_key(number, svc), layout.address_data(*target)))
    return items


def timeout(seconds: int) -> Item:
    return Item(layout.TIMEOUTS, layout.number_key(seconds), NOTHING)


def frontend(
    address: Address,
    port: int = 80,
    svc: int = 2,
    policy: int = Policy.PICK,
    flags: int = 0,
    *,
    protocols: Iterable[Protocol] = (Protocol.TCP, Protocol.UDP),
    container: str = layout.FRONTENDS,
) -> list[Item]:
    """The same for each protocol."""
    data = Dispatch(svc, policy, flags).pack()
    return [Item(container, layout.frontend_key(address, protocol, port), data) for protocol in protocols]


def network(container: str, prefix: Prefix) -> Item:
    return Item(container, layout.network_key(prefix), NOTHING)


def source_range(svc: int, prefix: Prefix) -> list[Item]:
    return [
        Item(layout.RANGE_LENGTHS, layout.number_key(prefix.length), NOTHING),
        Item(layout.SOURCE_RANGES, layout.range_key(svc, *prefix), NOTHING),
    ]


def hairpin(address: Address) -> Item:
    return Item(layout.HAIRPIN, address + address, NOTHING)


def cluster_ip(address: Address) -> Item:
    return Item(layout.CLUSTER_IPS, bytes(address), NOTHING)


def additions(items: Iterable[Item]) -> list[Operation]:
    """In the order that the layout asks for; what several want once."""
    return _staged(Action.ADD, items)


def removals(items: Iterable[Item]) -> list[Operation]:
    return _staged(Action.REMOVE, items)


def replacements(items: Iterable[Item]) -> list[Operation]:
    return _staged(Action.REPLACE, items)


def _staged(action: Action, items: Iterable[Item]) -> list[Operation]:
    stages = {layout.AFFINITY: 0} | {
        c.name: c.remove_stage if action is Action.REMOVE else c.add_stage for c in layout.CONTAINERS
    }
    return [Operation(action, item) for item in sorted(dict.fromkeys(items), key=lambda item: stages[item.container])]
