"""Local keys: Ed25519, and ECDSA on P-256, P-384 or P-521, from PEM files or the policy.

    private = read_private(Path("lab.pem"), passphrase=ask)     # ask() is called only if it is encrypted
    private.sign(data); private.public.keyid                    # sha256 of the SubjectPublicKeyInfo

The key decides the algorithm; whatever an envelope says of it is never asked. All arithmetic is
`cryptography`'s. Nothing here looks for a key: no agent, no environment variable, no keyring.
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from stages.core.errors import LabError
from stages.core.records.files import sha256_bytes

CURVES: Final[dict[str, Callable[[], hashes.HashAlgorithm]]] = {  # by the name of the curve: its hash
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}
KINDS: Final = "Ed25519, or ECDSA on P-256, P-384 or P-521"
MAX_KEY_BYTES: Final = 1 << 14  # an encrypted P-521 key in PEM takes about 600

PublicPart: TypeAlias = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
PrivatePart: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class PublicKey:
    """What a signature is checked with. name: how the policy calls it, or the file it was read from."""

    name: str
    part: PublicPart

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, DER: one byte string per key."""
        return self.part.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def keyid(self) -> str:
        """Lower-case hex sha256 of `spki`."""
        return sha256_bytes(self.spki)

    @property
    def pem(self) -> bytes:
        """The same as PEM, of which model-signing takes the sha256 for its hint."""
        return self.part.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` is this key's on `data`, by the one algorithm that the key has."""
        try:
            if isinstance(self.part, ed25519.Ed25519PublicKey):
                self.part.verify(signature, data)
            else:
                self.part.verify(signature, data, _ecdsa(self.part))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class PrivateKey:
    """What signs."""

    part: PrivatePart

    @property
    def public(self) -> PublicKey:
        """Its public half."""
        return PublicKey("this key", self.part.public_key())

    def sign(self, data: bytes) -> bytes:
        """A signature: 64 bytes for Ed25519, DER for ECDSA (another one each time)."""
        if isinstance(self.part, ed25519.Ed25519PrivateKey):
            return self.part.sign(data)
        return self.part.sign(data, _ecdsa(self.part.public_key()))


def read_private(path: Path, passphrase: Callable[[], bytes]) -> PrivateKey:
    """The private key of a PEM file. passphrase: called only where the file is encrypted.

    Raises LabError for a file that is no such key, a passphrase that does not open it, or another algorithm.
    """
    data = _read(path)
    try:
        part = serialization.load_pem_private_key(data, None)
    except TypeError:  # how the library says that it is encrypted
        try:
            part = serialization.load_pem_private_key(data, passphrase())
        except (ValueError, UnsupportedAlgorithm) as problem:
            raise LabError(f"{path}: this passphrase does not open the key. Nothing was signed.") from problem
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise LabError(f"{path} holds no private key in PEM. Expected {KINDS}.") from problem
    if isinstance(part, ed25519.Ed25519PrivateKey):
        return PrivateKey(part)
    if isinstance(part, ec.EllipticCurvePrivateKey) and part.curve.name in CURVES:
        return PrivateKey(part)
    raise LabError(f"{path}: expected {KINDS}, got {_kind(part)}. Make another key.")


def read_public(path: Path) -> PublicKey:
    """The public key of a PEM file. Raises LabError for anything else, a private key among it."""
    try:
        part = serialization.load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise LabError(
            f"{path} holds no public key in PEM. From a private one: openssl pkey -in KEY.pem -pubout"
        ) from problem
    return _public(str(path), part)


def from_base64(name: str, text: str) -> PublicKey:
    """The key of a policy: base64 of its SubjectPublicKeyInfo, which is a public PEM's text on one line.

    Raises LabError unless `text` is the one canonical encoding of a key of ours.
    """
    try:
        part = serialization.load_der_public_key(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error, UnsupportedAlgorithm) as problem:
        raise LabError(
            f"key {name!r}: expected the base64 of a public key (the text of its PEM on one line, without "
            f"the dashes), got {text[:24]!r}…"
        ) from problem
    key = _public(name, part)
    if base64.b64encode(key.spki).decode("ascii") != text:
        raise LabError(f"key {name!r} is not written as openssl writes it: openssl pkey -pubin -in KEY.pem")
    return key


def _public(name: str, part: object) -> PublicKey:
    if isinstance(part, ed25519.Ed25519PublicKey):
        return PublicKey(name, part)
    if isinstance(part, ec.EllipticCurvePublicKey) and part.curve.name in CURVES:
        return PublicKey(name, part)
    raise LabError(f"{name}: expected a key of {KINDS}, got {_kind(part)}. Use another key.")


def _kind(part: object) -> str:
    curve = getattr(getattr(part, "curve", None), "name", None)
    return f"the curve {curve}" if curve else type(part).__name__.removeprefix("_")


def _ecdsa(part: ec.EllipticCurvePublicKey) -> ec.ECDSA:
    return ec.ECDSA(CURVES[part.curve.name]())


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_KEY_BYTES)
    except OSError as problem:
        raise LabError(f"cannot read the key {path}: {problem.strerror}.") from problem
