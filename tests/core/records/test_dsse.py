"""Envelopes: what is accepted, and every way of tampering that is not."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from stages.core.errors import BadSignature
from stages.core.records import dsse
from stages.core.records.canonical import dumps
from tests.core.records.signatories import KINDS, SIGNED, new_key, public_of

STATEMENT = {"_type": "https://in-toto.io/Statement/v1", "subject": [{"name": "a"}], "é": [1, 2.5, None]}
KEY, OTHER = new_key(), new_key("p256")


def text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def signed(key: Any = KEY, statement: Any = STATEMENT) -> dict[str, Any]:
    found = json.loads(dsse.sign(statement, key))
    assert isinstance(found, dict)
    return found


def verify(tree: Any, *keys: Any, threshold: int = 1, statement: Any = STATEMENT) -> list[str]:
    """The keyids that count; `tree` is an envelope or the text of one."""
    data = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    found = dsse.verify(data, statement, [key.public for key in keys or (KEY,)], threshold)
    return [key.keyid for key in found]


def refusal(tree: Any, *keys: Any, **how: Any) -> str:
    """The code by which it is refused. Fails if it is not."""
    with pytest.raises(BadSignature, match=r"^\[signature-\w+\]") as found:
        verify(tree, *keys, **how)
    return found.value.code


def test_the_encoding_before_signing_is_the_one_of_the_protocols_own_example() -> None:
    assert (
        dsse.pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_key_signed_that_key_verifies(kind: str) -> None:
    key = new_key(kind)
    assert verify(signed(key), key) == [key.public.keyid]


def test_an_envelope_of_securesystemslib_verifies_under_both_its_keys() -> None:
    keys = [public_of("ed25519"), public_of("ecdsa")]
    data = (SIGNED / "envelope.json").read_bytes()
    assert dsse.verify(data, {"hello": "world"}, keys, 2) == tuple(keys)


def test_the_payload_is_the_canonical_json_of_the_statement() -> None:
    assert base64.b64decode(signed()["payload"]) == dumps(STATEMENT)


def test_two_people_sign_one_after_the_other_and_a_threshold_counts_both() -> None:
    first = dsse.parse(dsse.sign(STATEMENT, KEY).encode())
    both = dsse.sign(STATEMENT, OTHER, first).encode()
    assert verify(both, KEY, OTHER, threshold=2) == [KEY.public.keyid, OTHER.public.keyid]
    assert verify(both, OTHER) == [OTHER.public.keyid]
    assert refusal(signed(), KEY, OTHER, threshold=2) == "signature-untrusted"


def test_signing_twice_with_one_key_leaves_one_signature() -> None:
    again = dsse.sign(STATEMENT, KEY, dsse.parse(dsse.sign(STATEMENT, KEY).encode()))
    assert len(json.loads(again)["signatures"]) == 1


def test_no_signature_is_added_to_another_statement() -> None:
    with pytest.raises(BadSignature, match=r"^\[signature-payload\]"):
        dsse.sign({"other": 1}, OTHER, dsse.parse(dsse.sign(STATEMENT, KEY).encode()))


def _payload(change: Callable[[bytes], bytes]) -> Callable[[dict[str, Any]], Any]:
    def changed(tree: dict[str, Any]) -> Any:
        return tree | {"payload": text(change(base64.b64decode(tree["payload"])))}

    return changed


def _signature(**change: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda tree: tree | {"signatures": [tree["signatures"][0] | change]}


def _two(tree: dict[str, Any]) -> Any:
    return tree | {"signatures": [*tree["signatures"], *tree["signatures"]]}


def _other_bits(value: str) -> str:
    """Base64 of the same bytes with another last digit before the padding: decoders ignore its low bits."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = value.rstrip("=")
    assert body != value
    changed = body[:-1] + digits[digits.index(body[-1]) + 1] + value[len(body) :]
    assert base64.b64decode(changed) == base64.b64decode(value)
    return changed


TAMPERED: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "no signatures": ("signature-form", lambda tree: tree | {"signatures": []}),
    "signatures stripped": (
        "signature-form",
        lambda tree: {k: v for k, v in tree.items() if k != "signatures"},
    ),
    "signatures that are no list": (
        "signature-form",
        lambda tree: tree | {"signatures": tree["signatures"][0]},
    ),
    "an empty signature": ("signature-form", _signature(sig="")),
    "a signature of null": ("signature-form", _signature(sig=None)),
    "one key twice": ("signature-form", _two),
    "17 signatures": (
        "signature-form",
        lambda tree: tree | {"signatures": [{"keyid": str(n), "sig": "AAAA"} for n in range(17)]},
    ),
    "another field beside the signatures": ("signature-form", lambda tree: tree | {"cert": "x"}),
    "another field in a signature": ("signature-form", _signature(alg="none")),
    "another type": ("signature-type", lambda tree: tree | {"payloadType": "text/plain"}),
    "a type in other case": (
        "signature-type",
        lambda tree: tree | {"payloadType": "application/vnd.in-toto+JSON"},
    ),
    "a payload that is not text": ("signature-form", lambda tree: tree | {"payload": STATEMENT}),
    "a changed payload": ("signature-payload", _payload(lambda data: data.replace(b'"a"', b'"b"'))),
    "a payload with spaces": ("signature-payload", _payload(lambda data: json.dumps(STATEMENT).encode())),
    "a payload with a repeated key": (
        "signature-payload",
        _payload(lambda data: data[:-1] + b',"_type":"https://in-toto.io/Statement/v1"}'),
    ),
    "two statements in a row": ("signature-payload", _payload(lambda data: data + data)),
    "an empty payload": ("signature-payload", lambda tree: tree | {"payload": ""}),
    "base64 with other unused bits": (
        "signature-form",
        lambda tree: _signature(sig=_other_bits(tree["signatures"][0]["sig"]))(tree),
    ),
    "base64 without its padding": (
        "signature-form",
        lambda tree: _signature(sig=tree["signatures"][0]["sig"].rstrip("="))(tree),
    ),
    "base64 with a line break": (
        "signature-form",
        lambda tree: tree | {"payload": tree["payload"][:8] + "\n" + tree["payload"][8:]},
    ),
    "base64 of the other alphabet": (
        "signature-form",
        lambda tree: tree | {"payload": base64.urlsafe_b64encode(b"\xfb\xff").decode()},
    ),
    "a signature with a bit flipped": (
        "signature-wrong",
        lambda tree: _signature(
            sig=text(bytes([base64.b64decode(tree["signatures"][0]["sig"])[0] ^ 1]) + b"x" * 63)
        )(tree),
    ),
    "a keyid of nobody": ("signature-untrusted", _signature(keyid="0" * 64)),
    "no keyid": ("signature-untrusted", _signature(keyid="")),
    "a keyid in upper case": ("signature-untrusted", _signature(keyid=KEY.public.keyid.upper())),
    "a keyid cut short": ("signature-untrusted", _signature(keyid=KEY.public.keyid[:12])),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_envelope_is_refused_with_its_code(name: str) -> None:
    code, change = TAMPERED[name]
    assert verify(signed()) == [KEY.public.keyid]
    assert refusal(change(signed())) == code


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"{", b"\xff\xfe{}", b"[" * 100_000, json.dumps(signed()).encode("utf-16")],
    ids=["empty", "null", "list", "cut short", "no UTF-8", "nested", "UTF-16"],
)
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    assert refusal(data) == "signature-form"


def test_a_repeated_key_in_the_envelope_is_refused_whichever_value_comes_last() -> None:
    good = json.dumps(signed())
    for bad in ('{"payload": "AAAA", ' + good[1:], good[:-1] + ', "payload": "AAAA"}'):
        assert refusal(bad.encode()) == "signature-form"


def test_another_statements_signature_is_refused_on_this_one() -> None:
    assert refusal(signed(statement={"subject": [{"name": "b"}]})) == "signature-payload"


def test_the_signature_of_another_key_under_the_keyid_of_a_trusted_one_is_refused() -> None:
    forged = signed(new_key())
    forged["signatures"][0]["keyid"] = KEY.public.keyid
    assert refusal(forged) == "signature-wrong"


@pytest.mark.parametrize("kinds", [("ed25519", "p256"), ("p256", "ed25519")])
def test_a_signature_of_one_algorithm_is_refused_under_a_key_of_another(kinds: tuple[str, str]) -> None:
    mine, theirs = (new_key(kind) for kind in kinds)
    forged = signed(theirs)
    forged["signatures"][0]["keyid"] = mine.public.keyid
    assert refusal(forged, mine) == "signature-wrong"


def test_an_extra_signature_of_a_stranger_counts_for_nothing_and_does_no_harm() -> None:
    stranger = new_key()
    both = signed() | {"signatures": signed()["signatures"] + signed(stranger)["signatures"]}
    assert verify(both) == [KEY.public.keyid]
    assert refusal(both, KEY, OTHER, threshold=2) == "signature-untrusted"


def test_an_extra_signature_that_names_a_trusted_key_falsely_refuses_the_whole() -> None:
    false = signed()["signatures"][0] | {"keyid": OTHER.public.keyid}
    assert (
        refusal(signed() | {"signatures": [*signed()["signatures"], false]}, KEY, OTHER) == "signature-wrong"
    )


def test_one_key_given_twice_does_not_make_two() -> None:
    assert refusal(signed(), KEY, KEY, threshold=2) == "signature-threshold"


@pytest.mark.parametrize("threshold", [0, -1])
def test_a_threshold_of_none_is_refused(threshold: int) -> None:
    assert refusal(signed(), threshold=threshold) == "signature-threshold"


def test_without_trusted_keys_nothing_is_verified() -> None:
    with pytest.raises(BadSignature, match=r"^\[signature-threshold\].*0 keys are trusted"):
        dsse.verify(json.dumps(signed()).encode(), STATEMENT, [], 1)
