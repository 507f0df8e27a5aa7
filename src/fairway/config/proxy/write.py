"""Settings → KubeProxyConfiguration, as YAML for --write-config-to and as an object for /configz.

What is written reads back to the same settings.
"""

from __future__ import annotations

from typing import Any

import yaml

from fairway.config.proxy.fields import API_VERSION, FIELDS, GROUP, KIND
from fairway.config.proxy.settings import ProxySettings


def write_config(settings: ProxySettings) -> str:
    """The whole configuration in effect as YAML, keys sorted, as kube-proxy writes it."""
    text: str = yaml.safe_dump(
        as_object(settings), sort_keys=True, allow_unicode=True, default_flow_style=False, width=10**6
    )
    return text


def as_object(settings: ProxySettings) -> dict[str, Any]:
    """The configuration in effect as a KubeProxyConfiguration object."""
    root: dict[str, Any] = {"apiVersion": API_VERSION, "kind": KIND}
    for field in FIELDS:
        node = root
        *sections, name = field.path.split(".")
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = field.kind.write(field.of(settings))
    return root


def configz(settings: ProxySettings) -> dict[str, Any]:
    """What /configz answers."""
    return {GROUP: as_object(settings)}
