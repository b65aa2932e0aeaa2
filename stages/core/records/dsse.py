"""Signed statements: DSSE envelopes over canonical JSON, read strictly and never leniently.

    text = sign(statement, private)                              # the envelope, to be kept beside it
    signers = verify(text.encode(), statement, [public], threshold=1)

Refused, each with its code: an envelope that readers could understand in two ways (repeated keys, other keys,
base64 with another spelling of the same bytes), another type of payload, a payload that is not the canonical
JSON of the statement at hand, two signatures of one key, and a signature that names a trusted key and is not
that key's. Signatures by keys that nobody here trusts count for nothing.
ECDSA signatures are no identities: whoever holds one can write down a second for the same bytes and key.
Source: https://github.com/secure-systems-lab/dsse, protocol 1.0.2.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stages.core.errors import BadSignature
from stages.core.records.canonical import Json, dumps, loads, pretty
from stages.core.records.keys import PrivateKey, PublicKey

NAME: Final = "lineage.dsse.json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MAX_BYTES: Final = 1 << 28  # of an envelope: the lineage of 10^5 tensors takes about 60 MB
MAX_SIGNATURES: Final = 16
MAX_SIGNATURE_BYTES: Final = 256  # ECDSA on P-521 in DER takes at most 139


@dataclass(frozen=True)
class Signature:
    """One signature. keyid: as the envelope states it, empty where it states none."""

    keyid: str
    value: bytes


@dataclass(frozen=True)
class Envelope:
    """A payload with its type and at least one signature, none of them checked yet."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]

    @property
    def signed(self) -> bytes:
        """The bytes that are signed: the pre-authentication encoding of type and payload."""
        return pae(self.payload_type, self.payload)

    def to_json(self) -> Json:
        """The tree of the envelope's file; `envelope` is its inverse."""
        return {
            "payload": _encode(self.payload),
            "payloadType": self.payload_type,
            "signatures": [{"keyid": one.keyid, "sig": _encode(one.value)} for one in self.signatures],
        }


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: each string after its length in bytes, so it has one reading."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(statement: Json, key: PrivateKey, beside: Envelope | None = None) -> str:
    """The text of an envelope over the canonical JSON of `statement`, signed by `key`.

    beside: an envelope over the same statement whose other signatures are kept, so that several may sign.
    Raises BadSignature (`signature-payload`) if that one is over something else.
    """
    payload = dumps(statement)
    if beside and (beside.payload, beside.payload_type) != (payload, PAYLOAD_TYPE):
        raise BadSignature(
            "signature-payload",
            "the signature kept there is over another statement. Remove it; sign again.",
        )
    keyid = key.public.keyid
    others = [one for one in beside.signatures if one.keyid != keyid] if beside else []
    mine = Signature(keyid, key.sign(pae(PAYLOAD_TYPE, payload)))
    return pretty(Envelope(payload, PAYLOAD_TYPE, (*others, mine)).to_json())


def verify(
    data: bytes, statement: Json, trusted: Sequence[PublicKey], threshold: int
) -> tuple[PublicKey, ...]:
    """The trusted keys that signed exactly this statement, in the order of the envelope: `threshold` or more.

    data: the envelope's file. Raises BadSignature otherwise.
    """
    return signers(matching(data, statement), trusted, threshold)


def matching(data: bytes, statement: Json) -> Envelope:
    """The envelope of the file `data`, whose payload is this statement; who signed it is not looked at.

    Raises BadSignature (`signature-form`, `signature-type`, `signature-payload`).
    """
    found = parse(data)
    if found.payload_type != PAYLOAD_TYPE:
        raise BadSignature("signature-type", f"expected {PAYLOAD_TYPE!r}, got {found.payload_type[:80]!r}.")
    if found.payload != dumps(statement):
        raise BadSignature(
            "signature-payload",
            "what was signed is not the canonical JSON of the lineage beside it: one of the two was changed, "
            "or the signature belongs to another artifact. Restore the lineage, or have it signed again.",
        )
    return found


def signers(found: Envelope, trusted: Sequence[PublicKey], threshold: int) -> tuple[PublicKey, ...]:
    """The trusted keys whose signatures the envelope bears, each once. Raises BadSignature if too few."""
    known = {key.keyid: key for key in trusted}
    if threshold < 1 or len(known) < threshold:
        raise BadSignature(
            "signature-threshold",
            f"{threshold} signatures are asked for and {len(known)} keys are trusted. Give --key, or "
            "name keys in policy.signatures.",
        )
    accepted = []
    for one in found.signatures:
        key = known.get(one.keyid)
        if key is None:
            continue
        if not key.verifies(one.value, found.signed):
            raise BadSignature(
                "signature-wrong",
                f"the signature that names the key {key.name} ({one.keyid[:12]}…) is not its own.",
            )
        accepted.append(key)
    if len(accepted) < threshold:
        named = ", ".join(f"{one.keyid[:12]}…" for one in found.signatures)
        raise BadSignature(
            "signature-untrusted",
            f"expected {threshold} signatures of trusted keys, got {len(accepted)}. It is signed by {named}; "
            f"trusted are {', '.join(f'{key.name} ({keyid[:12]}…)' for keyid, key in known.items())}.",
        )
    return tuple(accepted)


def parse(data: bytes) -> Envelope:
    """The envelope of a file. Raises BadSignature (`signature-form`) unless it has one reading alone."""
    if len(data) > MAX_BYTES:
        raise BadSignature("signature-form", f"an envelope of {len(data)} bytes; the limit is {MAX_BYTES}.")
    try:
        tree = loads(data.decode("utf-8"))
    except ValueError as problem:
        raise BadSignature("signature-form", f"the envelope is malformed JSON: {problem}.") from problem
    return envelope(tree)


def envelope(tree: Json) -> Envelope:
    """The envelope of a JSON tree: payload, payloadType and signatures, and nothing else.

    Raises BadSignature (`signature-form`) for other keys, none or many signatures, or two that name one key.
    """
    if not isinstance(tree, dict) or tree.keys() != {"payload", "payloadType", "signatures"}:
        raise BadSignature("signature-form", "an envelope has payload, payloadType and signatures alone.")
    listed = tree["signatures"]
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_SIGNATURES:
        raise BadSignature("signature-form", f"an envelope has 1 to {MAX_SIGNATURES} signatures.")
    signatures = tuple(_signature(one) for one in listed)
    if len({one.keyid for one in signatures}) != len(signatures):
        raise BadSignature("signature-form", "two signatures name one key: it would count twice.")
    return Envelope(_decode(tree["payload"], MAX_BYTES), _text(tree["payloadType"]), signatures)


def _signature(tree: Json) -> Signature:
    if not isinstance(tree, dict) or not {"sig"} <= tree.keys() <= {"sig", "keyid"}:
        raise BadSignature("signature-form", "a signature has sig and keyid alone.")
    value = _decode(tree["sig"], MAX_SIGNATURE_BYTES)
    if not value:
        raise BadSignature("signature-form", "a signature is empty.")
    return Signature(_text(tree.get("keyid", "")), value)


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise BadSignature("signature-form", f"expected text, got {str(value)[:40]!r}.")
    return value


def _decode(value: Json, most: int) -> bytes:
    """The bytes of base64 that has no other spelling: standard alphabet, padded, no stray bits or spaces."""
    try:
        found = base64.b64decode(_text(value), validate=True)
    except (ValueError, binascii.Error) as problem:
        raise BadSignature("signature-form", f"malformed base64: {problem}.") from problem
    if _encode(found) != value or len(found) > most:
        raise BadSignature("signature-form", "base64 that is not as the encoder writes it, or too long.")
    return found


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
