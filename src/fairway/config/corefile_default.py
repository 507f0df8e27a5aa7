"""The Corefile of a cluster that nobody gave another one: kubeadm's (1.36), word by word."""

from __future__ import annotations

_TEXT = """.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes DOMAIN in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success DOMAIN
       disable denial DOMAIN
    }
    loop
    reload
    loadbalance
}
"""


def default_corefile(domain: str) -> str:
    """For the cluster domain `domain`, without a dot at its end."""
    return _TEXT.replace("DOMAIN", domain)
