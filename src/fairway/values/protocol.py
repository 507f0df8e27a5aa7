"""Transport protocols that a Service port can have."""

from __future__ import annotations

from enum import IntEnum

from fairway.values.errors import InvalidValueError


class Protocol(IntEnum):
    """The value is the IP protocol number (IANA)."""

    TCP = 6
    UDP = 17
    SCTP = 132

    @classmethod
    def parse(cls, text: str) -> Protocol:
        """Read `TCP` or `tcp`. Raises InvalidValueError."""
        try:
            return cls[text.upper()]
        except KeyError:
            raise InvalidValueError(f"{text!r} is not a protocol: TCP, UDP and SCTP are known") from None

    __hash__ = int.__hash__  # an Enum's own is a Python function, and protocols are parts of keys

    def __str__(self) -> str:
        return self.name.lower()
