"""Keys for the tests, made anew in each run; and the files that the reference implementations made."""

from pathlib import Path

from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from stages.core.records.keys import PrivateKey, PublicKey, read_public

SIGNED = Path(__file__).parent / "signed"  # by model-signing 1.1.1 and securesystemslib 1.6.0: make.py there
KINDS = ("ed25519", "p256")


def new_key(kind: str = "ed25519") -> PrivateKey:
    """A fresh key."""
    if kind == "ed25519":
        return PrivateKey(ed25519.Ed25519PrivateKey.generate())
    return PrivateKey(ec.generate_private_key(ec.SECP256R1()))


def public_of(name: str) -> PublicKey:
    """The public key of a reference file."""
    return read_public(SIGNED / f"{name}.pub")


def write_private(path: Path, key: PrivateKey, passphrase: bytes | None = None) -> Path:
    """The key as PEM (PKCS 8), encrypted if there is a passphrase."""
    how = forms.BestAvailableEncryption(passphrase) if passphrase else forms.NoEncryption()
    path.write_bytes(key.part.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, how))
    return path


def write_public(path: Path, key: PrivateKey) -> Path:
    """The public half as PEM."""
    path.write_bytes(key.public.pem)
    return path
