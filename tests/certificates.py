"""A certificate authority of a test's own, and the certificate of a server on 127.0.0.1."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certificates:
    """Files in PEM: the authority that signed the server's certificate, another one, the certificate and its key."""

    authority: Path
    stranger: Path
    certificate: Path
    key: Path


def certificates(folder: Path) -> Certificates:
    ours, key = _authority("ours")
    made = Certificates(*(folder / f"{name}.pem" for name in ("authority", "stranger", "certificate", "key")))
    made.authority.write_bytes(_pem(ours))
    made.stranger.write_bytes(_pem(_authority("strangers")[0]))
    own = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")])
    builder = _builder("server", own, ours.subject).add_extension(names, critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    made.certificate.write_bytes(_pem(builder.add_extension(issuer, critical=False).sign(key, hashes.SHA256())))
    plain = serialization.NoEncryption()
    made.key.write_bytes(own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return made


def _authority(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    signs = x509.KeyUsage(
        key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = _builder(name, key, _name(name)).add_extension(x509.BasicConstraints(True, None), critical=True)
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return builder.add_extension(signs, critical=True).add_extension(own, critical=False).sign(
        key, hashes.SHA256()
    ), key


def _builder(name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name) -> x509.CertificateBuilder:
    day, now = timedelta(days=1), datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(_name(name)).issuer_name(issuer).public_key(key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
