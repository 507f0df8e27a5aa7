"""Numbers of the DNS protocol that Fairway treats by name; any other number travels as it is."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache


class RRType(IntEnum):
    """Types of records and questions (RFC 1035 and later)."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    HINFO = 13
    MX = 15
    TXT = 16
    AAAA = 28
    LOC = 29
    SRV = 33
    NAPTR = 35
    CERT = 37
    DNAME = 39
    DS = 43
    SSHFP = 44
    RRSIG = 46
    NSEC = 47
    DNSKEY = 48
    NSEC3 = 50
    NSEC3PARAM = 51
    TLSA = 52
    CDS = 59
    CDNSKEY = 60
    OPENPGPKEY = 61
    SVCB = 64
    HTTPS = 65
    SPF = 99
    OPT = 41
    TSIG = 250
    IXFR = 251
    AXFR = 252
    ANY = 255
    URI = 256
    CAA = 257


class Rcode(IntEnum):
    """Response codes; those above 15 need EDNS."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    YXDOMAIN = 6
    YXRRSET = 7
    NXRRSET = 8
    NOTAUTH = 9
    NOTZONE = 10
    BADVERS = 16


class Opcode(IntEnum):
    """What a message asks for."""

    QUERY = 0
    IQUERY = 1
    STATUS = 2
    NOTIFY = 4
    UPDATE = 5


CLASS_IN = 1
CLASS_CH = 3
CLASS_ANY = 255
CLASS_NUMBERS = {"IN": CLASS_IN, "CH": CLASS_CH, "HS": 4, "ANY": CLASS_ANY}
"""By the names that Corefiles use."""

QR, AA, TC, RD, RA, Z, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0040, 0x0020, 0x0010
DO = 0x8000
"""In the lower half of an OPT record's TTL: DNSSEC answers wanted."""


def type_text(number: int) -> str:
    """`A`, `AAAA` …; `TYPE65280` for those without a name here."""
    try:
        return RRType(number).name
    except ValueError:
        return f"TYPE{number}"


@lru_cache(maxsize=256)
def rcode_text(number: int) -> str:
    """`NOERROR`, `NXDOMAIN` …"""
    try:
        return Rcode(number).name
    except ValueError:
        return f"RCODE{number}"
