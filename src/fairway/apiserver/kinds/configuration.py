"""ConfigMap and Secret: defaults and validity."""

from __future__ import annotations

import base64
import re

from fairway.apiserver import names
from fairway.apiserver.context import Call
from fairway.apiserver.decode import json_words
from fairway.apiserver.fielderrors import FieldError, forbidden, invalid, required, too_long
from fairway.apiserver.kinds.base import Strategy, immutable
from fairway.apiserver.request import Json

MOST_BYTES = 1024 * 1024
_FROZEN = "field is immutable when `immutable` is set"


def _data_errors(data: Json, path: str) -> list[FieldError]:
    return [invalid(f"{path}[{key}]", key, m) for key in sorted(data) for m in names.config_key_errors(key)]


class ConfigMapStrategy(Strategy):
    meta_checks = (1, 1)

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
        out: list[FieldError] = []
        for key in sorted(data):
            out += [invalid(f"data[{key}]", key, m) for m in names.config_key_errors(key)]
            if key in binary:
                out.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
        out += _data_errors(binary, "binaryData")
        size = sum(len(v.encode()) for v in data.values()) + sum(len(v) * 3 // 4 for v in binary.values())
        if size > MOST_BYTES:
            out.append(too_long("[]", MOST_BYTES))
        return out

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        out: list[FieldError] = []
        if old.get("immutable"):
            if not obj.get("immutable"):
                out.append(forbidden("immutable", _FROZEN))
            out += [forbidden(n, _FROZEN) for n in ("data", "binaryData") if (obj.get(n) or {}) != (old.get(n) or {})]
        return out + self.validate(call, obj)


class SecretStrategy(Strategy):
    meta_checks = (1, 1)
    selectable = ("type",)

    def default(self, obj: Json) -> None:
        """stringData is written into data; the type is Opaque."""
        obj.setdefault("type", "Opaque")
        plain = obj.pop("stringData", None)
        if plain:
            encoded = {k: base64.b64encode(v.encode()).decode() for k, v in plain.items()}
            obj["data"] = {**(obj.get("data") or {}), **encoded}

    def validate(self, call: Call, obj: Json) -> list[FieldError]:
        data = obj.get("data") or {}
        out = _data_errors(data, "data")
        if sum(len(v) * 3 // 4 for v in data.values()) > MOST_BYTES:
            out.append(too_long("data", MOST_BYTES))
        needs = {
            "kubernetes.io/dockercfg": (".dockercfg",),
            "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
            "kubernetes.io/tls": ("tls.crt", "tls.key"),
            "kubernetes.io/ssh-auth": ("ssh-privatekey",),
        }.get(obj["type"], ())
        out += [required(f"data[{n}]") for n in needs if n not in data]
        out += [
            e for n in needs if n in data and n.startswith(".docker") for e in _docker_errors(data[n], f"data[{n}]")
        ]
        if obj["type"] == "kubernetes.io/basic-auth" and not {"username", "password"} & set(data):
            out += [required("data[username]"), required("data[password]")]
        if obj["type"] == "kubernetes.io/service-account-token":
            name = (obj["metadata"].get("annotations") or {}).get("kubernetes.io/service-account.name", "")
            if not name:
                out.append(required("metadata.annotations[kubernetes.io/service-account.name]"))
        return out

    def validate_update(self, call: Call, obj: Json, old: Json) -> list[FieldError]:
        out = immutable(obj["type"], old.get("type"), "type")
        if old.get("immutable"):
            if not obj.get("immutable"):
                out.append(forbidden("immutable", _FROZEN))
            if (obj.get("data") or {}) != (old.get("data") or {}):
                out.append(forbidden("data", _FROZEN))
        return out + self.validate(call, obj)

    def warnings(self, call: Call, obj: Json, old: Json | None) -> list[str]:
        words = _pair_words(obj.get("data") or {}) if obj["type"] == "kubernetes.io/tls" else ""
        return [words] if words else []

    def fields(self, obj: Json) -> dict[str, str]:
        return {"type": obj.get("type", "")}


def _docker_errors(encoded: str, path: str) -> list[FieldError]:
    """Credentials of registries are a JSON object; the words never show them."""
    wrong = json_words(base64.b64decode(encoded))
    return [invalid(path, "<secret contents redacted>", wrong)] if wrong else []


def _pair_words(data: Json) -> str:
    """What is wrong with a certificate and its key, as crypto/tls says it; "" when nothing is."""
    parts = {n: base64.b64decode(data.get(f"tls.{n}") or "") for n in ("crt", "key")}
    if b"-----BEGIN CERTIFICATE-----" not in parts["crt"]:
        found = b"-----BEGIN" in parts["crt"]
        kinds = re.findall(rb"-----BEGIN ([A-Z ]+)-----", parts["crt"])
        listed = " ".join(k.decode() for k in kinds)
        if not found:
            return "tls: failed to find any PEM data in certificate input"
        if any(k.endswith(b"PRIVATE KEY") for k in kinds):
            words = "PEM inputs may have been switched"
            return f"tls: failed to find certificate PEM data in certificate input, but did find a private key; {words}"
        words = "PEM block in certificate input after skipping PEM blocks of the following types"
        return f'tls: failed to find "CERTIFICATE" {words}: [{listed}]'
    if b"PRIVATE KEY-----" not in parts["key"]:
        return "tls: failed to find any PEM data in key input"
    return ""
