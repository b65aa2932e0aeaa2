"""Bundles of model-signing itself, held against keys and manifests; and every way in which they misfit."""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from stages.core.errors import BadSignature
from stages.core.records import bundle, dsse
from stages.core.records.files import sha256_bytes
from stages.core.records.manifest import FileRecord, Manifest
from tests.core.records.signatories import SIGNED, new_key, public_of

FILES = {"model.safetensors": b"weights", "config.json": b"{}", "tokenizer.json": b'{"a": 1}'}


def manifest(**changes: bytes | None) -> Manifest:
    """The manifest of the model that was signed; `_` in a name stands for the dot, None leaves a file out."""
    files = FILES | {name.replace("_", "."): content for name, content in changes.items()}
    return Manifest(
        {name: FileRecord(sha256_bytes(data), len(data)) for name, data in files.items() if data is not None}
    )


def data(name: str = "p256") -> bytes:
    return (SIGNED / f"{name}.sig").read_bytes()


def own(change: Callable[[dict[str, Any]], Any], key: Any) -> bytes:
    """The reference bundle with its statement changed and signed anew by `key`: only the form is amiss."""
    tree = json.loads(data())
    statement = json.loads(base64.b64decode(tree["dsseEnvelope"]["payload"]))
    payload = change(statement)
    payload = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signature = key.sign(dsse.pae(dsse.PAYLOAD_TYPE, payload))
    tree["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    tree["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    return json.dumps(tree).encode()


@pytest.mark.parametrize("name", ["p256", "p384", "p521"])
def test_a_bundle_of_model_signing_verifies_under_its_key_and_fits_the_manifest(name: str) -> None:
    signed = bundle.verify(data(name), [public_of("ed25519"), public_of(name)])
    bundle.compare(signed, manifest())
    assert signed.files == {file: sha256_bytes(content) for file, content in FILES.items()}
    assert signed.to_json() == {
        "status": "verified",
        "key": str(SIGNED / f"{name}.pub"),
        "keyid": public_of(name).keyid,
        "bundle_sha256": hashlib.sha256(data(name)).hexdigest(),
        "files": 3,
    }


@pytest.mark.parametrize("trusted", [[], ["p384"], ["ed25519", "ecdsa"]])
def test_a_bundle_by_no_trusted_key_is_refused(trusted: list[str]) -> None:
    with pytest.raises(BadSignature, match=r"^\[signature-untrusted\]"):
        bundle.verify(data(), [public_of(name) for name in trusted])


def test_a_certificate_is_refused_as_another_kind_even_if_it_is_of_a_trusted_key() -> None:
    with pytest.raises(BadSignature, match=r"^\[signature-kind\].*local key"):
        bundle.verify(data("certificate"), [public_of("p256")])


def test_a_model_signed_in_shards_is_refused() -> None:
    with pytest.raises(BadSignature, match=r"^\[signature-form\].*in shards"):
        bundle.verify(data("shards"), [public_of("p256")])


@pytest.mark.parametrize(
    ("code", "changes", "named"),
    [
        ("signature-digest", {"model_safetensors": b"altered"}, r"model\.safetensors is not what was signed"),
        ("signature-cover", {"LICENSE": b"x"}, "covers fewer files than the manifest: LICENSE is not signed"),
        ("signature-missing", {"tokenizer_json": None}, r"tokenizer\.json is signed and not here"),
    ],
)
def test_a_manifest_of_other_files_is_refused(code: str, changes: dict[str, Any], named: str) -> None:
    signed = bundle.verify(data(), [public_of("p256")])
    with pytest.raises(BadSignature, match=rf"^\[{code}\] .*{named}"):
        bundle.compare(signed, manifest(**changes))


def test_files_about_the_model_may_be_signed_and_need_not_be_kept() -> None:
    key = new_key("p256")
    signed = bundle.verify(own(_with("README.md"), key), [key.public])
    bundle.compare(signed, manifest())


@pytest.mark.parametrize("place", ["payload", "sig"])
def test_a_bundle_with_one_bit_flipped_is_refused(place: str) -> None:
    tree = json.loads(data())
    where = tree["dsseEnvelope"] if place == "payload" else tree["dsseEnvelope"]["signatures"][0]
    raw = bytearray(base64.b64decode(where[place]))
    raw[20] ^= 1
    where[place] = base64.b64encode(raw).decode()
    with pytest.raises(BadSignature, match=r"^\[signature-untrusted\]"):
        bundle.verify(json.dumps(tree).encode(), [public_of("p256")])


def _with(name: str, **fields: Any) -> Callable[[dict[str, Any]], Any]:
    """One file more, with the digest of the whole to match."""

    def change(tree: dict[str, Any]) -> Any:
        entry = {"name": name, "digest": "0" * 64, "algorithm": "sha256"} | fields
        resources = [*tree["predicate"]["resources"], entry]
        digests = b"".join(bytes.fromhex(one["digest"]) for one in resources)
        tree["subject"][0]["digest"]["sha256"] = hashlib.sha256(digests).hexdigest()
        tree["predicate"]["resources"] = resources
        return tree

    return change


def _subject(tree: dict[str, Any]) -> Any:
    tree["subject"][0]["digest"]["sha256"] = "0" * 64
    return tree


FORMS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another predicate": lambda tree: tree | {"predicateType": "https://slsa.dev/provenance/v1"},
    "the predicate before 1.0": lambda tree: tree | {"predicateType": "https://model_signing/Digests/v0.1"},
    "another digest of the whole": _subject,
    "a file named twice": _with("config.json"),
    "another hash": _with("x", algorithm="blake2b"),
    "a digest in upper case": _with("x", digest="AB" * 32),
    "a short digest": _with("x", digest="ab"),
    "no subject": lambda tree: tree | {"subject": []},
    "two subjects": lambda tree: tree | {"subject": tree["subject"] * 2},
    "no predicate": lambda tree: {key: value for key, value in tree.items() if key != "predicate"},
    "a list": lambda tree: [tree],
    "a repeated key": lambda tree: json.dumps(tree).encode()[:-1] + b', "predicate": {}}',
    "no JSON": lambda tree: b"\xff",
}


@pytest.mark.parametrize("name", FORMS)
def test_a_statement_of_another_form_is_refused_though_a_trusted_key_signed_it(name: str) -> None:
    key = new_key("p256")
    with pytest.raises(BadSignature, match=r"^\[signature-form\]"):
        bundle.verify(own(FORMS[name], key), [key.public])


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree | {"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1"},
        lambda tree: tree | {"messageSignature": {}},
        lambda tree: tree["dsseEnvelope"],
        lambda tree: tree | {"dsseEnvelope": tree["dsseEnvelope"] | {"signatures": []}},
        lambda tree: (
            tree
            | {
                "dsseEnvelope": tree["dsseEnvelope"]
                | {"signatures": tree["dsseEnvelope"]["signatures"] + [{"keyid": "x", "sig": "AAAA"}]}
            }
        ),
    ],
    ids=["media type", "message signature", "bare envelope", "no signature", "two signatures"],
)
def test_another_form_of_bundle_is_refused(change: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(BadSignature, match=r"^\[signature-form\]"):
        bundle.verify(json.dumps(change(json.loads(data()))).encode(), [public_of("p256")])
