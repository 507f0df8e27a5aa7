"""Corefiles: what they say, and how mistakes in them are named."""

from __future__ import annotations

import pytest

from fairway.config import corefile_settings as config
from fairway.config.corefile import parse_corefile
from fairway.config.corefile_servers import read_corefile
from fairway.dns.logging import COMMON
from fairway.values.domain import ROOT, from_text
from fairway.values.errors import ConfigError

KUBEADM = """.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
"""


def plugins(text: str) -> tuple[object, ...]:
    return read_corefile(text, "Corefile", {}).servers[0].plugins


def test_the_file_that_kubeadm_writes() -> None:
    found = {type(p): p for p in plugins(KUBEADM)}
    kubernetes = found[config.KubernetesSettings]
    assert isinstance(kubernetes, config.KubernetesSettings)
    assert kubernetes.zones == (from_text("cluster.local"), from_text("in-addr.arpa"), from_text("ip6.arpa"))
    assert (kubernetes.pods, kubernetes.ttl) == ("insecure", 30)
    assert found[config.HealthSettings] == config.HealthSettings(lameduck=5.0)
    assert found[config.PrometheusSettings] == config.PrometheusSettings(":9153")
    cache = found[config.CacheSettings]
    assert isinstance(cache, config.CacheSettings)
    assert (cache.success.longest, cache.no_success) == (30, (from_text("cluster.local"),))
    forward = found[config.ForwardSettings]
    assert isinstance(forward, config.ForwardSettings)
    assert (forward.to, forward.max_concurrent) == (("/etc/resolv.conf",), 1000)


def test_plugins_stand_in_the_order_in_which_they_are_asked() -> None:
    names = [
        type(p).__name__ for p in plugins(".:53 {\nforward . 1.1.1.1\ncache\nkubernetes cluster.local\nerrors\n}\n")
    ]
    assert names == ["ErrorsSettings", "CacheSettings", "KubernetesSettings", "ForwardSettings"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (".:53 {\n  kubernets cluster.local\n}\n", "Corefile:2: unknown directive 'kubernets' (known: acl, any,"),
        (
            ".:53 {\n  kubernetes cluster.local {\n    pod insecure\n  }\n}\n",
            "Corefile:3: kubernetes: unknown property 'pod'",
        ),
        (
            ".:53 {\n  kubernetes cluster.local {\n    pods maybe\n  }\n}\n",
            "Corefile:3: pods: 'maybe' is not one of disabled",
        ),
        (
            ".:53 {\n  kubernetes cluster.local {\n    ttl 3601\n  }\n}\n",
            "Corefile:3: ttl: 3601 is not in the range [0, 3600]",
        ),
        (".:53 {\n  kubernetes in-addr.arpa\n}\n", "Corefile:2: kubernetes: non-reverse zone name must be used"),
        (".:53 {\n  cache 0\n}\n", "Corefile:2: cache: 0 is not in the range"),
        (
            ".:53 {\n  cache {\n    prefetch 10 1m 95%\n  }\n}\n",
            "Corefile:3: prefetch: 95 is not in the range [10, 90]",
        ),
        (".:53 {\n  forward .\n}\n", "Corefile:2: forward: takes at least 2 arguments"),
        (".:53 {\n  forward . 1.1.1.1 {\n    policy best\n  }\n}\n", "Corefile:3: policy: 'best' is not one of random"),
        (".:53 {\n  errors\n  errors\n}\n", "Corefile:3: errors: stands twice"),
        (".:53 {\n  errors\n", "Corefile:1: a '{' is never closed"),
        ('.:53 {\n  log "x\n}\n', "Corefile:2: a quote is opened and never closed"),
        (".:70000 {\n errors\n}\n", "Corefile:1: .:70000: 70000 is not a port"),
        ("a.b {\n errors\n}\na.b {\n errors\n}\n", "Corefile:4: the zone is already served by the block at Corefile:1"),
        (".:53 {\n  import nothing\n}\n", "Corefile:2: import nothing: neither a snippet of that name nor a file"),
        (".:53 {\n  rewrite name regex a( b\n}\n", "Corefile:2: rewrite: 'a(' is not a regular expression"),
        (".:53 {\n  reload 1s\n}\n", "Corefile:2: reload: the interval must be 2s or longer"),
        (".:53 {\n  transfer\n}\n", "Corefile:2: transfer: needs a line 'to ADDRESS"),
        ("quic://. {\n errors\n}\n", "Corefile:1: quic://.: quic:// is not served here"),
        ("(a) {\n errors\n}\n(a) {\n any\n}\n", "Corefile:4: the snippet (a) was written before"),
        ("(a) {\n errors\n}\n. {\n import a b c\n}\n", "Corefile:5: import: takes one snippet, file or pattern, not 3"),
        *((f". {{\n{line}\n}}\n", problem) for line, problem in {
            "acl {\n block type net 10.0.0.0/8\n}": "Corefile:3: block: nothing stands after 'type'",
            "acl {\n block type A net\n}": "Corefile:3: block: nothing stands after 'net'",
            "any {\n}": "Corefile:2: any: takes no block",
            "bind 127.0.0.1 {\n but lo\n}": "Corefile:3: bind: unknown property 'but' (known: except)",
            "cache {\n prefetch 5 10m 50\n}": "Corefile:3: prefetch: '50' is not a percentage",
            "debug off": "Corefile:2: debug: takes 0 arguments",
            "errors errors.txt": "Corefile:2: errors: 'errors.txt': errors go to the standard output",
            "errors {\n consolidate 1m ())\n}": "Corefile:3: consolidate: '())' is not a regular expression",
            "errors {\n consolidate 1m .* info debug\n}": "Corefile:3: consolidate: more than one level: info debug",
            "forward . grpc://10.0.0.1": "Corefile:2: forward: grpc://10.0.0.1: grpc:// cannot be forwarded to",
            "forward . tls://": "Corefile:2: forward: 'tls://' is not an address, a host or a file",
            "forward . [::1]:x": "Corefile:2: forward: '[::1]:x': ':x' is not a port",
            "rewrite ttl a.b ²": "Corefile:2: rewrite: '²' is not a TTL",
            "forward . 10.0.0.1:70000": "Corefile:2: forward: '10.0.0.1:70000' is not an address",
            "forward . tls://10.0.0.1%a {\n tls_servername b\n}":
                "Corefile:2: forward: tls://10.0.0.1%a: a server name stands here and in tls_servername (b)",
            "forward . 10.0.0.1 {\n resolver tls://10.0.0.2\n}": "Corefile:3: resolver: 'tls://10.0.0.2': an address",
            "forward . 10.0.0.1 {\n spread\n}": "Corefile:3: forward: unknown property 'spread' (known: except,",
            "health bla": "Corefile:2: health: 'bla' is not HOST:PORT",
            "kubernetes a.b {\n apiserver_qps -1\n}": "Corefile:3: apiserver_qps: -1 is not a number from 0 on",
            "kubernetes a.b {\n apiserver_burst x\n}": "Corefile:3: apiserver_burst: 'x' is not a number",
            "kubernetes a.b {\n zonal\n noendpoints\n}": "Corefile:2: kubernetes: zonal needs endpoints",
            "kubernetes a.b {\n namespaces a\n namespace_labels b=c\n}":
                "Corefile:2: kubernetes: namespaces and namespace_labels cannot both be set",
            "kubernetes a.b {\n multicluster c.d\n}": "Corefile:2: kubernetes: a multicluster zone must be one of",
            "loadbalance weighted": "Corefile:2: loadbalance: weighted needs the file of the weights",
            "loadbalance round_robin f": "Corefile:2: loadbalance: round_robin takes no file: f",
            "loadbalance {\n reload 5s\n}": "Corefile:3: loadbalance: unknown property 'reload' (known: prefer)",
            "local {\n localhost_prefix maybe\n}": "Corefile:3: localhost_prefix: 'maybe' is not one of on, off",
            "multisocket 2 {\n}": "Corefile:2: multisocket: takes no block",
            "nsid {\n}": "Corefile:2: nsid: takes no block",
            "prometheus /metrics": "Corefile:2: prometheus: '/metrics' is not HOST:PORT",
            "prometheus {\n all\n}": "Corefile:3: prometheus: unknown property 'all' (known: runtime_metrics)",
            "ready ::1:80": "Corefile:2: ready: '::1:80' is not HOST:PORT",
            "reload 3s 0.5s": "Corefile:2: reload: the jitter must be 1s or longer",
            "rewrite edns0 local unset 0xffee x": "Corefile:2: rewrite: edns0 local unset: not with 0xffee x",
            "rewrite ttl a.b 4294967296": "Corefile:2: rewrite: '4294967296' is not a TTL",
            "tls a b {\n client_auth request\n}": "Corefile:3: client_auth: 'request': nobody would verify",
            "tls a b {\n client_auth require_and_verify\n}": "Corefile:2: tls: client_auth require_and_verify needs",
            "transfer {\n to example.org\n}": "Corefile:3: to: 'example.org' is not an address",
            "transfer {\n to *\n source x\n}": "Corefile:4: source: 'x' is not an address",
        }.items()),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_file_and_line(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_corefile(text, "Corefile", {})
    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (". { errors\n any\n}", (config.ErrorsSettings(), config.AnySettings())),
        (". {\n local { }\n any\n}", (config.LocalSettings(), config.AnySettings())),
        (". {\n local {\n localhost_prefix off\n }\n}", (config.LocalSettings(has_prefix=False),)),
        (". {\n prometheus :9153 {\n runtime_metrics\n }\n}", (config.PrometheusSettings(":9153"),)),
        (
            ". {\n transfer {\n to 10.0.0.1 [fd00::1]:54\n to * 10.0.0.2:55\n source fd00::5\n }\n}",
            (
                config.TransferSettings(
                    (
                        config.TransferRule(
                            (ROOT,), (("10.0.0.1", 53), ("fd00::1", 54), ("10.0.0.2", 55)), True, "fd00::5"
                        ),
                    )
                ),
            ),
        ),
        (
            '. {\n log a.test b.test "{name} {combined}" {\n class denial\n class error\n }\n log . {common}\n}',
            (
                config.LogSettings(
                    (
                        config.LogRule(
                            (from_text("a.test"), from_text("b.test")),
                            f'{{name}} {COMMON} "{{>opcode}}"',
                            frozenset({"denial", "error"}),
                        ),
                        config.LogRule((ROOT,), COMMON),
                    )
                ),
            ),
        ),
        (
            ". {\n loadbalance weighted /w {\n reload 5s\n prefer 10.0.0.0/8\n }\n}",
            (config.LoadbalanceSettings("/w", 5.0, ("10.0.0.0/8",)),),
        ),
    ],
)
def test_forms_that_a_directive_may_have(text: str, expected: tuple[object, ...]) -> None:
    assert plugins(text) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('a "b {$X} c"', ("b x y c",)),
        ("a {$X}{%X%}z {$none}", ("x yx yz", "")),
        ("a b#c d", ("b",)),
        ('a "b#c" d # e', ("b#c", "d")),
        (r'a "\\" "b\"c" "d\.e"', (r"\\", 'b"c', r"d\.e")),
        ('a ""', ("",)),
    ],
)
def test_words_are_read_as_corednss_lexer_reads_them(line: str, words: tuple[str, ...]) -> None:
    (block,) = parse_corefile(f". {{\n{line}\n}}\n", "Corefile", {"X": "x y"})
    assert block.directives[0].args == words


def test_files_of_a_certificate_are_below_the_root() -> None:
    text = "tls://. {\n root /keys\n tls a.pem /b.pem ca.pem {\n client_auth verify_if_given\n keylog log\n }\n}\n"
    found = read_corefile(text, "Corefile", {}).servers[0].tls
    assert found == config.TlsSettings(("/keys/a.pem", "/b.pem", "/keys/ca.pem"), "verify_if_given", "/keys/log")


def test_snippets_imports_environment_quotes_and_comments() -> None:
    text = """(shared) {
    errors  # said once
    forward . {$UPSTREAM}
}
import servers/*
example.org, example.net:1053 {
    import shared
    log . "{remote} asks" {
        class denial error
    }
}
"""
    files = {"servers/*": [("servers/a", "a.test {\n whoami\n}\n")]}
    found = read_corefile(text, "Corefile", {"UPSTREAM": "192.0.2.1"}, lambda pattern: files[pattern])
    assert [s.place for s in found.servers] == ["servers/a:1", "Corefile:6"]
    assert [(k.zone, k.port) for k in found.servers[1].keys] == [
        (from_text("example.org"), 53),
        (from_text("example.net"), 1053),
    ]
    log = next(p for p in found.servers[1].plugins if isinstance(p, config.LogSettings)).rules[0]
    assert (log.format, log.classes) == ("{remote} asks", frozenset({"denial", "error"}))
    forward = next(p for p in found.servers[1].plugins if isinstance(p, config.ForwardSettings))
    assert forward.to == ("192.0.2.1",)
    assert found.files == ("Corefile", "servers/a")


def test_a_cidr_block_becomes_reverse_zones() -> None:
    found = read_corefile("10.1.0.0/23 {\n whoami\n}\n", "Corefile", {}).servers[0]
    assert found.zones == (from_text("0.1.10.in-addr.arpa"), from_text("1.1.10.in-addr.arpa"))


def test_an_empty_file_answers_who_is_asking() -> None:
    assert [type(p).__name__ for p in plugins("")] == ["LogSettings", "WhoamiSettings"]


def test_a_block_keeps_lines_and_blocks_within() -> None:
    (block,) = parse_corefile("a b {\n x 1 {\n y 2\n }\n}\n", "F", {})
    assert block.keys == ("a", "b")
    assert block.directives[0].block is not None
    assert block.directives[0].block[0].args == ("2",)
    assert block.directives[0].block[0].place == ("F", 3)
