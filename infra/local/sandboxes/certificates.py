"""A certificate authority of one data folder, and a certificate for all vendor host names under it."""

from __future__ import annotations

import ipaddress
import os
import secrets
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_DAYS = 825  # the longest that Apple's clients accept: support.apple.com/en-us/103769
RENEW_DAYS = 30
_LOOPBACK = ipaddress.ip_address("127.0.0.1")


def ensure_certificates(folder: Path, hosts: Iterable[str]) -> tuple[Path, Path]:
    """Make `ca.pem` (public) and `leaf.pem` (certificate and key, 0600) unless those there still serve `hosts`.

    The authority's key is thrown away after signing: nothing else can ever be signed by it. New ones are made when
    a host is missing, when they end within 30 days, or when they are damaged or do not belong together.

    Returns:
        The paths of `ca.pem` and `leaf.pem`.
    """
    wanted = {"localhost", *hosts}
    ca_path, leaf_path = folder / "ca.pem", folder / "leaf.pem"
    if not _still_serves(ca_path, leaf_path, wanted):
        folder.mkdir(parents=True, exist_ok=True)
        ca, leaf = _make(sorted(wanted))
        _write(leaf_path, leaf, 0o600)
        _write(ca_path, ca, 0o644)
    return ca_path, leaf_path


def server_context(leaf_path: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer, HTTP/1.1 only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(leaf_path)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _still_serves(ca_path: Path, leaf_path: Path, hosts: set[str]) -> bool:
    try:
        ca = x509.load_pem_x509_certificate(ca_path.read_bytes())
        leaf_pem = leaf_path.read_bytes()
        leaf = x509.load_pem_x509_certificate(leaf_pem)
        serialization.load_pem_private_key(leaf_pem, password=None)
        leaf.verify_directly_issued_by(ca)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (FileNotFoundError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    enough = datetime.now(UTC) + timedelta(days=RENEW_DAYS)
    lasts = min(ca.not_valid_after_utc, leaf.not_valid_after_utc) > enough
    return lasts and hosts <= set(names.get_values_for_type(x509.DNSName))


def _make(hosts: list[str]) -> tuple[bytes, bytes]:
    ca_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = (
        _builder("BI connectors local sandbox CA", ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_certificate_signing(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([*map(x509.DNSName, hosts), x509.IPAddress(_LOOPBACK)])
    leaf = (
        _builder("localhost", leaf_key)
        .add_extension(names, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(leaf_key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    key = leaf_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return ca.public_bytes(pem), leaf.public_bytes(pem) + key


def _builder(common_name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    start = datetime.now(UTC) - timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .issuer_name(_name("BI connectors local sandbox CA"))
        .subject_name(_name(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=VALID_DAYS))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _certificate_signing() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    temporary.replace(path)
