"""TLS contexts that follow their files: what was replaced is used from the next request on."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator

from fairway.io.kube.connection import CredentialsError, Pem, TlsSettings
from fairway.io.kube.credentials import Proof


class TlsContexts:
    """Makes a context, and a new one when a file or the proof's certificate has changed."""

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self._made_from: object = None
        self._context: ssl.SSLContext | None = None

    def context(self, proof: Proof) -> ssl.SSLContext:
        """The context to use now. Raises CredentialsError naming the field that cannot be used."""
        s = self._settings
        pems = (s.authorities, s.certificate, s.key)
        made_from = (proof.certificate, proof.key, *(p.version() if p else None for p in pems))
        if self._context is None or made_from != self._made_from:
            try:
                self._context = _make(s, proof)
            except CredentialsError:
                # In the middle of a rotation (certificate new, key old): the last pair still serves.
                if self._context is None:
                    raise
                return self._context
            self._made_from = made_from
        return self._context


def _make(settings: TlsSettings, proof: Proof) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.is_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.authorities:
        _trust(context, settings.authorities)
    else:
        context.load_default_certs()
    if proof.certificate:
        _show(context, proof.certificate, proof.key, "clientCertificateData of the exec plugin")
    elif settings.certificate and settings.key:
        _show(context, settings.certificate.read(), settings.key.read(), settings.certificate.origin)
    return context


def _trust(context: ssl.SSLContext, authorities: Pem) -> None:
    try:
        context.load_verify_locations(cadata=authorities.read().decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        place = f"{authorities.origin}: {authorities.path}" if authorities.path else authorities.origin
        raise CredentialsError(f"{place}: no PEM certificates: {_reason(error)}") from None


def _show(context: ssl.SSLContext, certificate: bytes, key: bytes, origin: str) -> None:
    try:
        with _as_file(certificate) as cert_path, _as_file(key) as key_path:
            context.load_cert_chain(cert_path, key_path, password=lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        raise CredentialsError(f"{origin}: certificate and key cannot be used together: {_reason(error)}") from None


@contextlib.contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """OpenSSL through Python takes keys from files only; one in memory never touches a disk."""
    fd = os.memfd_create("fairway-tls", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error)
