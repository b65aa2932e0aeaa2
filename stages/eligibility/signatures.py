"""Who signed a parent: the bundle that lies beside it, held against its manifest and the policy's keys.

The check is here and not at acquisition since it is a judgement with evidence, as all of eligibility is, and
since it needs neither a network nor the weights: a bundle signs digests, and so does the manifest.

A parent made of an adapter has the adapter's bundle: what was signed is the adapter, and its base is signed
by itself. That its weights follow from the two is acquisition's word, which `dvc repro parents` gives again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from stages.core.errors import BadSignature
from stages.core.records import bundle
from stages.core.records.canonical import Json
from stages.core.records.files import sha256_bytes
from stages.core.records.keys import PublicKey
from stages.core.records.verdict import Finding
from stages.eligibility.facts import Facts, Parent, finding


def signatures(facts: Facts) -> Finding:
    """Every parent is signed by a trusted key as it is, where the policy asks for that.

    Evidence: parent → status (unchecked, absent, refused, verified), the key and its id, how many files.
    """
    policy = facts.signatures
    if policy.check == "never":
        evidence = {parent.id: _unchecked(parent) for parent in facts.family}
        return Finding("signatures", True, "the policy looks for no signatures of parents", evidence)
    keys = policy.keys()
    evidence = {parent.id: _judged(_as_asked(parent, facts), keys) for parent in facts.family}
    problems = [f"{name}: {found['problem']}" for name, found in evidence.items() if "problem" in found]
    if policy.check == "required":
        problems += [
            f"{name} has no {bundle.NAME}, and the policy requires one"
            for name, found in evidence.items()
            if found["status"] == "absent"
        ]
    problems += list(_other_bases(facts, evidence))
    verified = [name for name, found in evidence.items() if found["status"] == "verified"]
    return finding(
        "signatures",
        problems,
        fine=f"signed by a trusted key: {', '.join(verified) or 'none, and none has a signature'}",
        move="Get the signature of exactly these files from their publisher (model_signing sign key), or "
        "choose another policy.signatures.parents.check.",
        evidence=evidence,
    )


def _other_bases(facts: Facts, evidence: Mapping[str, Json]) -> Iterator[str]:
    """A signed adapter vouches for a merge into the base that was signed beside it, and into no other."""
    base = facts.base.manifest.digest if facts.base else None
    for parent in facts.parents:
        origin = parent.manifest.adapter
        if origin and "signed" in evidence[parent.id] and origin.base != base:
            yield (
                f"{parent.id}: its adapter is signed, and merged into {origin.base[:12]}, which is not the "
                "base here: nothing says who made that"
            )


def _as_asked(parent: Parent, facts: Facts) -> Parent:
    """The parent, whose manifest may call it made of an adapter only if the request does too.

    Else anybody's weights would pass with anybody's signed adapter, by one more field in a manifest.
    """
    if parent.id in facts.adapters:
        return parent
    return replace(parent, manifest=replace(parent.manifest, adapter=None))


def _judged(parent: Parent, keys: list[PublicKey]) -> Json:
    """Evidence on one parent; `problem` says why its signature proves nothing."""
    if parent.signature is None:
        return {"status": "absent"}
    try:
        signed = bundle.verify(parent.signature, keys)
        bundle.compare(signed, parent.manifest)
    except BadSignature as refusal:
        digest = sha256_bytes(parent.signature)
        return {
            "status": "refused",
            "code": refusal.code,
            "bundle_sha256": digest,
            "problem": str(refusal),
        }
    return signed.to_json() | _signed_adapter(parent)


def _signed_adapter(parent: Parent) -> Json:
    """What a bundle is about where it is not the parent's own files: an adapter, which the lab has merged."""
    origin = parent.manifest.adapter
    return {"signed": {"adapter": origin.digest, "merged_into": origin.base}} if origin else {}


def _unchecked(parent: Parent) -> Json:
    if parent.signature is None:
        return {"status": "unchecked"}
    return {"status": "unchecked", "bundle_sha256": sha256_bytes(parent.signature)}
