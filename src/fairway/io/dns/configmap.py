"""A DNS server whose Corefile is a ConfigMap, read and followed through the API."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from fairway.config import corefile_settings as config
from fairway.config.corefile_servers import read_corefile
from fairway.io.dns.world import RealWorld
from fairway.values.errors import ConfigError
from fairway.values.names import ObjectName


class ConfigMapWorld(RealWorld):
    """As the machine's, but that the Corefile is what was last heard of an object."""

    def __init__(self, where: ObjectName, default_port: int = 53) -> None:
        super().__init__(Path(f"ConfigMap {where}"), default_port)
        self._where = where
        self._text: str | None = None

    def take(self, text: str) -> None:
        """The Corefile is this from now on; `DnsAgent.reload` reads it."""
        self._text = text

    def read_settings(self) -> tuple[str, config.CorefileSettings]:
        """Files named by `import` are the machine's. Raises ConfigError."""
        if self._text is None:
            raise ConfigError(f"ConfigMap {self._where}: it does not exist, or has no key Corefile")
        digest = hashlib.sha256(self._text.encode())
        settings = read_corefile(self._text, f"ConfigMap {self._where}", os.environ, self._imported(digest))
        return digest.hexdigest(), settings
