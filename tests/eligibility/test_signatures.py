"""The rule over parents' bundles: what each policy makes of absent, good and bad ones."""

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from stages.core.records import dsse
from stages.core.records.keys import PrivateKey
from stages.core.records.manifest import AdapterOrigin, FileRecord, Manifest
from stages.core.records.policy import ParentSignatures
from stages.eligibility.facts import Facts, Parent
from stages.eligibility.signatures import signatures
from tests.core.records.signatories import new_key

KEY, STRANGER = new_key("p256"), new_key("p256")


def bundle_of(parent: Parent, key: PrivateKey, **change: str | None) -> bytes:
    """A bundle as model-signing writes it. change: file → digest, None leaves it out."""
    origin = parent.manifest.adapter
    files = {name: record.sha256 for name, record in parent.manifest.files.items()}
    files = dict(origin.files) if origin else files
    files |= {name.replace("_json", ".json"): digest for name, digest in change.items()}
    resources = [
        {"name": name, "digest": digest, "algorithm": "sha256"}
        for name, digest in sorted(files.items())
        if digest
    ]
    whole = hashlib.sha256(b"".join(bytes.fromhex(one["digest"]) for one in resources)).hexdigest()
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": parent.id, "digest": {"sha256": whole}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": resources,
        },
    }
    payload = json.dumps(statement).encode()
    signature = key.sign(dsse.pae(dsse.PAYLOAD_TYPE, payload))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": dsse.PAYLOAD_TYPE,
        "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
    }
    material = {"publicKey": {"hint": hashlib.sha256(key.public.pem).hexdigest()}, "tlogEntries": []}
    media_type = "application/vnd.dev.sigstore.bundle.v0.3+json"
    return json.dumps(
        {"mediaType": media_type, "verificationMaterial": material, "dsseEnvelope": envelope}
    ).encode()


def asking(facts: Facts, check: Any, *keys: PrivateKey) -> Facts:
    """The same facts under a policy that trusts these keys."""
    trusted = {f"key{n}": base64.b64encode(key.public.spki).decode() for n, key in enumerate(keys)}
    return replace(facts, signatures=ParentSignatures(check=check, trusted=trusted))


def signed(facts: Facts, only: str | None = None, key: PrivateKey = KEY, **change: str | None) -> Facts:
    """Everyone signed, or the one parent called `only`."""

    def one(parent: Parent) -> Parent:
        wanted = only in (None, parent.id)
        return replace(parent, signature=bundle_of(parent, key, **change)) if wanted else parent

    assert facts.base
    return replace(facts, base=one(facts.base), parents=tuple(map(one, facts.parents)))


def test_all_signed_by_a_trusted_key_pass_and_the_evidence_names_key_and_bundle(passing: Facts) -> None:
    facts = signed(passing)
    found = signatures(asking(facts, "required", KEY))
    assert found.passed
    parent = facts.parents[0]
    assert found.evidence[parent.id] == {
        "status": "verified",
        "key": "key0",
        "keyid": KEY.public.keyid,
        "bundle_sha256": hashlib.sha256(parent.signature or b"").hexdigest(),
        "files": len(parent.manifest.files),
    }


def test_required_refuses_each_that_has_none_by_name_and_if_present_does_not(passing: Facts) -> None:
    facts = signed(passing, "sort")
    found = signatures(asking(facts, "required", KEY))
    assert not found.passed
    assert "base has no model.sig, and the policy requires one" in found.message
    assert "shift has no model.sig" in found.message
    assert "sort has no" not in found.message
    assert signatures(asking(facts, "if_present", KEY)).passed
    assert signatures(asking(passing, "if_present")).passed


@pytest.mark.parametrize("check", ["if_present", "required"])
@pytest.mark.parametrize(
    ("code", "key", "change"),
    [
        ("signature-untrusted", STRANGER, {}),
        ("signature-digest", KEY, {"config_json": "0" * 64}),
        ("signature-cover", KEY, {"config_json": None}),
        ("signature-missing", KEY, {"more_json": "0" * 64}),
    ],
)
def test_one_that_is_there_and_does_not_hold_is_refused_with_its_code(
    passing: Facts, check: str, code: str, key: PrivateKey, change: dict[str, str | None]
) -> None:
    facts = signed(signed(passing), "shift", key, **change)
    found = signatures(asking(facts, check, KEY))
    assert not found.passed
    assert f"shift: [{code}]" in found.message
    assert found.evidence["shift"]["status"] == "refused"
    assert found.evidence["sort"]["status"] == "verified"


def test_the_signature_of_one_parent_does_not_pass_for_another(passing: Facts) -> None:
    sort, shift = signed(passing).parents
    swapped = replace(passing, parents=(replace(sort, signature=shift.signature), shift))
    assert "sort: [signature-digest]" in signatures(asking(swapped, "if_present", KEY)).message


def test_a_signature_that_is_there_is_refused_where_nobody_is_trusted(passing: Facts) -> None:
    found = signatures(asking(signed(passing), "if_present"))
    assert not found.passed
    assert "none of the trusted keys (none)" in found.message


def test_never_looks_at_none_and_says_so(passing: Facts) -> None:
    spoiled = replace(passing, parents=tuple(replace(one, signature=b"junk") for one in passing.parents))
    found = signatures(asking(spoiled, "never"))
    assert found.passed
    digest = hashlib.sha256(b"junk").hexdigest()
    assert found.evidence["sort"] == {"status": "unchecked", "bundle_sha256": digest}
    assert found.evidence["base"] == {"status": "unchecked"}


def with_adapter(facts: Facts, base: str | None = None) -> Facts:
    """The first parent as one that was made of an adapter on the base, or on another of that digest."""
    assert facts.base
    files = {"adapter_config.json": "1" * 64, "adapter_model.safetensors": "2" * 64}
    digest = Manifest({name: FileRecord(sha256, 1) for name, sha256 in files.items()}).digest
    origin = AdapterOrigin(digest, base or facts.base.manifest.digest, files, 1)
    first, *others = facts.parents
    made = replace(first, manifest=replace(first.manifest, adapter=origin))
    return replace(facts, parents=(made, *others), adapters=(made.id,))


def test_a_signed_adapter_passes_and_the_evidence_says_that_the_adapter_was_signed(passing: Facts) -> None:
    facts = signed(with_adapter(passing))
    found = signatures(asking(facts, "required", KEY))
    assert found.passed
    origin = facts.parents[0].manifest.adapter
    assert origin
    evidence = found.evidence["sort"]
    assert evidence["signed"] == {"adapter": origin.digest, "merged_into": origin.base}
    assert (evidence["status"], evidence["files"]) == ("verified", 2)
    assert "signed" not in found.evidence["shift"]


def test_the_signature_of_other_adapter_files_is_refused(passing: Facts) -> None:
    facts = signed(with_adapter(passing), "sort", adapter_model="0" * 64)
    assert "signature-missing" in signatures(asking(facts, "if_present", KEY)).message
    whole = signed(passing, "sort").parents[0].signature
    adapted = with_adapter(passing)
    first, *others = adapted.parents
    swapped = replace(adapted, parents=(replace(first, signature=whole), *others))
    assert "sort: [signature-cover]" in signatures(asking(swapped, "if_present", KEY)).message


def test_a_signed_adapter_in_another_base_vouches_for_nothing(passing: Facts) -> None:
    found = signatures(asking(signed(with_adapter(passing, "9" * 64)), "required", KEY))
    assert not found.passed
    assert "sort: its adapter is signed, and merged into 999999999999, which is not the base" in found.message


def test_an_unsigned_base_is_refused_though_the_adapter_on_it_is_signed(passing: Facts) -> None:
    found = signatures(asking(signed(with_adapter(passing), "sort"), "required", KEY))
    assert "base has no model.sig, and the policy requires one" in found.message


def test_a_manifest_that_calls_itself_an_adapter_where_the_request_does_not_is_held_to_its_files(
    passing: Facts,
) -> None:
    facts = replace(signed(with_adapter(passing)), adapters=())
    found = signatures(asking(facts, "if_present", KEY))
    assert not found.passed
    assert "sort: [signature-cover]" in found.message
