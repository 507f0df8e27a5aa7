"""Elements as a person reads them: for logs, status and explanations. Decides nothing."""

from __future__ import annotations

from typing import Any

from fairway.dataplanes.nftables import layout
from fairway.dataplanes.nftables.layout import Flag, Policy
from fairway.values.address import Address
from fairway.values.protocol import Protocol

_BY_FRONTEND = (layout.FRONTENDS, layout.INSIDE, layout.GUARDED)
_NETWORKS = (layout.PODS, layout.SERVICE_CIDRS)


def show_key(container: str, key: Any) -> str:
    """An element's key as a person reads it."""
    if container in _BY_FRONTEND:
        address, protocol, port = layout.unpack_frontend_key(key)
        return f"{address} . {Protocol(protocol)} . {port}"
    if container == layout.COUNTS:
        return f"svc {layout.unpack_svc_key(key)}"
    if container in (layout.BACKENDS, layout.BACKEND_IDS, layout.ENDPOINTS):
        number, svc = layout.unpack_place_key(key)
        return f"{number} . svc {svc}"
    if container in _NETWORKS:
        return str(layout.unpack_network_key(key))
    if container in (layout.TIMEOUTS, layout.RANGE_LENGTHS):
        return str(layout.unpack_number_key(key))
    if container == layout.SOURCE_RANGES:
        svc, network, length = layout.unpack_range_key(key)
        return f"svc {svc} . {network}/{length}"
    if container == layout.CLUSTER_IPS:
        return str(Address(key))
    if container == layout.HAIRPIN:
        return str(Address(key[: len(key) // 2]))
    return key.hex(" ", 4) if isinstance(key, bytes) else str(key)


def show_value(container: str, value: Any) -> str:
    """An element's data as a person reads it; `absent` for None."""
    if value is None:
        return "absent"
    if container in _BY_FRONTEND:
        entry = layout.Dispatch.unpack(value)
        return f"svc {entry.svc}, {policy_name(entry.policy)}, {flag_names(entry.flags)}"
    if container == layout.COUNTS:
        count, comment = layout.unpack_count(value)
        return f"{count} ({comment})"
    if container in (layout.BACKENDS, layout.ENDPOINTS):
        address, port = layout.unpack_address_data(value)
        return address.with_port(port)
    if container == layout.BACKEND_IDS:
        return f"id {layout.unpack_id(value)}"
    return "present"


def policy_name(policy: int) -> str:
    """`pick`, `affinity 10800 s`, `local drop`."""
    if policy >= Policy.LOCAL_AFFINITY_BASE:
        return f"local affinity {policy - Policy.LOCAL_AFFINITY_BASE} s"
    if policy >= Policy.AFFINITY_BASE:
        return f"affinity {policy - Policy.AFFINITY_BASE} s"
    return Policy(policy).name.lower().replace("_", " ")


def flag_names(flags: int) -> str:
    """`masquerade outside`, `source kept`."""
    return " and ".join(str(f.name).lower().replace("_", " ") for f in Flag if flags & f) or "source kept"
