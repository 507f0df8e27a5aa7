"""Validity of probes and hooks of containers."""

from __future__ import annotations

import re

from fairway.apiserver import names
from fairway.apiserver.fielderrors import FieldError, forbidden, invalid, required, unsupported
from fairway.apiserver.request import Json

_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_COUNTS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_HEADER = (
    "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for "
    "validation is '[-A-Za-z0-9]+')"
)
_SIGNAL_NAMES = """
    ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP
    TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX
"""
_REAL_TIME = (*(f"RTMIN+{i}" for i in range(1, 16)), *(f"RTMAX-{i}" for i in range(1, 15)))
_SIGNALS = tuple(sorted(f"SIG{name}" for name in (*_SIGNAL_NAMES.split(), *_REAL_TIME)))


def _http_errors(action: Json, path: str) -> list[FieldError]:
    out = [] if action.get("path") else [required(f"{path}.path")]
    out += names.port_or_name_errors(action.get("port", 0), f"{path}.port")
    if action.get("scheme") not in ("HTTP", "HTTPS"):
        out.append(unsupported(f"{path}.scheme", action.get("scheme", ""), ("HTTP", "HTTPS")))
    for header in action.get("httpHeaders") or []:
        if not re.fullmatch(r"[-A-Za-z0-9]+", header.get("name", "")):
            out.append(invalid(f"{path}.httpHeaders", header.get("name", ""), _HEADER))
    return out


def _sleep_errors(action: Json, path: str, grace: int | None) -> list[FieldError]:
    seconds = action.get("seconds", 0)
    if grace is None or 0 <= seconds <= grace:
        return []
    words = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
    return [invalid(path, seconds, words)]


def _handler_errors(holder: Json, path: str, kinds: tuple[str, ...], grace: int | None = None) -> list[FieldError]:
    """validateHandler: one of them, and that well."""
    given = [n for n in kinds if holder.get(n) is not None]
    if not given:
        return [required(path, "must specify a handler type")]
    first, at = given[0], f"{path}.{given[0]}"
    action, out = holder[first], list[FieldError]()
    if first == "exec" and not action.get("command"):
        out.append(required(f"{at}.command"))
    elif first == "httpGet":
        out += _http_errors(action, at)
    elif first in ("tcpSocket", "grpc"):
        out += names.port_or_name_errors(action.get("port", 0), f"{at}.port")
    elif first == "sleep":
        out += _sleep_errors(action, at, grace)
    return out + [forbidden(f"{path}.{n}", "may not specify more than 1 handler type") for n in given[1:]]


def probe_errors(probe: Json, path: str, kind: str) -> list[FieldError]:
    """validateProbe, and what the three kinds have of their own."""
    out = _handler_errors(probe, path, _HANDLERS[:4])
    for name in _COUNTS:
        if probe.get(name, 0) < 0:
            out.append(invalid(f"{path}.{name}", probe[name], "must be greater than or equal to 0"))
    grace, at = probe.get("terminationGracePeriodSeconds"), f"{path}.terminationGracePeriodSeconds"
    if grace is not None and grace <= 0:
        out.append(invalid(at, grace, "must be greater than 0"))
    if kind == "readinessProbe":
        if grace is not None:
            out.append(invalid(at, grace, "must not be set for readinessProbes"))
    elif probe.get("successThreshold", 1) != 1:
        out.append(invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return out


def lifecycle_errors(lifecycle: Json, path: str, grace: int | None, os: str | None) -> list[FieldError]:
    """validateLifecycle."""
    kinds = tuple(n for n in _HANDLERS if n != "grpc")
    out: list[FieldError] = []
    for name in ("postStart", "preStop"):
        if lifecycle.get(name) is not None:
            out += _handler_errors(lifecycle[name], f"{path}.{name}", kinds, grace)
    signal, at = lifecycle.get("stopSignal"), f"{path}.stopSignal"
    if signal is None:
        return out
    known = ("SIGKILL", "SIGTERM") if os == "windows" else _SIGNALS
    if os is None:
        out.append(forbidden(at, "may not be set for containers with empty `spec.os.name`"))
    elif signal not in known:
        out.append(unsupported(at, signal, known))
    return out
