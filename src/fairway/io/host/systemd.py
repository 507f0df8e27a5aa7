"""Telling systemd how the service is: sd_notify(3) over a datagram socket, without libsystemd."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Systemd:
    """The service manager that started us, if it wants to know (`Type=notify`); else every call does nothing."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        pid = environ.get("WATCHDOG_PID", "")
        micros = environ.get("WATCHDOG_USEC", "")
        is_ours = not pid or pid == str(os.getpid())
        self.watchdog_interval = int(micros) / 1e6 / 2 if self._address and micros.isdigit() and is_ours else None
        """Call `watchdog` this often, in seconds: half of what WatchdogSec allows. None: no watchdog is set."""

    @property
    def is_there(self) -> bool:
        """Whether anybody listens."""
        return bool(self._address)

    def ready(self, status: str = "") -> None:
        """Start-up, or reloading, is done."""
        self._send("READY=1", *([f"STATUS={status}"] if status else []))

    def reloading(self) -> None:
        """The configuration is being read again; `ready` says that it is done."""
        # systemd (Type=notify-reload) wants to know that this is newer than its request.
        micros = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={micros}")

    def stopping(self) -> None:
        """Shutting down has begun."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Still alive."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def _send(self, *assignments: str) -> None:
        if not self._address:
            return
        # A leading @ stands for the abstract name space.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        message = "\n".join(" ".join(one.split("\n")) for one in assignments).encode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            try:
                sender.sendto(message, address)
            except OSError:
                return  # a manager that does not listen any more must not stop the service
