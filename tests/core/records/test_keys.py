"""Which keys are taken, and that the key alone decides the algorithm."""

import base64
import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from stages.core.errors import LabError
from stages.core.records.keys import from_base64, read_private, read_public
from tests.core.records.signatories import KINDS, SIGNED, new_key, public_of, write_private, write_public

# The public key of RFC 8032, section 7.1, test 1, behind the 12 bytes that say "Ed25519" in DER (RFC 8410)
RFC_8032 = bytes.fromhex(
    "302a300506032b6570032100d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
)
RFC_8032_SIGNATURE = bytes.fromhex(  # of the empty message
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
    "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)


def never() -> bytes:
    pytest.fail("a key without a passphrase was asked for one")


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_signs_what_its_public_half_verifies_and_nothing_else(kind: str, tmp_path: Path) -> None:
    key = read_private(write_private(tmp_path / "key.pem", new_key(kind)), never)
    public = read_public(write_public(tmp_path / "key.pub", key))
    assert public.keyid == key.public.keyid
    assert public.verifies(key.sign(b"these bytes"), b"these bytes")
    assert not public.verifies(key.sign(b"these bytes"), b"those bytes")
    assert not new_key(kind).public.verifies(key.sign(b"these bytes"), b"these bytes")


def test_the_key_of_rfc_8032_verifies_its_own_signature_and_is_named_by_the_digest_of_its_der() -> None:
    key = from_base64("rfc", base64.b64encode(RFC_8032).decode())
    assert key.verifies(RFC_8032_SIGNATURE, b"")
    assert key.keyid == hashlib.sha256(RFC_8032).hexdigest()


@pytest.mark.parametrize("name", ["p256", "p384", "p521", "ed25519", "ecdsa"])
def test_the_keyid_is_the_sha256_of_the_der_inside_the_pem(name: str) -> None:
    body = "".join((SIGNED / f"{name}.pub").read_text().splitlines()[1:-1])
    assert public_of(name).keyid == hashlib.sha256(base64.b64decode(body)).hexdigest()
    assert from_base64("same", body).keyid == public_of(name).keyid


def test_an_encrypted_key_opens_with_its_passphrase_alone(tmp_path: Path) -> None:
    key = new_key()
    path = write_private(tmp_path / "key.pem", key, b"correct horse")
    assert read_private(path, lambda: b"correct horse").public.keyid == key.public.keyid
    with pytest.raises(LabError, match="this passphrase does not open the key"):
        read_private(path, lambda: b"battery staple")


def test_a_passphrase_is_never_taken_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_private(tmp_path / "key.pem", new_key(), b"secret")
    for name in ("PASSPHRASE", "MERGELAB_PASSPHRASE", "SSH_ASKPASS", "COSIGN_PASSWORD"):
        monkeypatch.setenv(name, "secret")
    asked = []
    with pytest.raises(LabError, match="does not open the key"):
        read_private(path, lambda: asked.append(1) or b"wrong")
    assert asked == [1]


def other_algorithms() -> list[object]:
    return [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP256K1()),
        dsa.generate_private_key(1024),
    ]


@pytest.mark.parametrize("number", range(3), ids=["RSA", "secp256k1", "DSA"])
def test_keys_of_other_algorithms_are_refused_by_name(number: int, tmp_path: Path) -> None:
    part = other_algorithms()[number]
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(part.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "key.pub").write_bytes(part.public_key().public_bytes(serialization.Encoding.PEM, spki))
    with pytest.raises(LabError, match="expected Ed25519, or ECDSA on P-256"):
        read_private(tmp_path / "key.pem", never)
    with pytest.raises(LabError, match="expected a key of Ed25519, or ECDSA on P-256"):
        read_public(tmp_path / "key.pub")


def test_a_private_key_is_no_public_key_and_a_missing_file_is_named(tmp_path: Path) -> None:
    write_private(tmp_path / "key.pem", new_key())
    with pytest.raises(LabError, match=r"key\.pem holds no public key"):
        read_public(tmp_path / "key.pem")
    with pytest.raises(LabError, match=r"key\.pub holds no private key"):
        read_private(write_public(tmp_path / "key.pub", new_key()), never)
    with pytest.raises(LabError, match=r"cannot read the key .*nowhere\.pem"):
        read_private(tmp_path / "nowhere.pem", never)


def test_a_key_of_the_policy_has_one_spelling() -> None:
    text = base64.b64encode(RFC_8032).decode()
    for other in (
        text.rstrip("="),
        text + "\n",
        text[:30] + "\n" + text[30:],
        "",
        "AAAA",
    ):
        with pytest.raises(LabError, match=r"key 'lab'"):
            from_base64("lab", other)
