"""What CoreDNS and Fairway are asked side by side: one cluster, and for each plugin Corefiles with its options."""

from __future__ import annotations

from typing import Any

from dns_beside import Question, Scenario
from fake_storage import NAMESPACES, PODS, SERVICES, SLICES

IMPORTS = "/apis/multicluster.x-k8s.io/v1alpha1/serviceimports"
CLUSTER = "web.default.svc.cluster.local"
UPSTREAM_NAMES = [
    "www.up.test", "v4.up.test", "alias2.up.test", "dangling.up.test", "outside.up.test", "mail.up.test",
    "text.up.test", "_sip._tcp.up.test", "nothing.up.test", "up.test", "servfail.up.test", "refused.up.test",
    "nosoa.up.test", "big.up.test", "aa.up.test", "ad.up.test", "brief.up.test", "never.up.test", "long.up.test",
    "naptr.up.test", "svcb.up.test",
]  # fmt: skip
FEW_KINDS = ("A", "AAAA", "CNAME", "TXT", "SRV", "MX", "HTTPS")


def meta(name: str, namespace: str = "default", **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": namespace, **more} if namespace else {"name": name, **more}


def service(name: str, *ips: str, namespace: str = "default", ports: Any = None, labels: Any = None, status: Any = None,
            **spec: Any) -> dict[str, Any]:  # fmt: skip
    ports = [{"name": "http", "protocol": "TCP", "port": 80}] if ports is None else ports
    found: dict[str, Any] = {"type": "ClusterIP", "ports": ports, **spec}
    if ips:
        found |= {"clusterIP": ips[0], "clusterIPs": list(ips)}
    one = {"apiVersion": "v1", "kind": "Service", "metadata": meta(name, namespace, labels=labels or {}), "spec": found}
    return one | ({"status": status} if status else {})


def ends(*addresses: str, ready: bool | None = True, **more: Any) -> dict[str, Any]:
    return {"addresses": list(addresses), "conditions": {} if ready is None else {"ready": ready}, **more}


def slice_of(
    name: str, service_name: str, *endpoints: dict[str, Any], namespace: str = "default", ports: Any = None,
    family: str = "IPv4", labels: Any = None,
) -> dict[str, Any]:  # fmt: skip
    labels = {"kubernetes.io/service-name": service_name} if labels is None else labels
    ports = [{"name": "http", "protocol": "TCP", "port": 8080}] if ports is None else ports
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta(name, namespace, labels=labels),
            "addressType": family, "ports": ports, "endpoints": list(endpoints)}  # fmt: skip


def pod(name: str, *ips: str, namespace: str = "default", phase: str = "Running", **more: Any) -> dict[str, Any]:
    status = {"phase": phase, "podIP": ips[0] if ips else "", "podIPs": [{"ip": ip} for ip in ips]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta(name, namespace, **more), "status": status}


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta(name, "", labels=labels)}


DNS_PORTS = [
    {"name": "dns", "protocol": "UDP", "port": 53}, {"name": "dns-tcp", "protocol": "TCP", "port": 53},
    {"name": "metrics", "protocol": "TCP", "port": 9153},
]  # fmt: skip
OBJECTS: dict[str, list[dict[str, Any]]] = {
    NAMESPACES: [namespace("default"), namespace("kube-system"), namespace("prod", team="a"), namespace("empty")],
    SERVICES: [
        service("web", "10.96.0.2", "fd00::2", labels={"app": "web"}),
        service("one", "10.96.0.3"),
        service("six", "fd00::6"),
        service("kube-dns", "10.96.0.10", namespace="kube-system", ports=DNS_PORTS),
        service("multi", "10.96.0.4", ports=[*DNS_PORTS, {"name": "same", "protocol": "TCP", "port": 53}]),
        service("unnamed", "10.96.0.5", ports=[{"port": 8443, "protocol": "TCP"}]),
        service("portless", "10.96.0.9", ports=[]),
        service("empty", "10.96.0.7"),
        service("peers", "None"),
        service("db", "None", ports=[{"name": "pg", "protocol": "TCP", "port": 5432}]),
        service("both", "None"),
        service("bare", "None", ports=[]),
        service("unready", "None"),
        service("lonely", "None"),
        service("crowd", "None"),
        service("ext", type="ExternalName", externalName="www.up.test", ports=[]),
        service("ext-dot", type="ExternalName", externalName="alias.up.test.", ports=[]),
        service("ext-in", type="ExternalName", externalName="web.default.svc.cluster.local", ports=[]),
        service("ext-peers", type="ExternalName", externalName="peers.default.svc.cluster.local", ports=[]),
        service("ext-chain", type="ExternalName", externalName="ext-in.default.svc.cluster.local", ports=[]),
        service("ext-chain-out", type="ExternalName", externalName="ext.default.svc.cluster.local", ports=[]),
        service("ext-loop", type="ExternalName", externalName="ext-loop.default.svc.cluster.local", ports=[]),
        service("ext-a", type="ExternalName", externalName="ext-b.default.svc.cluster.local", ports=[]),
        service("ext-b", type="ExternalName", externalName="ext-a.default.svc.cluster.local", ports=[]),
        service("ext-gone", type="ExternalName", externalName="gone.default.svc.cluster.local", ports=[]),
        service("ext-nx", type="ExternalName", externalName="nothing.up.test", ports=[]),
        service("ext-fail", type="ExternalName", externalName="servfail.up.test", ports=[]),
        service("ext-ip", type="ExternalName", externalName="192.0.2.44", ports=[]),
        service("ext-caps", type="ExternalName", externalName="WWW.Up.Test", ports=[]),
        service("ext-ports", type="ExternalName", externalName="www.up.test"),
        service("lb", "10.96.1.1", type="LoadBalancer",
                status={"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}, {"ip": "2001:db8::5"}]}}),
        service("lb-host", "10.96.1.2", type="LoadBalancer",
                status={"loadBalancer": {"ingress": [{"hostname": "www.up.test"}]}}),
        service("lb-two", "10.96.1.4", type="LoadBalancer", externalIPs=["203.0.113.9"],
                ports=[{"name": "a", "protocol": "TCP", "port": 1}, {"name": "b", "protocol": "UDP", "port": 2}],
                status={"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}, {"hostname": "v4.up.test"}]}}),
        service("extip", "10.96.1.3", externalIPs=["203.0.113.7", "203.0.113.8", "2001:db8::7"]),
        service("web", "10.96.2.2", namespace="prod", labels={"app": "web"}),
        service("stray", "10.96.2.3", namespace="nowhere"),
        service("svc", "10.96.0.31"),
        service("pod", "10.96.0.32"),
    ],
    SLICES: [
        slice_of("web-1", "web", ends("10.1.0.1"), ends("10.1.0.2", ready=False), ends("10.1.0.3", ready=None)),
        slice_of("web-6", "web", ends("fd01::1"), family="IPv6"),
        slice_of("one-1", "one", ends("10.1.0.9")),
        slice_of("multi-1", "multi", ends("10.1.0.10"), ports=DNS_PORTS),
        slice_of("dns-1", "kube-dns", ends("10.1.9.1"), namespace="kube-system", ports=DNS_PORTS),
        slice_of("peers-1", "peers", ends("10.1.1.1", hostname="peer-0"), ends("10.1.1.2", hostname="peer-1"),
                 ends("10.1.1.3", targetRef={"kind": "Pod", "name": "peers-xyz", "namespace": "default"})),
        slice_of("peers-2", "peers", ends("10.1.1.4", hostname="peer-0"), ends("10.1.1.2", hostname="peer-1")),
        slice_of("db-1", "db", ends("10.1.2.1", hostname="db-0"), ends("10.1.2.2"),
                 ports=[{"name": "pg", "protocol": "TCP", "port": 5432}, {"name": "pg-udp", "protocol": "UDP", "port": 5433},
                        {"name": "", "protocol": "TCP", "port": 1}]),
        slice_of("db-2", "db", ends("10.1.2.3"), ports=[{"name": "other", "protocol": "TCP", "port": 7}]),
        slice_of("both-4", "both", ends("10.1.3.1", hostname="b-0")),
        slice_of("both-6", "both", ends("fd01::3:1", hostname="b-0"), ends("fd01::"), family="IPv6"),
        slice_of("bare-1", "bare", ends("10.1.4.1"), ports=[]),
        slice_of("unready-1", "unready", ends("10.1.5.1", ready=False)),
        slice_of("crowd-1", "crowd", *(ends(f"10.2.{i // 250}.{i % 250 + 1}") for i in range(600))),
        slice_of("web-p", "web", ends("10.1.6.1"), namespace="prod"),
        slice_of("orphan-1", "nobody", ends("10.1.7.1")),
        slice_of("unlabelled", "x", ends("10.1.7.2"), labels={}),
    ],
    PODS: [
        pod("a", "10.1.0.1"), pod("b", "10.1.0.77", namespace="prod"), pod("six", "fd01::77"),
        pod("dual", "10.1.0.78", "fd01::78"), pod("done", "10.1.0.80", phase="Succeeded"),
        pod("wait", "10.1.0.81", phase="Pending"), pod("going", "10.1.0.82", deletionTimestamp="2026-01-01T00:00:00Z",
                                                       deletionGracePeriodSeconds=30, finalizers=["a/b"]),
        pod("client", "127.0.0.1", namespace="prod"),
    ],
}  # fmt: skip
NAMES = [
    *(f"{s}.default.svc.cluster.local" for s in (
        "web", "one", "six", "multi", "unnamed", "portless", "empty", "peers", "db", "both", "bare", "unready", "lonely",
        "ext", "ext-dot", "ext-in", "ext-peers", "ext-chain", "ext-chain-out", "ext-loop", "ext-a", "ext-gone",
        "ext-nx", "ext-fail", "ext-ip", "ext-caps", "ext-ports", "lb", "lb-host", "extip", "nosuch", "svc", "pod")),
    "kube-dns.kube-system.svc.cluster.local", "web.prod.svc.cluster.local", "stray.nowhere.svc.cluster.local",
    "_http._tcp.web.default.svc.cluster.local", "_http._udp.web.default.svc.cluster.local",
    "_dns._udp.multi.default.svc.cluster.local", "_same._tcp.multi.default.svc.cluster.local",
    "_dns-tcp._tcp.multi.default.svc.cluster.local", "_8443._tcp.unnamed.default.svc.cluster.local",
    "_pg._tcp.db.default.svc.cluster.local", "_pg._udp.db.default.svc.cluster.local",
    "_other._tcp.db.default.svc.cluster.local", "_http._tcp.peers.default.svc.cluster.local",
    "http.tcp.web.default.svc.cluster.local", "_http.web.default.svc.cluster.local", "_.._tcp.web.default.svc.cluster.local"[:0]
    or "_http._tcp.ext.default.svc.cluster.local", "_http._tcp.ext-ports.default.svc.cluster.local",
    "peer-0.peers.default.svc.cluster.local", "peer-1.peers.default.svc.cluster.local",
    "10-1-1-3.peers.default.svc.cluster.local", "peers-xyz.peers.default.svc.cluster.local",
    "db-0.db.default.svc.cluster.local", "10-1-2-2.db.default.svc.cluster.local",
    "b-0.both.default.svc.cluster.local", "fd01--0.both.default.svc.cluster.local", "fd01--.both.default.svc.cluster.local",
    "10-1-0-1.web.default.svc.cluster.local", "fd01--1.web.default.svc.cluster.local",
    "10-1-0-2.web.default.svc.cluster.local", "10-1-7-1.nobody.default.svc.cluster.local",
    "x.y.web.default.svc.cluster.local", "a.b.c.web.default.svc.cluster.local", "*.default.svc.cluster.local",
    "web.*.svc.cluster.local", "*.web.default.svc.cluster.local",
    "10-1-0-1.default.pod.cluster.local", "10-1-0-77.prod.pod.cluster.local", "10-1-0-77.default.pod.cluster.local",
    "fd01--77.default.pod.cluster.local", "10-1-0-78.default.pod.cluster.local", "fd01--78.default.pod.cluster.local",
    "10-1-0-80.default.pod.cluster.local", "10-1-0-81.default.pod.cluster.local", "10-1-0-82.default.pod.cluster.local",
    "1-2-3.default.pod.cluster.local", "no.default.pod.cluster.local", "10-1-0-1.nowhere.pod.cluster.local",
    "x.10-1-0-1.default.pod.cluster.local", "a.b.10-1-0-1.default.pod.cluster.local", "default.pod.cluster.local",
    "pod.cluster.local", "svc.cluster.local", "default.svc.cluster.local", "nowhere.svc.cluster.local",
    "empty.svc.cluster.local", "cluster.local", "dns-version.cluster.local", "x.dns-version.cluster.local",
    "ns.dns.cluster.local", "dns.cluster.local", "x.ns.dns.cluster.local", "hostmaster.cluster.local", "other.cluster.local",
    "_acme-challenge.web.default.svc.cluster.local", "local", "notcluster.local",
    "2.0.96.10.in-addr.arpa", "1.0.1.10.in-addr.arpa", "2.0.1.10.in-addr.arpa", "2.1.1.10.in-addr.arpa",
    "4.1.1.10.in-addr.arpa", "1.7.1.10.in-addr.arpa", "3.2.96.10.in-addr.arpa", "3.0.96.10.in-addr.arpa",
    "9.9.9.9.in-addr.arpa", "0.96.10.in-addr.arpa", "in-addr.arpa", "ip6.arpa",
    "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa",
    "x.y.in-addr.arpa", "1.2.0.96.10.in-addr.arpa",
]  # fmt: skip
ZONES = "cluster.local in-addr.arpa ip6.arpa"


def cluster(options: str = "", *, zones: str = ZONES, before: str = "", after: str = "", keys: str = ".:$PORT") -> str:
    return f"{keys} {{\n errors\n{before}\n kubernetes {zones} {{\n  endpoint $API\n{options}\n }}\n{after}\n}}\n"


NO_CAPS = [name for name in NAMES if "ext-caps" not in name]
"""Where a cache keeps the spelling of whoever asked first, and CoreDNS asks more often than it needs to."""
THROUGH = " fallthrough in-addr.arpa ip6.arpa"
KUBERNETES = [
    Scenario("kubeadm", cluster(f"pods insecure\n{THROUGH}\nttl 30", after=" cache 30 {\n disable success cluster.local\n"
             "disable denial cluster.local\n}\n loadbalance\n forward . $UP"), NO_CAPS, variants=300, ignores=("case",),
             slack=3),
    Scenario("kubernetes alone", cluster(), NAMES, variants=300),
    Scenario("pods verified", cluster(f"pods verified\n{THROUGH}", after="forward . $UP"), NAMES, variants=100),
    Scenario("endpoint pod names", cluster("endpoint_pod_names\nttl 0"), NAMES),
    Scenario("namespaces", cluster("namespaces default prod\npods insecure"), NAMES),
    Scenario("namespace labels", cluster("namespace_labels team=a"), NAMES),
    Scenario("labels", cluster("labels app=web"), NAMES),
    Scenario("no endpoints", cluster("noendpoints"), NAMES),
    Scenario("ignore empty service", cluster("ignore empty_service"), NAMES),
    Scenario("fallthrough for all", cluster("fallthrough\npods insecure", after="forward . $UP"), NAMES),
    Scenario("two forward zones", cluster(zones="cluster.local other.local 10.96.0.0/16 fd00::/64"),
             [*NAMES, "web.default.svc.other.local", "ns.dns.other.local", "ext-in.default.svc.other.local"]),
    Scenario("zone within a zone", cluster(zones="k8s.up.test", after="forward . $UP"),
             [n.replace("cluster.local", "k8s.up.test") for n in NAMES] + ["www.up.test"]),
    Scenario("cached", cluster("ttl 600", after="cache 300\nforward . $UP"), NO_CAPS * 2, FEW_KINDS, variants=300, slack=1),
    Scenario("minimal answers", cluster(before="minimal", after="forward . $UP"), [*NAMES, *UPSTREAM_NAMES]),
    Scenario("zonal", cluster("zonal"), NAMES[:40]),
    Scenario("large answers", cluster(), (), (), [
        Question("crowd.default.svc.cluster.local", kind, tcp, edns)
        for kind in ("A", "AAAA", "SRV") for tcp in (False, True) for edns in (None, {"size": 4096}, {"size": 1232}, {"size": 65535})
        ], ignores=("answer", "additional")),
    Scenario("transfers", cluster(before="transfer {\n to *\n}", after="k8s_external ext.test {\n headless\n}"), (), (), [
        Question(zone, kind, tcp) for zone in ("cluster.local", "10.in-addr.arpa", "in-addr.arpa", "x.cluster.local", "up.test")
        for kind in ("AXFR", "IXFR") for tcp in (False, True)]),
    Scenario("external names", cluster(after="k8s_external ext.test lb.test {\n apex up\n ttl 7\n}\nforward . $UP"), [
        n.replace("svc.cluster.local", z) for n in NAMES for z in ("ext.test",)] + [
        "ext.test", "up.ext.test", "ns1.up.ext.test", "x.up.ext.test", "a.ns1.up.ext.test", "lb-two.default.lb.test",
        "_a._tcp.lb-two.default.ext.test", "_b._udp.lb-two.default.ext.test", "lb-two.default.ext.test",
        "1.113.0.203.in-addr.arpa", "7.113.0.203.in-addr.arpa", "default.ext.test", "nowhere.ext.test",
        "peer-0.peers.default.ext.test", "hostmaster.up.ext.test"]),
    Scenario("external names, headless", cluster(after="k8s_external ext.test 203.in-addr.arpa {\n headless\n fallthrough\n}\nforward . $UP"), [
        n.replace("svc.cluster.local", "ext.test") for n in NAMES] + [
        "ext.test", "dns.ext.test", "ns1.dns.ext.test", "default.ext.test", "peer-0.peers.default.ext.test",
        "_pg._tcp.db.default.ext.test", "lb-two.default.ext.test", "1.113.0.203.in-addr.arpa", "9.113.0.203.in-addr.arpa"]),
    Scenario("autopath", cluster("pods verified", before="autopath @kubernetes", after="forward . $UP"), [
        f"{n}.{s}" for n in ("www.up.test", "web", "web.default", "web.default.svc", "nothing.up.test", "ext.default",
                             "servfail.up.test", "web.default.svc.cluster.local", "peers.default")
        for s in ("prod.svc.cluster.local", "default.svc.cluster.local", "svc.cluster.local", "cluster.local")] +
        ["prod.svc.cluster.local", "www.up.test"], FEW_KINDS),
    Scenario("header, chaos, whoami", ".:$PORT {\n whoami\n}\n", ["who.test"], ("A", "AAAA", "SRV"), ignores=("additional",)),
]  # fmt: skip


def forwarding(plugins: str, *, before: str = "", keys: str = ".:$PORT") -> str:
    return f"{keys} {{\n errors\n{before}\n{plugins}\n}}\n"


PLAIN = "forward . $UP"
FORWARD = [
    Scenario("forward", forwarding(PLAIN), UPSTREAM_NAMES, variants=200),
    Scenario("forward over TCP", forwarding("forward . $UP {\n force_tcp\n}"), [*UPSTREAM_NAMES, "gone.up.test"]),
    Scenario("forward by UDP first", forwarding("forward . $UP {\n prefer_udp\n}"), UPSTREAM_NAMES, variants=100),
    Scenario("forward but not all", forwarding("forward up.test $UP {\n except a.up.test v4.up.test\n}"),
             [*UPSTREAM_NAMES, "x.a.up.test", "www.other.test"], FEW_KINDS),
    Scenario("failover", forwarding("forward . $UP $UP2 {\n policy sequential\n failover SERVFAIL REFUSED\n max_fails 0\n}"),
             [*UPSTREAM_NAMES, "who.up.test"], FEW_KINDS),
    Scenario("next", forwarding("forward up.test $UP {\n next NXDOMAIN\n}\nforward . $UP2 {\n}"),
             [*UPSTREAM_NAMES, "who.up.test", "who.other.test"], FEW_KINDS),
    Scenario("next on nodata", forwarding("forward up.test $UP {\n next_on_nodata\n}\nforward . $UP2"),
             [*UPSTREAM_NAMES, "who.up.test"], FEW_KINDS),
    Scenario("acl, the first that decides", forwarding(PLAIN, before="acl v4.up.test {\n allow net 127.0.0.0/8\n}\nacl {\n block\n}"), UPSTREAM_NAMES[:3], ("A", "MX"), ignores=("do",)),
    Scenario("an upstream by name", forwarding("forward . here.up.test:$UP2PORT {\n resolver $UP\n source_address 127.0.0.1\n max_age 1m\n force_tcp\n}"), ["who.up.test", "www.up.test"], ("A",)),
    Scenario("a dead upstream", forwarding("forward . 127.0.0.1:1 {\n max_fails 0\n}"), ["www.up.test"], ("A",), variants=3),
    Scenario("all unhealthy", forwarding("forward . 127.0.0.1:1 {\n failfast_all_unhealthy_upstreams\n}"), ["www.up.test"],
             ("A",), variants=3),
    Scenario("cache", forwarding(PLAIN, before="cache"), UPSTREAM_NAMES * 2, FEW_KINDS, variants=200, slack=1),
    Scenario("cache limits", forwarding(PLAIN, before="cache 45 {\n success 100 20 10\n denial 100 15 3\n servfail 0\n}"),
             UPSTREAM_NAMES * 2, FEW_KINDS, variants=100, slack=1),
    Scenario("cache with exceptions", forwarding(PLAIN, before="cache {\n disable success v4.up.test www.up.test\n"
             " disable denial\n keepttl\n}"), UPSTREAM_NAMES * 2, FEW_KINDS, variants=100, slack=1),
    Scenario("cache for a zone", forwarding(PLAIN, before="cache 30 v4.up.test mail.up.test"), UPSTREAM_NAMES * 2, FEW_KINDS, slack=1),
    Scenario("cache ages", forwarding(PLAIN, before="cache {\n success 100 60 1\n denial 100 60 1\n}"), (), (), [
        Question(n, "A", pause=p) for n in ("www.up.test", "brief.up.test", "nothing.up.test", "www.up.test") for p in (0, 1.3)], slack=1),
    Scenario("stale", forwarding(PLAIN, before="cache {\n success 100 1 1\n denial 100 1 1\n serve_stale 1h immediate\n}"), (), (), [
        Question(n, "A", pause=p) for n in ("www.up.test", "nothing.up.test", "servfail.up.test") for p in (0, 1.4, 0.3)]),
    Scenario("stale, verified", forwarding(PLAIN, before="cache {\n success 100 1 1\n serve_stale 1h verify\n}"), (), (), [
        Question("www.up.test", "A", pause=p) for p in (0, 1.4, 0.3)]),
    Scenario("stale with a time of its own", forwarding(PLAIN, before="cache {\n success 100 1 1\n serve_stale 1h immediate 9s\n}"),
             (), (), [Question("www.up.test", "A", pause=p) for p in (0, 1.4, 0.3)]),
    Scenario("any", forwarding(PLAIN, before="any"), UPSTREAM_NAMES[:4], ("A", "ANY")),
    Scenario("bufsize", forwarding(PLAIN, before="bufsize 600"), ["big.up.test", "www.up.test"], ("TXT", "A"), variants=80),
    Scenario("nsid", forwarding(PLAIN, before="nsid server one"), ["www.up.test"], ("A",), variants=60),
    Scenario("dns64", forwarding(PLAIN, before="dns64 {\n allow_ipv4\n}"), UPSTREAM_NAMES, ("A", "AAAA", "PTR", "MX")),
    Scenario("dns64 with a prefix for all", forwarding(PLAIN, before="dns64 {\n prefix 64:1337::/64\n translate_all\n allow_ipv4\n}"),
             UPSTREAM_NAMES, ("A", "AAAA")),
    Scenario("dns64 for others only", forwarding(PLAIN, before="dns64"), UPSTREAM_NAMES, ("A", "AAAA")),
    Scenario("loadbalance", forwarding(PLAIN, before="loadbalance round_robin {\n prefer 192.0.2.2/32\n}"), UPSTREAM_NAMES, FEW_KINDS),
    Scenario("minimal", forwarding(PLAIN, before="minimal"), UPSTREAM_NAMES),
    Scenario("local", forwarding(PLAIN, before="local"), [
        "localhost", "x.localhost", "localhost.up.test", "localhost.x.y", "127.in-addr.arpa", "1.0.0.127.in-addr.arpa", "0.in-addr.arpa",
        "255.in-addr.arpa", "5.0.0.127.in-addr.arpa", "1.255.in-addr.arpa", "www.up.test"]),
    Scenario("chaos", forwarding(PLAIN, before="chaos fairway-test b a") + "hostname.bind:$PORT {\n chaos\n}\n", (), (), [
        Question(name, kind, tcp, edns, rclass) for name in ("version.bind", "Version.Server", "authors.bind", "hostname.bind", "id.server",
                                                            "www.up.test", "x.hostname.bind")
        for kind in ("TXT", "A") for rclass in ("CH", "IN") for tcp in (False, True) for edns in (None, {"size": 1232})]),
    Scenario("chaos without a forward", ".:$PORT {\n chaos v\n}\n", (), (), [
        Question(name, "TXT", rclass=rclass) for name in ("version.bind", "other.bind") for rclass in ("CH", "IN", "HS")]),
    Scenario("local without prefix", forwarding(PLAIN, before="local {\n localhost_prefix off\n}"), [
        "localhost", "x.localhost", "localhost.up.test", "localhost.x.y", "1.0.0.127.in-addr.arpa"]),
    Scenario("acl", forwarding(PLAIN, before="acl {\n allow type A net 127.0.0.1\n block type AAAA\n filter type MX net 127.0.0.0/8\n"
             " drop type TXT net *\n block type ANY\n}"), UPSTREAM_NAMES[:3], ("A", "AAAA", "MX", "TXT", "SRV"), variants=10, patience=0.4, ignores=("do",)),
    Scenario("acl for a zone", forwarding(PLAIN, before="acl v4.up.test {\n block\n}\nacl mail.up.test {\n allow type MX\n block\n}"),
             UPSTREAM_NAMES, FEW_KINDS, ignores=("do",)),
    Scenario("blocks by zone", ".:$PORT {\n forward . $UP\n}\nup.test:$PORT {\n forward . $UP2\n}\na.up.test:$PORT {\n}\n"
             "10.0.0.0/8:$PORT 192.168.0.0/23:$PORT {\n forward . $UP2\n}\n", [
             "who.up.test", "who.a.up.test", "who.other.test", "1.0.0.10.in-addr.arpa", "who.0.0.10.in-addr.arpa",
             "who.1.168.192.in-addr.arpa", "who.2.168.192.in-addr.arpa", "up.test", "a.up.test"],
             ("A", "DS", "SOA")),
    Scenario("no root block", "up.test:$PORT {\n forward . $UP\n}\n", ["www.up.test", "www.other.test", "test"], ("A", "ANY"),
             questions=[Question("www.up.test", "A", rclass="CH"), Question("version.bind", "TXT", rclass="CH")]),
    Scenario("snippets and variables", "(common) {\n errors\n forward . {$TARGET}\n}\n{$ZONE}:$PORT {\n import common\n}\n"
             "import more.conf\n", ["www.up.test", "www.two.test", "x.y"], ("A",), files={"more.conf": "two.test:$PORT {\n any\n}\n"},
             env={"TARGET": "$UP", "ZONE": "up.test"}),
]  # fmt: skip

HOSTS = (
    "10.9.9.1 Db.up.test db\n10.9.9.2 db.up.test\nfd09::9 db.up.test six.up.test\n10.9.9.3 *.wild.up.test\n# no\n"
    "127.0.0.1 localhost\n10.9.9.4 www.up.test # comment\nnonsense x\n"
)
HOST_NAMES = ["db.up.test", "db", "six.up.test", "a.wild.up.test", "b.a.wild.up.test", "wild.up.test", "www.up.test",
              "nothing.up.test", "localhost", "1.9.9.10.in-addr.arpa", "4.9.9.10.in-addr.arpa", "9.9.9.9.in-addr.arpa",
              "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.9.0.d.f.ip6.arpa", "other.test"]  # fmt: skip
ZONE_FILE = """
$ORIGIN zone.test.
$TTL 1h
@ IN SOA ns1 admin.zone.test. 5 7200 1800 86400 30
@ NS ns1
@ NS ns2.other.test.
@ MX 10 mail
@ TXT "at the top"
@ CAA 0 issue "ca.test"
ns1 A 10.7.0.1
mail A 10.7.0.2
mail AAAA fd07::2
www A 10.7.0.3
www A 10.7.0.4
alias CNAME www
alias2 CNAME alias
out CNAME www.up.test.
out-nx CNAME nothing.up.test.
out-nodata CNAME v4.up.test.
dangling CNAME nothing
self CNAME self
*.wild A 10.7.0.5
*.wild TXT "wild"
x.y.wild A 10.7.0.6
*.cwild CNAME www
a.b.c A 10.7.0.7
child NS ns.child
child NS ns.elsewhere.test.
child DS 1 8 2 0000000000000000000000000000000000000000000000000000000000000000
ns.child A 10.7.1.1
dname DNAME target
www.target A 10.7.0.8
odname DNAME up.test.
_sip._tcp SRV 1 2 5060 mail
_sip._tcp SRV 2 2 5061 www
svcb HTTPS 1 www alpn=h2
cchild CNAME www.child
Caps A 10.7.0.9
"""
FILE_NAMES = [
    *(f"{n}.zone.test" for n in (
        "ns1", "mail", "www", "alias", "alias2", "out", "out-nx", "out-nodata", "dangling", "self", "wild", "a.wild", "b.a.wild",
        "x.y.wild", "z.y.wild", "q.cwild", "c", "b.c", "a.b.c", "x.a.b.c", "child", "ns.child", "x.child",
        "dname", "www.dname", "no.dname", "www.odname", "no.odname", "_sip._tcp", "_tcp", "svcb", "cchild", "nothing",
        "caps", "*.wild")), "zone.test", "other.test", "www.up.test",
]  # fmt: skip
FILE_KINDS = ("A", "AAAA", "NS", "SOA", "MX", "TXT", "CNAME", "SRV", "DS", "DNAME", "ANY", "HTTPS")
FILES = [
    Scenario("hosts from a file", forwarding(f"hosts $FOLDER/hosts {{\n fallthrough\n}}\n{PLAIN}"), HOST_NAMES, files={"hosts": HOSTS}),
    Scenario("hosts without fallthrough", forwarding("hosts $FOLDER/hosts up.test {\n ttl 77\n}"), HOST_NAMES, files={"hosts": HOSTS}),
    Scenario("hosts inline", forwarding(f"hosts {{\n 10.9.9.5 in.up.test db.up.test\n 10.9.9.6 in.up.test\n fd09::5 in.up.test\n no_reverse\n fallthrough up.test\n}}\n{PLAIN}"),
             [*HOST_NAMES, "in.up.test", "5.9.9.10.in-addr.arpa"]),
    Scenario("hosts inline and from a file", forwarding(f"hosts $FOLDER/hosts up.test in-addr.arpa {{\n 10.9.9.5 db.up.test in.up.test\n fallthrough in-addr.arpa\n}}\n{PLAIN}"),
             [*HOST_NAMES, "in.up.test", "5.9.9.10.in-addr.arpa"], files={"hosts": HOSTS}),
    Scenario("a zone file", forwarding("file $FOLDER/db zone.test"), FILE_NAMES, FILE_KINDS, files={"db": ZONE_FILE}, variants=200),
    Scenario("a zone file, then forward", forwarding(f"file $FOLDER/db zone.test {{\n fallthrough\n}}\n{PLAIN}"), FILE_NAMES, FILE_KINDS,
             files={"db": ZONE_FILE}),
    Scenario("a zone file transferred", forwarding("file $FOLDER/db zone.test\ntransfer zone.test {\n to *\n}"), (), (),
             [Question("zone.test", kind, tcp) for kind in ("AXFR", "IXFR") for tcp in (False, True)], files={"db": ZONE_FILE}),
    Scenario("a file within another's zone", forwarding("file $FOLDER/db zone.test\nfile $FOLDER/inner www.zone.test wild.zone.test"),
             FILE_NAMES, FILE_KINDS, files={"db": ZONE_FILE, "inner": "@ 60 SOA ns a 1 2 3 4 5\n@ 60 NS ns\na 60 A 10.7.9.9\n"}),
    Scenario("weights", forwarding("file $FOLDER/db zone.test", before="loadbalance weighted $FOLDER/weights {\n reload 0s\n}"), FILE_NAMES,
             FILE_KINDS, files={"db": ZONE_FILE, "weights": "www.zone.test\n10.7.0.3 5\n10.7.0.4 1\n"}),
    Scenario("a zone file that is not there", forwarding("file $FOLDER/gone zone.test"), FILE_NAMES[:4], ("A", "SOA", "ANY")),
    Scenario("transfers by the longest zone", forwarding("file $FOLDER/db zone.test\ntransfer . {\n to 10.0.0.1\n}\n"
             "transfer zone.test {\n to 127.0.0.1:5353 10.0.0.1\n source 127.0.0.1\n}"), (), (),
             [Question("zone.test", kind, True) for kind in ("AXFR", "IXFR")], files={"db": ZONE_FILE}),
    Scenario("autopath from a file", forwarding(f"hosts {{\n 10.9.9.5 in.a.test\n fallthrough\n}}\n{PLAIN}",
             before="autopath $FOLDER/resolv.conf"), [f"{n}.{s}" for n in ("in", "www", "www.up.test", "nothing", "v4")
             for s in ("a.test", "up.test")], FEW_KINDS, files={"resolv.conf": "nameserver 10.0.0.1\nsearch a.test up.test\n"}, ignores=("question",)),
    Scenario("a transfer for others", forwarding("file $FOLDER/db zone.test\ntransfer {\n to 10.0.0.1\n}"), (), (),
             [Question("zone.test", "AXFR", True)], files={"db": ZONE_FILE}),
]  # fmt: skip


def rewriting(*rules: str, after: str = PLAIN) -> str:
    lines = "\n".join(f" rewrite {rule}" for rule in rules)
    return f".:$PORT {{\n errors\n{lines}\n{after}\n}}\n"


SHOP = ["www.shop.test", "alias.shop.test", "alias2.shop.test", "mail.shop.test", "nothing.shop.test", "v4.shop.test",
        "shop.test", "www.up.test", "WWW.Shop.Test", "_sip._tcp.shop.test", "outside.shop.test", "servfail.shop.test"]  # fmt: skip
REWRITES = [
    Scenario("rewrite exact", rewriting("name www.shop.test www.up.test"), SHOP, FEW_KINDS),
    Scenario("rewrite exact alias", rewriting("name exact alias.shop.test alias2.up.test."), SHOP, FEW_KINDS),
    Scenario("rewrite suffix", rewriting("name suffix .shop.test .up.test"), SHOP, FEW_KINDS),
    Scenario("rewrite suffix, answer auto", rewriting("name suffix .shop.test .up.test answer auto"), SHOP, FEW_KINDS),
    Scenario("rewrite suffix without dots", rewriting("name suffix shop.test up.test answer auto"), SHOP),
    Scenario("rewrite prefix", rewriting("name prefix my- w answer auto"), ["my-ww.up.test", "my-nothing.up.test", "www.up.test"], FEW_KINDS),
    Scenario("rewrite substring", rewriting("name substring shop up answer auto"), SHOP, FEW_KINDS),
    Scenario("rewrite regex", rewriting(r"name regex (.*)\.shop\.test {1}.up.test answer auto"), SHOP, FEW_KINDS),
    Scenario("rewrite regex, answer name", rewriting(
        r"stop {" "\n" r"  name regex (.*)\.shop\.test\.? {1}.up.test" "\n" r"  answer name (.*)\.up\.test {1}.shop.test" "\n }"), SHOP, FEW_KINDS),
    Scenario("rewrite regex, answer value", rewriting(
        r"stop {" "\n" r"  name regex (.*)\.shop\.test {1}.up.test" "\n" r"  answer name (.*)\.up\.test {1}.shop.test" "\n"
        r"  answer value (.*)\.up\.test {1}.shop.test" "\n }"), SHOP),
    Scenario("rewrite regex, classes", rewriting(r"name regex ^([[:alpha:]]+[[:digit:]]*)\.\Qshop.test\E\.\z {1}.up.test. answer auto"), SHOP, FEW_KINDS),
    Scenario("rewrite anchored", rewriting(r"name regex ^(.*)\.shop\.test\.$ {1}.up.test. answer auto"), SHOP, FEW_KINDS),
    Scenario("rewrite continue", rewriting("continue name suffix .shop.test .mid.test", "continue name suffix .mid.test .up.test"), SHOP, FEW_KINDS, ignores=("question",)),
    Scenario("rewrite continue auto", rewriting("continue name suffix .shop.test .mid.test answer auto", "stop name suffix .mid.test .up.test answer auto", "name www.up.test v4.up.test"), SHOP, FEW_KINDS),
    Scenario("rewrite stop", rewriting("stop name www.shop.test www.up.test", "name www.up.test v4.up.test"), SHOP, FEW_KINDS),
    Scenario("rewrite type", rewriting("type AAAA A", "type ANY HINFO"), UPSTREAM_NAMES[:6], ("A", "AAAA", "ANY")),
    Scenario("rewrite class", rewriting("class CH IN"), UPSTREAM_NAMES[:2], ("A",), [Question("www.up.test", rclass="CH")]),
    Scenario("rewrite ttl", rewriting("ttl suffix .up.test 33", "ttl www.up.test 44"), UPSTREAM_NAMES, FEW_KINDS),
    Scenario("rewrite ttl range", rewriting("continue ttl regex ^.*$ 30-50", "ttl exact www.up.test 5"), UPSTREAM_NAMES, FEW_KINDS),
    Scenario("rewrite ttl open ranges", rewriting("continue ttl prefix www 100-", "ttl substring up -70"), UPSTREAM_NAMES, FEW_KINDS),
    Scenario("rewrite rcode", rewriting("rcode suffix .up.test SERVFAIL NOERROR", "continue rcode regex ^.*$ NXDOMAIN 5"), UPSTREAM_NAMES, FEW_KINDS),
    Scenario("rewrite rcode exact", rewriting("continue rcode nothing.up.test. NXDOMAIN REFUSED"), UPSTREAM_NAMES, FEW_KINDS),
    Scenario("rewrite cname", rewriting("cname exact www.up.test. v4.up.test."), UPSTREAM_NAMES, FEW_KINDS),
    Scenario("rewrite cname suffix", rewriting("cname suffix elsewhere.test. up.test."), UPSTREAM_NAMES, FEW_KINDS),
    Scenario("rewrite cname regex", rewriting(r"cname regex (.*)\.elsewhere\.test\. {1}.up.test."), UPSTREAM_NAMES, FEW_KINDS),
    *(Scenario(f"rewrite edns0 {rule}", rewriting(f"edns0 {rule}"), ["www.up.test"], ("A",), variants=60) for rule in (
        "local set 0xffee 0x61626364", "local append 0xffed abcd", "local replace 65001 0x01", "local unset 65001",
        "nsid set", "nsid append", "nsid replace", "nsid unset", "subnet set 24 56", "subnet append 16 0 revert",
        "local set 0xffee {qname}", "local set 0xffee {client_ip} revert", "local set 0xfdea {qtype}", "local set 0xffee {protocol}",
        "local set 0xfdeb {server_port}"[:0] or "subnet unset")),
    Scenario("rewrite to the cluster", cluster(after="forward . $UP", before=
        " rewrite name suffix .shop.test .default.svc.cluster.local answer auto\n rewrite name exact db.prod.test db.default.svc.cluster.local\n"
        " rewrite name regex (.*)\\.pub\\.test {1}.default.svc.cluster.local"), [
        "web.shop.test", "peers.shop.test", "ext.shop.test", "nosuch.shop.test", "db.prod.test", "_http._tcp.web.shop.test", "db.pub.test",
        "peer-0.peers.shop.test", "ext-in.shop.test", "_pg._tcp.db.pub.test"]),
]  # fmt: skip

TEMPLATES = [
    Scenario("template", forwarding(
        "template IN A ip.test {\n match ^ip-(?P<a>[0-9]+)-(?P<b>[0-9]+)[.]ip[.]test[.]$\n"
        ' answer "{{ .Name }} 60 IN A 10.0.{{ .Group.a }}.{{ index .Match 2 }}"\n fallthrough\n}\n'
        "template IN ANY nx.test {\n rcode NXDOMAIN\n authority \"nx.test. 60 IN SOA ns.nx.test. a.nx.test. 1 2 3 4 5\"\n}\n"
        "template ANY ANY refuse.test {\n rcode REFUSED\n}\n template IN MX mx.test {\n answer \"{{ .Name }} IN MX 10 m.{{ .Zone }}\"\n"
        " additional \"m.{{ .Zone }} 5 IN A 10.1.1.1\"\n additional \"m.{{ .Zone }} 5 IN AAAA fd00::1\"\n}\n" + PLAIN),
        ["ip-3-4.ip.test", "IP-3-4.ip.test", "other.ip.test", "a.nx.test", "nx.test", "a.refuse.test", "mx.test", "a.mx.test", "www.up.test"], FEW_KINDS),
    Scenario("template, cname and no match", forwarding(
        "template IN A alias.test {\n answer \"{{ .Name }} 60 IN CNAME www.up.test.\"\n}\n"
        "template IN A strict.test {\n match ^yes[.]\n answer \"{{ .Name }} 1m IN A 10.0.0.1\"\n}\n"
        "template IN TXT say.test {\n answer \"{{ .Name }} 60 IN TXT \\\"{{ .Type }} {{ .Class }} {{ .Remote }} {{ .Zone }} {{ .Name }}\\\"\"\n}\n"
        "template IN A hex.test {\n match ^(?P<h>[a-f0-9]{2})[.]hex\n answer \"{{ .Name }} 60 IN A 10.0.0.{{ parseInt .Group.h 16 8 }}\"\n}\n"
        "template IN A ede.test {\n rcode REFUSED\n ederror 15 \"Blocked\"\n}\n"
        "template IN A bad.test {\n answer \"{{ .Name }} 60 IN A nonsense\"\n}\n" + PLAIN),
        ["x.alias.test", "yes.strict.test", "no.strict.test", "a.say.test", "ff.hex.test", "zz.hex.test", "a.ede.test", "a.bad.test"], ("A", "AAAA", "TXT"), variants=60, ignores=("do",)),
    Scenario("template logic", forwarding(
        "template IN TXT if.test {\n match ^(?P<w>[a-z]*)-?(?P<n>[0-9]*)[.]if\n"
        " answer \"{{ .Name }} 60 IN TXT {{ if eq .Group.w \\\"yes\\\" }}aye{{ else if .Group.n }}n{{ .Group.n }}{{ else }}none{{ end }}\"\n"
        " answer \"{{ .Name }} 60 IN TXT {{ .Question.Name | printf \\\"%q\\\" }}\"\n"
        " answer \"{{ .Name }} 60 IN TXT {{ len .Group.w }}{{- with .Group.n }} x{{ . }}{{ end }}\"\n}\n"
        "template IN A multi.test {\n match a[.]multi b[.]multi\n match c[.]multi\n answer \"{{ .Name }} 60 IN A 10.0.0.1\" \"{{ .Name }} 60 IN A 10.0.0.2\"\n}\n"
        "template IN AAAA {\n rcode NOERROR\n}\n" + PLAIN),
        ["yes.if.test", "no-7.if.test", "no.if.test", "a.multi.test", "c.multi.test", "d.multi.test", "www.up.test"], ("A", "AAAA", "TXT")),
]  # fmt: skip


def escaped(text: str) -> str:
    return text.replace('"', '\\"')


GO_TEMPLATES = (
    "{{ range .Match }}{{ . }},{{ end }}", "{{ range $i, $m := .Match }}{{ $i }}={{ $m }};{{ end }}",
    "{{ range $k, $v := .Group }}{{ $k }}={{ $v }};{{ end }}", "{{ range .Var }}x{{ else }}none{{ end }}",
    "{{ range $m := .Match }}{{ if eq $m `7` }}{{ continue }}{{ end }}{{ $m }} {{ end }}",
    "{{ range .Match }}{{ if eq . `7` }}{{ break }}{{ end }}{{ . }} {{ end }}",
    "{{ range $i, $m := .Match }}{{ if $i }}-{{ end }}{{ len $m }}{{ end }}",
    "{{ $x := .Group.w }}{{ $x }}{{ $x = `b` }}{{ $x }}", "{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}",
    "{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "{{ with $y := .Group.n }}{{ $y }}{{ . }}{{ end }}",
    "{{ with .Group.none }}a{{ else with .Group.n }}b{{ . }}{{ else }}c{{ end }}", "{{ if $v := .Group.n }}{{ $v }}{{ end }}",
    "{{ $.Name }}", "{{ with .Group }}{{ .w }}{{ $.Type }}{{ end }}", "{{ .Group.absent }}", "{{ index .Group `absent` }}|",
    "{{ .Var }}", "{{ .Var.x }}", "{{ len .Var }}", "{{ .Match }}", "{{ .Group }}", "{{ (index .Match 1) }}", "{{ slice .Name 1 3 }}",
    "{{ slice .Match 1 2 }}", "{{ printf `%05d|%x|%v` 7 255 true }}", "{{ printf `%s %d` `a` }}", "{{ printf `%d` `a` }}",
    "{{ printf `%-4s|%4s|` `a` `b` }}", "{{ printf `%v` .Match }}", "{{ printf `%s` 5 }}", "{{ printf `%d` 5 6 }}", "{{ printf `%%%c%b` 65 5 }}",
    "{{ print 1 2 `a` 3 }}", "{{ print true 1 }}", "{{ html `<a&b>` }}", "{{ urlquery `a b&c` }}", "{{ 0x10 }} {{ 1.50 }} {{ 'a' }} {{ -3 }} {{ 1e3 }}",
    "{{ eq 1 1 }} {{ eq 1 `1` }}", "{{ eq `a` `b` `a` }}", "{{ lt 1 2 }}{{ gt 1 2 }}{{ le 2 2 }}{{ ge 1 2 }}{{ ne `a` `b` }}",
    "{{ lt `a` `b` }}", "{{ and 1 0 2 }} {{ or 0 `` `x` }} {{ not 0 }}", "{{ and .Group.none (index .Match 99) }}|", "{{ or `x` (index .Match 99) }}",
    "{{ index .Match 99 }}", "{{ parseInt `ff` 16 8 }} {{ parseInt `0377` 8 64 }}", "{{ parseInt `256` 10 8 }}", "{{ parseInt `x` 10 8 }}",
    "a {{- `b` -}} c {{/* no */}} d {{- /* no */ -}} e", "{{ `a` | printf `%s-%s` `b` | len }}", "{{ (`abc` | len) | printf `%d` }}",
    "{{ .Question.Name }} {{ .Question.Qtype }} {{ .Question.Qclass }}", "{{ .Message.RecursionDesired }} {{ .Message.Opcode }}",
    "{{ (index .Message.Question 0).Name }}", "{{ .Meta `a/b` }}|", "{{ .Regex }}", "{{ .Remote }} {{ .Zone }} {{ .Class }} {{ .Type }}",
    "{{ if and (eq .Group.w `no`) (gt (len .Group.n) 0) }}y{{ else if .Group.w }}w{{ else }}z{{ end }}", "{{ len `äb` }}", "{{ `a}}b` }}",
    "{{ .Nonsense }}", "{{ .Name.First }}", "{{ index .Name 0 }}", "{{ range 3 }}{{ . }}{{ end }}", "{{ true }}",
)  # fmt: skip
EXPRESSIONS = (
    "1 + 2 * 3", "(1 + 2) * 3", "7 / 2", "6 / 2", "7 % 3", "-7 % 3", "2 ** 3", "2 ^ 0.5", "-2 ** 2", "1.5 + 1", "0x10 + 1_000", "1e3",
    "'a' + \"b\" + `c`", "'it\\'s'", "name()", "type() + class()", "proto()", "client_ip()", "opcode()", "do()", "bufsize()", "size() > 10",
    "group('w')", "group(2)", "group(0)", "group('absent')", "group(99)", "int(group('n')) + 1", "int('x')", "float('1.5') * 2", "string(5) + '!'",
    "len(name())", "upper('aB') + lower('aB')", "trim('  x ') + '|'", "trim('xxaxx', 'x')", "split('a.b.c', '.')", "split('a.b.c', '.')[1]",
    "split('a.b.c', '.', 2)", "join(['a', 'b'], '-')", "replace('aXb', 'X', '-')", "repeat('ab', 3)", "indexOf('abc', 'c')", "lastIndexOf('abca', 'a')",
    "hasPrefix('abc', 'ab')", "trimPrefix('abc', 'ab')", "trimSuffix('abc', 'bc')", "[1, 2, 3][1]", "[1, 2, 3][-1]", "[1, 2, 3][1:]", "'abcdef'[1:3]", "[1, 2][5]",
    "{'a': 1, b: 2}.b", "{'a': 1}['a']", "{'a': 1}.x ?? 'none'", "nil ?? 'x'", "1 in [1, 2]", "3 not in [1, 2]", "'a' in {'a': 1}",
    "name() matches '^no'", "name() matches 'x$'", "name() contains 'tt'", "name() startsWith 'n'", "name() endsWith 'test.'", "not (name() contains 'tt')",
    "name() not contains 'tt'", "true and false or true", "!true || false", "not true == false", "1 < 2 && 2 <= 2", "'a' < 'b'", "1 == 1.0", "nil == nil",
    "true ? 'y' : 'n'", "false ? 1 : true ? 2 : 3", "1..4", "all([1, 2], # > 0)", "any([1, 2], {# > 1})", "none([1], # > 1)", "one([1, 2], # > 1)",
    "filter(1..6, # % 2 == 0)", "map([1, 2], # * 2)", "count([1, 2, 3], # > 1)", "find([1, 2, 3], # > 1)", "findIndex([1, 2, 3], # > 1)",
    "map([{'a': 1}, {'a': 2}], .a)", "sum([1, 2, 3])", "max(1, 5, 3)", "min([4, 2])", "abs(-3)", "ceil(1.2)", "floor(1.8)", "round(1.5)", "first([7, 8])", "last([7, 8])",
    "keys({'a': 1})", "values({'a': 1})", "reverse([1, 2])", "uniq([1, 1, 2])", "concat([1], [2])", "flatten([1, [2]])", "sort([2, 1])", "take([1, 2, 3], 2)",
    "'abc' | upper()", "[1, 2] | map(# + 1) | sum()", "let x = 2; x * x", "incidr(client_ip(), '127.0.0.0/8')", "incidr('x', '127.0.0.0/8')", "incidr('10.0.0.1', '10.0.0.0/8')",
    "toBase64('ab')", "fromBase64('YWI=')", "mean([1, 2])", "median([1, 3, 2])", "get({'a': 1}, 'a')", "metadata('a/b') == ''", "1 / 0", "3.0", "100000 * 1000000", "1 + 1 == 2 ? 'two' : 'more'",
)  # fmt: skip
TEMPLATES += [
    Scenario(
        "template language",
        forwarding(
            "\n".join(
                f"template IN TXT t{number}.tt.test {{\n match ^(?P<w>[a-z]+)-(?P<n>[0-9]+)[.] ^(?P<other>.*)$\n"
                f' answer "{{{{ .Name }}}} 60 IN TXT \\"{escaped(text)}\\""\n}}'
                for number, text in enumerate(GO_TEMPLATES)
            )
        ),
        [f"no-7.t{number}.tt.test" for number in range(len(GO_TEMPLATES))] + ["x.t0.tt.test", "x.t2.tt.test"],
        ("TXT",),
        variants=0,
    ),
    Scenario(
        "expressions",
        forwarding(
            "\n".join(
                f'template IN TXT t{number}.tt.test {{\n match ^(?P<w>[a-z]+)-(?P<n>[0-9]+)[.]\n var value "{escaped(text)}"\n'
                f' answer "{{{{ .Name }}}} 60 IN TXT \\"{{{{ .Var.value }}}}\\""\n}}'
                for number, text in enumerate(EXPRESSIONS)
            )
        ),
        [f"no-7.t{number}.tt.test" for number in range(len(EXPRESSIONS))],
        ("TXT",),
        variants=0,
    ),
    Scenario(
        "conditions",
        forwarding(
            "template IN A expr.test {\n match ^(?P<n>[0-9]+)[.]\n var n int(group('n'))\n var twice n * 2\n expr n > 1\n expr twice < 200\n"
            ' answer "{{ .Name }} 60 IN A 10.0.0.{{ .Var.twice }}"\n fallthrough\n}\n'
            "template ANY ANY strict.test {\n expr type() in ['A', 'TXT']\n expr incidr(client_ip(), '127.0.0.0/8')\n rcode NXDOMAIN\n}\n"
            "template IN A broken.test {\n expr incidr('x', '10.0.0.0/8')\n rcode NXDOMAIN\n fallthrough\n}\n"
            "template IN A number.test {\n expr 1\n rcode NXDOMAIN\n fallthrough\n}\n" + PLAIN
        ),
        [
            "1.expr.test",
            "5.expr.test",
            "500.expr.test",
            "x.expr.test",
            "a.strict.test",
            "a.broken.test",
            "a.number.test",
        ],
        FEW_KINDS,
    ),
]
SCENARIOS = [*KUBERNETES, *FORWARD, *FILES, *REWRITES, *TEMPLATES]
