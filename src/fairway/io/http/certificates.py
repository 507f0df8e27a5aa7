"""The API server's own authority: CA, serving and client certificates, the key of tokens; made once, kept."""

from __future__ import annotations

import datetime as dt
import ipaddress
import secrets
import ssl
import tempfile
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KUBELET_CLIENT = "kube-apiserver-kubelet-client"
_YEARS = dt.timedelta(days=3650)


class Pair(NamedTuple):
    """A certificate and its key, PEM."""

    certificate: str
    key: str


class Authority(NamedTuple):
    """Everything that one cluster's trust hangs on."""

    ca: Pair
    serving: Pair
    client: Pair
    kubelet_client: Pair
    """Of the API server, for kubelets."""
    signing_key: ec.EllipticCurvePrivateKey
    token: str


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode()


def _name(common: str, organization: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + _YEARS)
    )


def make_ca(now: dt.datetime) -> tuple[Pair, x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("fairway-ca")
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    builder = (
        _builder(name, name, key, now).add_extension(x509.BasicConstraints(True, None), True).add_extension(usage, True)
    )
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    certificate = builder.sign(key, hashes.SHA256())
    return Pair(certificate.public_bytes(serialization.Encoding.PEM).decode(), _pem(key)), certificate, key


def issue(ca: Pair, subject: tuple[str, str], hosts: tuple[str, ...], now: dt.datetime) -> Pair:
    """A certificate of this CA: for a server when it has hosts, else for a client."""
    authority = x509.load_pem_x509_certificate(ca.certificate.encode())
    authority_key = serialization.load_pem_private_key(ca.key.encode(), None)
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(*subject), authority.subject, key, now).add_extension(
        x509.BasicConstraints(False, None), True
    )
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), False
    )
    use = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = builder.add_extension(x509.ExtendedKeyUsage([use]), False)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(h) for h in hosts]), False)
    certificate = builder.sign(authority_key, hashes.SHA256())
    return Pair(certificate.public_bytes(serialization.Encoding.PEM).decode(), _pem(key))


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def load_or_make(folder: Path, hosts: tuple[str, ...]) -> Authority:
    """Keys and certificates of a data folder; the serving certificate is made anew when the hosts differ."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    now = dt.datetime.now(dt.UTC)
    if not (folder / "ca.crt").exists():
        ca, _, _ = make_ca(now)
        client = issue(ca, ("admin", "system:masters"), (), now)
        signing = _pem(ec.generate_private_key(ec.SECP256R1()))
        made = {"ca.key": ca.key, "admin.crt": client.certificate, "admin.key": client.key, "sa.key": signing}
        made |= {"token": secrets.token_urlsafe(24), "ca.crt": ca.certificate}
        for name, text in made.items():
            _write(folder / name, text)
    ca = Pair((folder / "ca.crt").read_text(), (folder / "ca.key").read_text())
    serving = _kept(folder, "serving", ca, ("fairway-apiserver", ""), hosts)
    kubelet_client = _kept(folder, "kubelet-client", ca, (KUBELET_CLIENT, "system:masters"), ())
    signing_key = serialization.load_pem_private_key((folder / "sa.key").read_bytes(), None)
    assert isinstance(signing_key, ec.EllipticCurvePrivateKey)
    client = Pair((folder / "admin.crt").read_text(), (folder / "admin.key").read_text())
    return Authority(ca, serving, client, kubelet_client, signing_key, (folder / "token").read_text().strip())


def _kept(folder: Path, name: str, ca: Pair, subject: tuple[str, str], hosts: tuple[str, ...]) -> Pair:
    """A certificate in a folder; made when it is not there, and anew when the hosts differ."""
    listed = "\n".join(hosts)
    known = folder / f"{name}.hosts"
    if not known.exists() or known.read_text() != listed:
        pair = issue(ca, subject, hosts, dt.datetime.now(dt.UTC))
        _write(folder / f"{name}.crt", pair.certificate)
        _write(folder / f"{name}.key", pair.key)
        _write(known, listed)
    return Pair((folder / f"{name}.crt").read_text(), (folder / f"{name}.key").read_text())


def make_node(folder: Path, ca: Pair, node: str, addresses: tuple[str, ...]) -> None:
    """What a node's own API needs, in a folder: its serving certificate, `serving.crt` and `.key`, and `ca.crt`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(folder / "ca.crt", ca.certificate)
    _kept(folder, "serving", ca, (f"system:node:{node}", "system:nodes"), (node, *addresses))


def kubelet_context(authority: Authority) -> ssl.SSLContext:
    """TLS of the API server as a client of its nodes, whose certificates must be of its own CA."""
    context = ssl.create_default_context(cadata=authority.ca.certificate)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # readable by its owner only
        file.write(authority.kubelet_client.certificate + authority.kubelet_client.key)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def server_context(folder: Path) -> ssl.SSLContext:
    """TLS for the API server or a node, from the files of its folder.

    Client certificates of our CA are asked for, not required.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "serving.crt", folder / "serving.key")
    context.load_verify_locations(folder / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context
