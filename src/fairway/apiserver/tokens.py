"""Service-account tokens: JSON Web Tokens (ES256) that the server signs and accepts, and the static token of the admin.

Decides who a token stands for; the key is handed in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from fairway.apiserver.request import Json, User
from fairway.apiserver.store import Store


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class TokenSigner:
    """Signs and verifies with one P-256 key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, issuer: str) -> None:
        self._key, self._public = key, key.public_key()
        self.issuer = issuer
        der = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self._id = _b64(hashlib.sha256(der).digest())

    def sign(self, claims: Json) -> str:
        head = {"alg": "ES256", "kid": self._id}
        text = f"{_b64(msgspec.json.encode(head))}.{_b64(msgspec.json.encode(claims))}"
        r, s = decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def verify(self, token: str) -> Json | None:
        """The claims of a token of ours; None for anything else."""
        try:
            text, _, signature = token.rpartition(".")
            raw = _unb64(signature)
            if len(raw) != 64:
                return None
            both = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
            self._public.verify(both, text.encode(), ec.ECDSA(hashes.SHA256()))
            claims = msgspec.json.decode(_unb64(text.split(".")[1]))
        except (InvalidSignature, ValueError, IndexError):
            return None
        return claims if isinstance(claims, dict) and claims.get("iss") == self.issuer else None

    def keys(self) -> Json:
        """The key set that `/openid/v1/jwks` shows."""
        numbers = self._public.public_numbers()
        x, y = (_b64(n.to_bytes(32, "big")) for n in (numbers.x, numbers.y))
        return {"keys": [{"use": "sig", "kty": "EC", "kid": self._id, "crv": "P-256", "alg": "ES256", "x": x, "y": y}]}


class StaticToken(NamedTuple):
    """A token that never ends, of the kubeconfig."""

    token: str
    user: User


ADMIN = User("admin", ("system:masters", "system:authenticated"))


class Authenticator:
    """Bearer tokens → users."""

    def __init__(self, signer: TokenSigner, static: tuple[StaticToken, ...], store: Store) -> None:
        self._signer, self._static, self._store = signer, static, store

    def token(self, text: str, now: float, audiences: tuple[str, ...] = ()) -> User | None:
        for entry in self._static:
            if hmac.compare_digest(entry.token.encode(), text.encode()):
                return entry.user
        return self._service_account(text, now, audiences)

    @property
    def issuer(self) -> str:
        return self._signer.issuer

    def audiences(self, text: str) -> tuple[str, ...]:
        """Whom a token of ours is meant for, valid or not; everybody's that never ends are meant for the server."""
        claims = self._signer.verify(text)
        if claims is not None:
            return tuple(claims.get("aud") or ())
        return (self.issuer,) if any(hmac.compare_digest(s.token.encode(), text.encode()) for s in self._static) else ()

    def _service_account(self, text: str, now: float, audiences: tuple[str, ...]) -> User | None:
        claims = self._signer.verify(text)
        if claims is None or not claims.get("nbf", 0) <= now + 1 or now >= claims.get("exp", 0):
            return None
        aud = claims.get("aud") or []
        if not set(aud) & set(audiences or (self._signer.issuer,)):
            return None
        about = claims.get("kubernetes.io") or {}
        namespace, account = about.get("namespace", ""), about.get("serviceaccount") or {}
        if not self._lives("serviceaccounts", namespace, account):
            return None
        pod = about.get("pod")
        if pod and not self._lives("pods", namespace, pod):
            return None
        user = service_account_user(namespace, account.get("name", ""), account.get("uid", ""), pod)
        credential = ("authentication.kubernetes.io/credential-id", (f"JTI={claims.get('jti', '')}",))
        return user._replace(extra=(credential, *user.extra))

    def _lives(self, resource: str, namespace: str, ref: Json) -> bool:
        """The object that the token is bound to is there, and the same one."""
        entry = self._store.get(resource, f"{namespace}/{ref.get('name', '')}")
        return entry is not None and ref.get("uid", "").encode() in entry.data


def service_account_user(namespace: str, name: str, uid: str, pod: Json | None = None) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    if pod:
        extra = (
            ("authentication.kubernetes.io/pod-name", (pod.get("name", ""),)),
            ("authentication.kubernetes.io/pod-uid", (pod.get("uid", ""),)),
        )
    return User(f"system:serviceaccount:{namespace}:{name}", groups, uid, extra)
