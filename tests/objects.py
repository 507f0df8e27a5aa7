"""Objects for tests, short to write: API objects as trees through the real decoders, and this node.

node = a_node(service(ports=[port(80, nodePort=3001)]), slice_of(endpoint("10.0.1.1")))
assert went(node, packet(OUTSIDE, NODE_IP, 3001)) == "10.0.1.1:8080 masqueraded"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fairway.kube import decode
from fairway.kube.endpointslice import EndpointSlice
from fairway.kube.service import Service
from fairway.plan.view import DetectLocal, Detector, NodeView
from fairway.state.tables import State, Writer
from fairway.values.address import Address, Family, Prefix
from fairway.values.packet import Packet
from planned import Node, packet

__all__ = ["Node", "packet"]

HERE, THERE = "node-1", "node-2"
NODE_IP, SECOND_NODE_IP, LOCALHOST = "192.168.0.2", "192.168.1.2", "127.0.0.1"
CLUSTER_IP, LB_IP, EXTERNAL_IP = "172.30.0.41", "1.2.3.4", "192.168.99.11"
POD, OUTSIDE = "10.0.0.2", "203.0.113.2"
NODE_PORT = 3001

VIEW = NodeView(
    name=HERE,
    family=Family.IPV4,
    zone="zone-a",
    addresses=tuple(Address.parse(a) for a in (LOCALHOST, NODE_IP, SECOND_NODE_IP)),
    primary=Address.parse(NODE_IP),
    node_port_addresses=tuple(Address.parse(a) for a in (NODE_IP, SECOND_NODE_IP)),
    detector=Detector(DetectLocal.PREFIXES, prefixes=(Prefix.parse("10.0.0.0/8"),)),
)
NO_DETECTOR = msgspec.structs.replace(VIEW, detector=Detector())


def view(**changes: Any) -> NodeView:
    """This node, with changes."""
    return msgspec.structs.replace(VIEW, **changes)


def port(number: int = 80, name: str = "http", **fields: Any) -> dict[str, Any]:
    """An entry of spec.ports."""
    return {"name": name, "port": number, **fields}


def service(
    name: str = "web",
    *,
    cluster_ips: Sequence[str] = (CLUSTER_IP,),
    ports: Sequence[Mapping[str, Any]] = (),
    ingress: Sequence[str | Mapping[str, Any]] = (),
    created: str = "",
    **spec: Any,
) -> Service:
    """A Service of namespace `ns`; further fields of its spec by their API names."""
    entries = [{"ip": one} if isinstance(one, str) else one for one in ingress]
    tree = {
        "metadata": {"namespace": "ns", "name": name, "creationTimestamp": created or None},
        "spec": {"clusterIPs": list(cluster_ips), "ports": list(ports or [port()]), **spec},
        "status": {"loadBalancer": {"ingress": entries}},
    }
    return decode.SERVICE.decode(tree)


def endpoint(address: str, node: str | None = None, **fields: Any) -> dict[str, Any]:
    """An entry of endpoints; `ready`, `serving`, `terminating` are conditions, `zones` and `nodes` hints."""
    conditions = {key: fields[key] for key in ("ready", "serving", "terminating") if key in fields}
    tree: dict[str, Any] = {"addresses": [address], "conditions": conditions}
    if node:
        tree["nodeName"] = node
    hints = {
        api: [{"name": name} for name in fields[key]]
        for key, api in (("zones", "forZones"), ("nodes", "forNodes"))
        if key in fields
    }
    return {**tree, "hints": hints} if hints else tree


def slice_of(
    *endpoints: Mapping[str, Any],
    service: str = "web",
    name: str = "1",
    ports: Sequence[Mapping[str, Any]] = ({"name": "http", "port": 8080},),
    family: str = "IPv4",
) -> EndpointSlice:
    """An EndpointSlice of a Service of namespace `ns`."""
    labels = {"kubernetes.io/service-name": service}
    tree = {
        "metadata": {"namespace": "ns", "name": f"{service}-{name}", "labels": labels},
        "addressType": family,
        "ports": list(ports),
        "endpoints": list(endpoints),
    }
    return decode.ENDPOINT_SLICE.decode(tree)


def a_state(*rows: Service | EndpointSlice) -> State:
    """The state that holds these rows."""
    state = State()
    writer = Writer(state)
    for row in rows:
        if isinstance(row, Service):
            writer.put_service(row)
        else:
            writer.put_slice(row)
    return state


def a_node(*rows: Service | EndpointSlice, view: NodeView = VIEW) -> Node:
    """This node with these rows planned."""
    return Node.of(a_state(*rows), view)


def went(node: Node, one: Packet) -> str:
    """What becomes of a packet by the plan, in a word or as `ADDRESS:PORT … kept` or `… masqueraded`.

    The items must say the same.
    """
    answer = node.answer(one)
    assert answer.agrees, answer.disagreement
    if answer.verdict.value != "forward":
        return answer.verdict.value
    sources = {b.masquerade for b in answer.backends}
    treated = "mixed" if len(sources) > 1 else "masqueraded" if True in sources else "kept"
    return " ".join([*(f"{b.address}:{b.port}" for b in answer.backends), treated])
