"""Makes the files beside it with the reference implementations, in an environment of its own:

    pip install model-signing==1.1.1 pyOpenSSL securesystemslib==1.6.0
    python tests/core/records/signed/make.py

The private keys are thrown away: running it again gives other keys and signatures.
"""

import datetime
import json
import tempfile
from pathlib import Path

import model_signing.hashing
import model_signing.signing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey

HERE = Path(__file__).parent
FILES = {"model.safetensors": b"weights", "config.json": b"{}", "tokenizer.json": b'{"a": 1}'}
PAYLOAD = b'{"hello":"world"}'


def public(key: object, name: str) -> None:
    part = key.public_key()
    pem = part.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (HERE / f"{name}.pub").write_bytes(pem)


def private(key: object, folder: Path) -> Path:
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    return folder / "key.pem"


def certificate(key: ec.EllipticCurvePrivateKey, folder: Path) -> Path:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody")])
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(day).not_valid_after(day + datetime.timedelta(days=3650))
    (folder / "c.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return folder / "c.pem"


def bundles(folder: Path) -> None:
    model = folder / "model"
    model.mkdir()
    for name, content in FILES.items():
        (model / name).write_bytes(content)
    for name, curve in (("p256", ec.SECP256R1()), ("p384", ec.SECP384R1()), ("p521", ec.SECP521R1())):
        key = ec.generate_private_key(curve)
        public(key, name)
        where = private(key, folder)
        config = model_signing.signing.Config().use_elliptic_key_signer(private_key=where)
        config.sign(model, HERE / f"{name}.sig")
        if name == "p256":
            shards = model_signing.hashing.Config().use_shard_serialization()
            config.set_hashing_config(shards).sign(model, HERE / "shards.sig")
            chain = certificate(key, folder)
            signer = model_signing.signing.Config().use_certificate_signer(
                private_key=where, signing_certificate=chain, certificate_chain=[chain]
            )
            signer.sign(model, HERE / "certificate.sig")


def envelopes() -> None:
    envelope = Envelope(PAYLOAD, "application/vnd.in-toto+json", {})
    for name, key in (
        ("ed25519", ed25519.Ed25519PrivateKey.generate()),
        ("ecdsa", ec.generate_private_key(ec.SECP256R1())),
    ):
        public(key, name)
        der = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        digest = hashes.Hash(hashes.SHA256())
        digest.update(der)
        keyid = digest.finalize().hex()
        envelope.sign(CryptoSigner(key, SSlibKey.from_crypto(key.public_key(), keyid)))
    (HERE / "envelope.json").write_text(json.dumps(envelope.to_dict(), indent=1) + "\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        bundles(Path(scratch))
    envelopes()
