"""Why a name has its answer, and what is missing when it has none."""

from __future__ import annotations

import pytest

from dns_world import MemoryServer, drive, endpoint_slice, namespace, service
from fairway.explain.dns import Client, NameAnswer, explain_name, pod_search
from fairway.values.domain import to_text
from fairway.values.rrtypes import RRType

COREFILE = """.:53 {
    kubernetes cluster.local in-addr.arpa {
        fallthrough in-addr.arpa
    }
    forward . 192.0.2.53
}
"""
OBJECTS = [
    namespace("default"),
    namespace("shop"),
    service("web", "10.0.0.1"),
    service("db", "None", "shop"),
    service("empty", "None", "shop"),
    service("out", "", type="ExternalName", externalName="www.example.org"),
    endpoint_slice("db-1", "db", ["10.1.0.4", "10.1.0.5"], "shop"),
]


def explain(name: str, rtype: RRType = RRType.A, origin: str = "default") -> NameAnswer:
    server = MemoryServer(COREFILE, OBJECTS)
    answer: NameAnswer = drive(explain_name(name, rtype, Client(pod_search(origin)), server.chains))
    return answer


def test_the_search_list_is_walked_until_a_name_exists() -> None:
    found = explain("db.shop.svc")
    assert [(s.name, s.code) for s in found.steps] == [
        ("db.shop.svc.default.svc.cluster.local.", "NXDOMAIN"),
        ("db.shop.svc.svc.cluster.local.", "NXDOMAIN"),
        ("db.shop.svc.cluster.local.", "NOERROR"),
    ]
    assert found.verdict == "answered"
    assert found.steps[-1].sources == (
        "Service shop/db: headless (spec.clusterIP=None); TTL 5",
        "EndpointSlice shop/db-1: ready endpoints [10.1.0.4, 10.1.0.5]",
    )


def test_a_cluster_ip_names_its_service_and_field() -> None:
    step = explain("web").steps[0]
    assert (step.server, step.plugin, step.zone) == ("Corefile:1", "kubernetes", "cluster.local.")
    assert step.sources == ("Service default/web: spec.clusterIPs=[10.0.0.1], ports http/tcp:80; TTL 5",)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wep.default.svc.cluster.local.", "Service default/wep does not exist; close to it: web"),
        ("web.shop.svc.cluster.local.", "a Service of that name exists in default"),
        ("web.shopp.svc.cluster.local.", "namespace shopp does not exist; close to it: shop"),
        (
            "empty.shop.svc.cluster.local.",
            ("Service shop/empty is headless and none of its endpoints is ready (0 EndpointSlices)"),
        ),
        (
            "_https._tcp.web.default.svc.cluster.local.",
            ("Service default/web has no port https/tcp: ports http/tcp:80"),
        ),
        (
            "10-1-0-9.db.shop.svc.cluster.local.",
            ("no ready endpoint of Service shop/db is called 10-1-0-9; close to it: 10-1-0-5, 10-1-0-4"),
        ),
        (
            "1-2-3-4.default.pod.cluster.local.",
            ("pods disabled: the Corefile answers no pod names (`pods insecure` or `pods verified` would)"),
        ),
        (
            "foo.cluster.local.",
            ("names here are SERVICE.NAMESPACE.svc, _PORT._PROTOCOL.SERVICE.NAMESPACE.svc or ADDRESS.NAMESPACE.pod"),
        ),
    ],
)
def test_a_missing_name_says_what_would_have_to_exist(name: str, reason: str) -> None:
    found = explain(name)
    assert found.verdict == "missing"
    assert reason in found.steps[-1].sources


def test_a_name_without_the_wanted_type_is_empty_and_ends_the_search() -> None:
    found = explain("web", RRType.AAAA)
    assert (found.verdict, len(found.steps), found.steps[0].code) == ("empty", 1, "NODATA")


def test_reverse_names_lead_to_the_service() -> None:
    step = explain("1.0.0.10.in-addr.arpa.", RRType.PTR).steps[0]
    assert [r.value for r in step.records] == ["web.default.svc.cluster.local."]
    assert step.sources == ("Service default/web: spec.clusterIPs has 10.0.0.1",)


def test_other_names_say_which_upstream_was_asked() -> None:
    step = explain("example.net.").steps[0]
    assert (step.plugin, step.sources) == ("forward", ("asked upstream: 192.0.2.53:53",))


def test_pods_search_their_namespace_first() -> None:
    assert [to_text(name) for name in pod_search("shop")] == [
        "shop.svc.cluster.local.",
        "svc.cluster.local.",
        "cluster.local.",
    ]


OTHER = """.:53 {
    rewrite name suffix .shop.test .default.svc.cluster.local answer auto
    hosts own.hosts own.test {
        10.0.0.9 www.own.test
    }
    k8s_external ext.test {
        headless
    }
    kubernetes cluster.local {
        pods verified
    }
    file db zone.test
    forward . 192.0.2.53
}
"""
BALANCED = service("lb", "10.0.0.7", type="LoadBalancer")
BALANCED["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}


@pytest.mark.parametrize(
    ("name", "rtype", "plugin", "values", "source"),
    [
        ("web.shop.test.", RRType.A, "kubernetes", ["10.0.0.1"], "a rewrite led the question to a name of the cluster"),
        ("www.own.test.", RRType.A, "hosts", ["10.0.0.9"], "a line of own.hosts or of the block itself"),
        ("www.zone.test.", RRType.TXT, "file", ['"a b"'], "zone file db"),
        (
            "lb.default.ext.test.",
            RRType.A,
            "k8s_external",
            ["203.0.113.1"],
            "Service default/lb: spec.externalIPs and status.loadBalancer=[203.0.113.1]; TTL 5",
        ),
        ("db.shop.ext.test.", RRType.A, "k8s_external", ["10.1.0.4", "10.1.0.5"], "EndpointSlice shop/db-1: ready"),
        ("no.default.ext.test.", RRType.A, "k8s_external", [], "no Service of that name with an external address"),
        ("cluster.local.", RRType.NS, "kubernetes", ["ns.dns.cluster.local."], "the Services whose endpoints this"),
        ("ns.dns.cluster.local.", RRType.A, "kubernetes", ["10.0.0.53"], "the Services whose endpoints this server is"),
        ("dns-version.cluster.local.", RRType.TXT, "kubernetes", ['"1.1.0"'], "the version of the Kubernetes DNS"),
        ("svc.cluster.local.", RRType.A, "kubernetes", [], "an empty name above others"),
        ("10-1-0-4.shop.pod.cluster.local.", RRType.A, "kubernetes", ["10.1.0.4"], "Pod shop/db-0: status.podIPs"),
    ],
)
def test_every_answer_names_what_made_it(name: str, rtype: RRType, plugin: str, values: list[str], source: str) -> None:
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": n, "namespace": s}, "status": {"podIP": "10.1.0.4"}}
        for n, s in (("db-0", "shop"), ("other", "default"))
    ]
    zone = {"db": '@ 60 SOA ns a 1 2 3 4 5\n@ 60 NS ns\nwww 60 TXT "a b"\n'}
    server = MemoryServer(OTHER, [*OBJECTS, BALANCED, *pods], local=(b"\x0a\0\0\x35",), zone_files=zone)
    step = drive(explain_name(name, rtype, Client(pod_search("default")), server.chains)).steps[0]
    assert step.plugin == plugin
    assert [record.value for record in step.records] == values
    assert any(one.startswith(source) for one in step.sources), step.sources


def test_a_zones_own_soa_record_is_no_empty_name() -> None:
    step = explain("cluster.local.", RRType.SOA).steps[0]
    assert step.records[0].value.startswith("ns.dns.cluster.local. hostmaster.cluster.local. ")
    assert step.sources == ("the zone's own SOA record: its serial is the time of the last change",)
