"""KubeProxyConfiguration and kube-proxy's flags: text → frozen settings, with every error named."""

from fairway.config.proxy.change import Difference, FieldChange, difference
from fairway.config.proxy.families import (
    Families,
    LocalDetection,
    detect_families,
    health_check_addresses,
    local_detection,
    node_port_addresses,
    serves_localhost,
)
from fairway.config.proxy.fields import FIELDS, Change, Field
from fairway.config.proxy.flags import FLAGS, Flag, parse_flags, usage
from fairway.config.proxy.load import InvalidConfigError, Loaded, Origin, Problem, Source, load, node_name
from fairway.config.proxy.settings import (
    LocalMode,
    LogFormat,
    Mode,
    NodePortKeyword,
    ProxySettings,
    SocketAddress,
)
from fairway.config.proxy.write import as_object, configz, write_config

__all__ = [
    "FIELDS",
    "FLAGS",
    "Change",
    "Difference",
    "Families",
    "Field",
    "FieldChange",
    "Flag",
    "InvalidConfigError",
    "Loaded",
    "LocalDetection",
    "LocalMode",
    "LogFormat",
    "Mode",
    "NodePortKeyword",
    "Origin",
    "Problem",
    "ProxySettings",
    "SocketAddress",
    "Source",
    "as_object",
    "configz",
    "detect_families",
    "difference",
    "health_check_addresses",
    "load",
    "local_detection",
    "node_name",
    "node_port_addresses",
    "parse_flags",
    "serves_localhost",
    "usage",
    "write_config",
]
