"""The signature that a parent brings along: an OpenSSF model-signing bundle (`model.sig`) by a local key.

It is a Sigstore bundle around a DSSE envelope; its statement lists every file of the model with its sha256.
That is compared with the manifest, whose digests are those of the bytes loaded: no weight is read again.

Covered: who signed, and that every file of the manifest was signed as it is, with none missing.
Not covered, and refused by code: signatures by certificates or Sigstore identities (they need a network and a
root of trust), models signed in shards, and bundles of model-signing before 1.0.
Source: https://github.com/sigstore/model-transparency, predicate https://model_signing/signature/v1.0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NoReturn

from stages.core.errors import BadSignature
from stages.core.records import dsse
from stages.core.records.canonical import Json, loads
from stages.core.records.dsse import Envelope
from stages.core.records.files import sha256_bytes
from stages.core.records.keys import PublicKey
from stages.core.records.manifest import BESIDE, SIGNATURE, SIGNATURE_BYTES, Manifest

NAME: Final = SIGNATURE
MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://model_signing/signature/v1.0"
MAX_BYTES: Final = SIGNATURE_BYTES
HEX: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Signed:
    """What a verified bundle says. files: name → sha256, as signed. key: the trusted key that signed it."""

    files: Mapping[str, str]
    key: PublicKey
    bundle_sha256: str

    def to_json(self) -> Json:
        """For evidence and lineage; the files are the manifest's, and not repeated."""
        return {
            "status": "verified",
            "key": self.key.name,
            "keyid": self.key.keyid,
            "bundle_sha256": self.bundle_sha256,
            "files": len(self.files),
        }


def verify(data: bytes, trusted: Sequence[PublicKey]) -> Signed:
    """What the bundle `data` signs, by which of the trusted keys. Raises BadSignature, each with its code."""
    envelope = _envelope(data)
    if envelope.payload_type != dsse.PAYLOAD_TYPE:
        raise BadSignature(
            "signature-type", f"expected {dsse.PAYLOAD_TYPE!r}, got {envelope.payload_type[:80]!r}."
        )
    (signature,) = envelope.signatures
    for key in trusted:
        if key.verifies(signature.value, envelope.signed):
            return Signed(_files(envelope.payload), key, sha256_bytes(data))
    names = ", ".join(f"{key.name} ({key.keyid[:12]}…)" for key in trusted) or "none"
    raise BadSignature(
        "signature-untrusted",
        f"{NAME} is by none of the trusted keys ({names}). Ask the publisher for the public key by another "
        "way, and name it in policy.signatures.parents.trusted.",
    )


def compare(signed: Signed, manifest: Manifest) -> None:
    """Raise BadSignature unless every file of the manifest was signed as it is, and none is missing.

    Files about an artifact (a README, a card) may be signed or not: they are no part of its digest. Of a base
    with an adapter in it, the bundle signs the adapter's own files: nobody but the lab has seen the others.
    """
    own = manifest.adapter.files if manifest.adapter else None
    present = own or {name: record.sha256 for name, record in manifest.files.items()}
    unsigned = sorted(present.keys() - signed.files.keys())
    missing = sorted(signed.files.keys() - present.keys() - BESIDE)
    altered = sorted(
        name for name in present.keys() & signed.files.keys() if present[name] != signed.files[name]
    )
    if altered:
        raise BadSignature(
            "signature-digest",
            f"{_first(altered)} not what was signed. Restore the signed files, or have these signed.",
        )
    if unsigned:
        raise BadSignature(
            "signature-cover",
            f"{NAME} covers fewer files than the manifest: {_first(unsigned)} not signed. Remove them, or "
            "have the whole folder signed.",
        )
    if missing:
        raise BadSignature(
            "signature-missing", f"{_first(missing)} signed and not here. Acquire the whole signed model."
        )


def _first(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more} {'is' if len(names) == 1 else 'are'}"


def _envelope(data: bytes) -> Envelope:
    """The envelope of a bundle signed by a bare key, with exactly one signature."""
    if len(data) > MAX_BYTES:
        _malformed(f"{len(data)} bytes; the limit is {MAX_BYTES}")
    try:
        tree = loads(data.decode("utf-8"))
    except ValueError as problem:
        _malformed(str(problem))
    if not isinstance(tree, dict) or tree.get("mediaType") != MEDIA_TYPE:
        _malformed(f"expected a bundle of media type {MEDIA_TYPE}. Sign with model-signing 1.0 or later")
    material = tree.get("verificationMaterial")
    if not isinstance(material, dict) or material.keys() - {"tlogEntries"} != {"publicKey"}:
        raise BadSignature(
            "signature-kind",
            f"{NAME} is signed by a certificate or a Sigstore identity, which needs a network and a root of "
            "trust to check. Have it signed with a local key: model_signing sign key --private_key KEY.pem",
        )
    if tree.keys() != {"mediaType", "verificationMaterial", "dsseEnvelope"}:
        _malformed("a bundle has mediaType, verificationMaterial and dsseEnvelope alone")
    envelope = dsse.envelope(tree["dsseEnvelope"])
    if len(envelope.signatures) != 1:
        _malformed(f"expected one signature, got {len(envelope.signatures)}")
    return envelope


def _files(payload: bytes) -> dict[str, str]:
    """Name → sha256 of a verified statement. Raises BadSignature for one of another kind or in disorder."""
    try:
        tree = loads(payload.decode("utf-8"))
        if (tree["_type"], tree["predicateType"]) != (STATEMENT, PREDICATE):
            _malformed(f"it signs a statement of another type: {str(tree['predicateType'])[:80]!r}")
        (subject,) = tree["subject"]
        serialization, resources = tree["predicate"]["serialization"], tree["predicate"]["resources"]
        if (serialization["method"], serialization["hash_type"]) != ("files", "sha256"):
            _malformed("the model was signed in shards or by another hash. Sign whole files by sha256")
        if any(one["algorithm"] != "sha256" for one in resources):
            _malformed("a file was hashed by something else than sha256")
        files = {one["name"]: one["digest"] for one in resources}
        digests = [bytes.fromhex(one["digest"]) for one in resources if set(one["digest"]) <= HEX]
        stated = subject["digest"]["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        _malformed(f"the statement in it is incomplete ({problem!r})")
    if len(files) != len(resources) or len(digests) != len(resources):
        _malformed("it names a file twice, or a digest is no lower-case hex")
    if (
        any(len(digest) != sha256().digest_size for digest in digests)
        or sha256(b"".join(digests)).hexdigest() != stated
    ):
        _malformed("the digest of the whole does not follow from those of its files")
    return files


def _malformed(reason: str) -> NoReturn:
    raise BadSignature("signature-form", f"{NAME}: {reason}.")
