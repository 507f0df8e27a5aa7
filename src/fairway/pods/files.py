"""/etc/resolv.conf and /etc/hosts of a pod, as kubelet writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from fairway.kube.podspec import DnsPolicy, NodePod
from fairway.values.errors import FairwayError

MOST_NAMESERVERS: Final = 3
MOST_SEARCHES: Final = 32
LONGEST_SEARCH_LINE: Final = 2048


class Resolver(NamedTuple):
    """The DNS that a node offers its pods, and its own."""

    cluster_dns: tuple[str, ...]
    domain: str
    host_nameservers: tuple[str, ...] = ()
    host_searches: tuple[str, ...] = ()
    host_options: tuple[str, ...] = ()


def read_resolv_conf(text: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Name servers, searches and options of a resolv.conf; the last `search` line counts."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.split()
        match words[:1]:
            case ["nameserver"] if len(words) > 1:
                servers.append(words[1])
            case ["search"]:
                searches = tuple(word.rstrip(".") or "." for word in words[1:])
            case ["options"]:
                options = tuple(words[1:])
    return tuple(servers), searches, options


def resolv_conf(pod: NodePod, resolver: Resolver) -> str:
    """By dnsPolicy, then dnsConfig on top."""
    policy = pod.spec.dns_policy
    is_cluster = policy is DnsPolicy.CLUSTER_FIRST_WITH_HOST_NET or (
        policy is DnsPolicy.CLUSTER_FIRST and not pod.spec.host_network
    )
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    if policy is DnsPolicy.NONE:
        pass
    elif is_cluster and resolver.cluster_dns:
        domain = resolver.domain
        own = (f"{pod.metadata.namespace}.svc.{domain}", f"svc.{domain}", domain)
        servers, searches = resolver.cluster_dns, (*own, *resolver.host_searches)
        options = ("ndots:5",)
    else:
        servers, searches = resolver.host_nameservers, resolver.host_searches
        options = resolver.host_options
    config = pod.spec.dns_config
    servers = _unique((*servers, *(config.nameservers or ())))[:MOST_NAMESERVERS]
    searches = _fitting(_unique((*searches, *(config.searches or ()))))
    options = _merged(options, [f"{o.name}:{o.value}" if o.value else o.name for o in config.options or ()])
    lines = [f"nameserver {server}" for server in servers]
    lines = [f"search {' '.join(searches)}", *lines] if searches else lines
    lines += [f"options {' '.join(options)}"] if options else []
    return "".join(f"{line}\n" for line in lines)


def _unique(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _fitting(searches: Sequence[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for one in searches[:MOST_SEARCHES]:
        if len(" ".join([*kept, one])) > LONGEST_SEARCH_LINE:
            break
        kept.append(one)
    return tuple(kept)


def _merged(base: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    """Options of the pod replace those of the same name."""
    by_name = {option.partition(":")[0]: option for option in base}
    by_name |= {option.partition(":")[0]: option for option in more}
    return tuple(by_name.values())


def hosts_file(pod: NodePod, addresses: Sequence[str], domain: str, host_text: str = "") -> str:
    """/etc/hosts; a pod in the node's network has the node's, `host_text`."""
    if pod.spec.host_network:
        text = f"# Kubernetes-managed hosts file (host network).\n{host_text}"
    else:
        fixed = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback", "fe00::0\tip6-localnet"]
        fixed += ["fe00::0\tip6-mcastprefix", "fe00::1\tip6-allnodes", "fe00::2\tip6-allrouters"]
        text = "".join(f"{line}\n" for line in ("# Kubernetes-managed hosts file.", *fixed))
        names = full_host_name(pod, domain)
        text += "".join(f"{address}\t{names}\n" for address in addresses)
    if aliases := pod.spec.host_aliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join(f"{alias.ip}\t{chr(9).join(alias.hostnames or ())}\n" for alias in aliases)
    return text


LONGEST_HOST_NAME: Final = 64


class HostNameError(FairwayError):
    """A pod wants to be called by its full name, and the kernel has no room for it."""


def uts_name(pod: NodePod, node: str, domain: str) -> str:
    """What `hostname` says in the pod. Raises HostNameError."""
    if pod.spec.host_network:
        return node
    full = full_host_name(pod, domain).partition("\t")[0]
    if not pod.spec.set_hostname_as_fqdn:
        return pod.host_name
    if len(full) > LONGEST_HOST_NAME:
        words = "failed to construct FQDN from pod hostname and cluster domain"
        sizes = f"({LONGEST_HOST_NAME} characters is the max, {len(full)} characters requested)"
        raise HostNameError(f"{words}, FQDN {full} is too long {sizes}")
    return full


def full_host_name(pod: NodePod, domain: str) -> str:
    """`web-0.web.shop.svc.cluster.local<TAB>web-0` with a subdomain, else the host name."""
    name = pod.host_name
    if not pod.spec.subdomain:
        return name
    return f"{name}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{domain}\t{name}"
