"""Random clusters, options of the `kubernetes` plugin, and the questions that they give cause to."""

from __future__ import annotations

import random
from typing import Any

from dns_beside import Question, Scenario
from dns_scenarios import IMPORTS, ends, namespace, pod, service, slice_of
from fake_storage import NAMESPACES, PODS, SERVICES, SLICES

SPACES = ("default", "prod", "gone", "empty")
PORT_NAMES = ("http", "grpc", "x-1")
KINDS = ("A", "AAAA", "SRV", "PTR", "CNAME", "TXT", "NS", "SOA", "MX", "ANY")


def cluster(seed: int) -> dict[str, list[dict[str, Any]]]:
    """Objects by collection."""
    dice = random.Random(seed)
    found: dict[str, list[dict[str, Any]]] = {
        NAMESPACES: [namespace(n, team=dice.choice("ab")) for n in SPACES[:2] + SPACES[3:]]
    }
    services, slices, pods, imports = [], [], [], []
    for number in range(14):
        space, name = dice.choice(SPACES[:3]), f"s{number}"
        if any(s["metadata"]["name"] == name and s["metadata"]["namespace"] == space for s in services):
            continue
        services.append(_service(dice, number, name, space))
        imported = dice.random() < 0.3
        ports = [p | {"port": p["port"] + 8000} for p in services[-1]["spec"]["ports"]]
        for part in range(dice.choice((0, 1, 1, 2))):
            six = dice.random() < 0.3
            labels = {"kubernetes.io/service-name": name, "app": dice.choice("ab")}
            if imported:
                labels |= {"multicluster.kubernetes.io/service-name": name,
                           "multicluster.kubernetes.io/source-cluster": dice.choice(("east", "west"))}  # fmt: skip
            endpoints = [_endpoint(dice, number, part, i, six=six) for i in range(dice.randrange(4))]
            slices.append(slice_of(f"{name}-{part}", name, *endpoints, namespace=space, ports=ports,
                                   family="IPv6" if six else "IPv4", labels=labels))  # fmt: skip
        if imported:
            headless = services[-1]["spec"].get("clusterIP") == "None"
            imports.append({"apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceImport",
                            "metadata": {"name": name, "namespace": space},
                            "spec": {"type": "Headless" if headless else "ClusterSetIP",
                                     "ips": [] if headless else [f"10.97.0.{number}"],
                                     "ports": services[-1]["spec"]["ports"]}})  # fmt: skip
    pods += [pod(f"p{i}", f"10.8.0.{i}", namespace=dice.choice(SPACES[:2]),
                 phase=dice.choice(("Running", "Pending", "Failed"))) for i in range(8)]  # fmt: skip
    return found | {SERVICES: services, SLICES: slices, PODS: pods, IMPORTS: imports}


def _service(dice: random.Random, number: int, name: str, space: str) -> dict[str, Any]:
    ports = [{"name": n, "protocol": dice.choice(("TCP", "UDP")), "port": 80 + i} for i, n in
             enumerate(dice.sample(PORT_NAMES, dice.randrange(1, 3)))]  # fmt: skip
    if dice.random() < 0.2:
        ports = [{"protocol": "TCP", "port": 80}]
    labels = {"app": dice.choice("ab")}
    match dice.choice(("cluster", "cluster", "headless", "headless", "name", "lb")):
        case "headless":
            return service(name, "None", namespace=space, ports=ports, labels=labels)
        case "name":
            target = dice.choice(
                ("www.up.test", f"s{dice.randrange(14)}.default.svc.cluster.local", "192.0.2.1", "nothing.up.test")
            )
            return service(name, namespace=space, type="ExternalName", externalName=target, ports=ports, labels=labels)
        case "lb":
            ingress = dice.sample(
                [{"ip": f"203.0.113.{number}"}, {"ip": f"2001:db8::{number}"}, {"hostname": "v4.up.test"}], 2
            )
            return service(name, f"10.96.0.{number}", namespace=space, ports=ports, labels=labels, type="LoadBalancer",
                           status={"loadBalancer": {"ingress": ingress}})  # fmt: skip
    addresses = [f"10.96.0.{number}", f"fd00::{number:x}"]
    return service(name, *addresses[: dice.randrange(1, 3)], namespace=space, ports=ports, labels=labels)


def _endpoint(dice: random.Random, number: int, part: int, index: int, *, six: bool) -> dict[str, Any]:
    address = f"fd01::{number + 1:x}:{part + 1}:{index + 1}" if six else f"10.{number}.{part}.{index + 1}"
    more: dict[str, Any] = {}
    if dice.random() < 0.4:
        more["hostname"] = f"h{dice.randrange(3)}"
    if dice.random() < 0.4:
        more["targetRef"] = {"kind": "Pod", "name": f"pod-{number}-{index}", "namespace": "default"}
    if dice.random() < 0.6:
        more["zone"] = dice.choice(("Zone-A", "zone-b"))
    return ends(address, ready=dice.choice((True, True, True, None, False)), **more)


def scenario(seed: int, objects: dict[str, list[dict[str, Any]]]) -> Scenario:
    """A Corefile with random options, and questions about the objects and around them."""
    dice = random.Random(seed * 7 + 1)
    zones = dice.choice(("cluster.local in-addr.arpa ip6.arpa", "cluster.local other.test 10.0.0.0/8", "cluster.local"))
    options = [f"pods {dice.choice(('disabled', 'insecure', 'verified'))}", f"ttl {dice.choice((0, 5, 30, 600))}"]
    options += dice.sample(["endpoint_pod_names", "ignore empty_service", "labels app=a", "zonal",
                            dice.choice(("namespaces default", "namespace_labels team=a")),
                            dice.choice(("fallthrough", "fallthrough in-addr.arpa ip6.arpa"))], dice.randrange(4))  # fmt: skip
    if "other.test" in zones:
        options.append("multicluster other.test")
    front = dice.sample(["loadbalance", "minimal", "any", "bufsize 1232", "autopath @kubernetes",
                         "k8s_external ext.test {\n headless\n}", "k8s_external ext.test {\n ttl 9\n}"][: 6 + dice.randrange(2)],
                        dice.randrange(4))  # fmt: skip
    if sum(line.startswith("k8s_external") for line in front) > 1:
        front = front[:1]
    lines = "\n".join([*front, f"kubernetes {zones} {{", "endpoint $API", *options, "}", "forward . $UP"])
    names = _names(dice, objects)
    asked = [Question(dice.choice(names), dice.choice(KINDS)) for _ in range(500)]
    return Scenario(f"random {seed}", f".:$PORT {{\nerrors\n{lines}\n}}\n", names[:60], ("A", "SRV"), asked, variants=150,
                    ignores=("case",))  # fmt: skip


def _names(dice: random.Random, objects: dict[str, list[dict[str, Any]]]) -> list[str]:
    found: list[str] = ["cluster.local", "svc.cluster.local", "default.svc.cluster.local", "gone.svc.cluster.local",
                        "pod.cluster.local", "other.test", "ext.test", "ns1.dns.ext.test"]  # fmt: skip
    for one in objects[SERVICES]:
        name = f"{one['metadata']['name']}.{one['metadata']['namespace']}"
        for base in ("svc.cluster.local", "svc.other.test", "ext.test"):
            found.append(f"{name}.{base}")
            found += [f"_{p}._{t}.{name}.{base}" for p in PORT_NAMES[:2] for t in ("tcp", "udp")]
            found += [f"h{dice.randrange(3)}.{name}.{base}", f"h1.east.{name}.{base}", f"x.{name}.{base}"]
            found += [f"zone-a.{how}._zone.{name}.{base}" for how in ("pin", "prefer")]
        found += [_reverse(ip) for ip in one["spec"].get("clusterIPs", ()) if ip != "None" and ":" not in ip]
    for row in objects[SLICES]:
        owner = row["metadata"]["labels"]["kubernetes.io/service-name"]
        for endpoint in row["endpoints"]:
            address = endpoint["addresses"][0]
            label = address.replace(".", "-").replace(":", "-")
            found.append(f"{label}.{owner}.{row['metadata']['namespace']}.svc.cluster.local")
            found += [_reverse(address)] if ":" not in address else []
            found += (
                [f"{endpoint['targetRef']['name']}.{owner}.default.svc.cluster.local"]
                if "targetRef" in endpoint
                else []
            )
    found += [f"10-8-0-{i}.{space}.pod.cluster.local" for i in range(8) for space in SPACES[:2]]
    dice.shuffle(found)
    return found


def _reverse(address: str) -> str:
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"
