"""Forged lineages, signatures and verdicts, by the commands that believe them: refused, nothing written."""

import base64
import copy
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stages import signing
from stages.cli import app
from stages.core.errors import LabError
from stages.core.records import dsse
from stages.core.records.canonical import Json, read_json, write_json
from tests.architecture.tree import ROOT
from tests.attacks.conftest import Unharmed
from tests.core.records.signatories import new_key, write_private, write_public
from tests.exported import EVIDENCE, FRONT, ID, LINEAGE, edit, export, make, row

KEY, STRANGER, OTHER_KIND = new_key(), new_key(), new_key("p256")
STATEMENT = read_json(ROOT / LINEAGE)
ANOTHER = next(path for path in sorted(ROOT.glob("data/candidates/*/lineage.json")) if path.parent.name != ID)
Place = tuple[str | int, ...]


def leaves(tree: Json, path: Place = ()) -> Iterator[Place]:
    """The path of everything in the tree that holds nothing else, empty lists and maps among it."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    found = False
    for name, value in inner:
        found = True
        yield from leaves(value, (*path, name))
    if not found:
        yield path


def changed(path: Place) -> Json:
    """The statement with another value at one leaf."""
    tree = copy.deepcopy(STATEMENT)
    place = tree
    for part in path[:-1]:
        place = place[part]
    old = place[path[-1]]
    place[path[-1]] = (not old) if isinstance(old, bool) else old + 1 if isinstance(old, int) else f"{old}0"
    return tree


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shipped lineage, signed by KEY, and the keys."""
    folder = tmp_path_factory.mktemp("signed")
    shutil.copy2(ROOT / LINEAGE, folder / "lineage.json")
    signing.sign(signing.of_folder(folder), KEY)
    write_public(folder / "key.pub", KEY)
    write_private(folder / "key.pem", KEY)
    return folder


def verify(folder: Path, *more: str) -> tuple[int, str]:
    """Exit code and message of `mergelab verify --lineage` in a folder."""
    lineage = ["--lineage", str(folder / "lineage.json"), "--parents", str(ROOT / "data/sources")]
    done = CliRunner().invoke(app, ["verify", *lineage, *more])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stderr


def test_no_leaf_of_a_signed_lineage_can_be_changed(signed: Path, tmp_path: Path, unharmed: Unharmed) -> None:
    folder = shutil.copytree(signed, tmp_path / "forged")
    where = signing.of_folder(folder)
    assert signing.check(where, [KEY.public], 1) == (KEY.public,)
    every = list(leaves(STATEMENT))
    assert len(every) > 100
    for leaf in every:
        write_json(where.lineage, changed(leaf))
        with pytest.raises(LabError, match=r"lineage-|signature-|expected a recipe of schema"):
            signing.check(where, [KEY.public], 1)
    with unharmed(tmp_path):
        status, _ = verify(folder, "--signature", "--key", str(signed / "key.pub"))
    assert status == 1


def statement(change: Callable[[Json], object]) -> Callable[[Path], None]:
    """A change of the lineage."""
    return lambda folder: edit(folder / "lineage.json", change)


def materials(change: Callable[[list[Json]], object]) -> Callable[[Path], None]:
    """A change of the parents that the lineage names."""
    return statement(lambda tree: change(tree["predicate"]["buildDefinition"]["resolvedDependencies"]))


def definition(tree: Json) -> Json:
    return tree["predicate"]["buildDefinition"]["externalParameters"]


def reorder(tree: Json) -> None:
    """Parents in another order, in the recipe as in the materials."""
    found = tree["predicate"]["buildDefinition"]["resolvedDependencies"]
    found[1:] = found[:0:-1]
    definition(tree)["recipe"]["parents"].reverse()


def envelope(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """A change of the signature's envelope."""
    return lambda folder: edit(folder / dsse.NAME, change)


def signature(**fields: str) -> Callable[[Path], None]:
    return envelope(lambda tree: tree["signatures"][0].update(fields))


def other_algorithm(folder: Path) -> None:
    """A true signature by an ECDSA key, under the keyid of the Ed25519 key that is trusted."""
    (folder / dsse.NAME).write_text(dsse.sign(STATEMENT, OTHER_KIND))
    signature(keyid=KEY.public.keyid)(folder)


def by_a_stranger(folder: Path) -> None:
    (folder / dsse.NAME).write_text(dsse.sign(STATEMENT, STRANGER))


FORGED: Mapping[str, tuple[str, Callable[[Path], object]]] = {
    "a parent dropped": ("lineage-materials", materials(lambda made: made.pop())),
    "the base dropped": ("lineage-materials", materials(lambda made: made.pop(0))),
    "parents swapped": ("lineage-materials", materials(lambda made: made.reverse())),
    "a parent twice": ("lineage-materials", materials(lambda made: made.append(made[-1]))),
    "a parent in the role of the base": (
        "lineage-materials",
        materials(lambda made: made[1]["annotations"].update(role="base")),
    ),
    "a stranger for a parent": (
        "lineage-materials",
        materials(lambda made: made[1].update(digest={"sha256": "0" * 64})),
    ),
    "parents reordered everywhere": ("lineage-id", statement(reorder)),
    "another seed": ("lineage-id", statement(lambda tree: definition(tree)["recipe"].update(seed=7))),
    "another id": ("lineage-id", statement(lambda tree: definition(tree).update(id="0" * 12))),
    "a file that is a path": (
        "lineage-subject",
        statement(lambda tree: tree["subject"][0].update(name="../../evil")),
    ),
    "a further section": ("lineage-schema", statement(lambda tree: tree.update(promoted=True))),
}
UNSIGNED: Mapping[str, tuple[str, Callable[[Path], object]]] = {
    "the lineage of another candidate under it": (
        "signature-payload",
        lambda folder: shutil.copy2(ANOTHER, folder / "lineage.json"),
    ),
    "no envelope": ("signature-absent", lambda folder: (folder / dsse.NAME).unlink()),
    "no signature in it": ("signature-form", envelope(lambda tree: tree.update(signatures=[]))),
    "a stranger's signature": ("signature-untrusted", by_a_stranger),
    "a stranger's keyid": ("signature-untrusted", signature(keyid=STRANGER.public.keyid)),
    "a signature by another algorithm under the trusted keyid": ("signature-wrong", other_algorithm),
    "the algorithm 'none'": ("signature-form", signature(alg="none")),
    "a signature of nothing": ("signature-wrong", signature(sig=base64.b64encode(bytes(64)).decode())),
    "another type": ("signature-type", envelope(lambda tree: tree.update(payloadType="text/plain"))),
    "a payload respelled": (
        "signature-payload",
        envelope(lambda tree: tree.update(payload=base64.b64encode(json.dumps(STATEMENT).encode()).decode())),
    ),
    "a megabyte of brackets": ("signature-form", lambda folder: (folder / dsse.NAME).write_text("[" * 10**6)),
}


def judged(folder: Path, unharmed: Unharmed, *options: str) -> tuple[int, str]:
    """How verifying `folder`/forged ends, and what it says; it must harm nothing beside it."""
    with unharmed(folder):
        return verify(folder / "forged", *options)


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_lineage_is_refused_even_without_a_signature(
    name: str, signed: Path, tmp_path: Path, unharmed: Unharmed
) -> None:
    code, forge = FORGED[name]
    forge(shutil.copytree(signed, tmp_path / "forged"))
    status, said = judged(tmp_path, unharmed)
    assert (status, f"[{code}]" in said) == (1, True), said


@pytest.mark.parametrize("name", UNSIGNED)
def test_a_forged_signature_is_refused_with(
    name: str, signed: Path, tmp_path: Path, unharmed: Unharmed
) -> None:
    code, forge = UNSIGNED[name]
    forge(shutil.copytree(signed, tmp_path / "forged"))
    status, said = judged(tmp_path, unharmed, "--signature", "--key", str(signed / "key.pub"))
    assert (status, f"[{code}]" in said) == (1, True), said


def test_a_statement_replayed_beside_other_bytes_is_signed_by_nobody(
    signed: Path, tmp_path: Path, unharmed: Unharmed
) -> None:
    folder = shutil.copytree(signed, tmp_path / "forged")
    (folder / "config.json").write_text("{}")
    with unharmed(tmp_path):
        done = CliRunner().invoke(app, ["sign", str(folder), "--key", str(signed / "key.pem")])
    assert (done.exit_code, "is not what the lineage records. Nothing was signed" in done.stderr) == (1, True)


@dataclass(frozen=True)
class Promotion:
    """An attempt to export what may not leave. codes: those it is refused with, among others."""

    codes: tuple[str, ...]
    forge: Callable[[Path], object]
    status: int = 4


def failed_gate(root: Path) -> None:
    """The gate rejected it; reports/front.json goes on saying candidate."""

    def reject(tree: Json) -> None:
        verdict = tree["candidates"][ID]
        verdict["findings"][0]["passed"] = verdict["passed"] = False

    edit(root / "data/gates.json", reject)


def opened_gate(root: Path) -> None:
    """`passed` above a finding that failed."""
    edit(root / "data/gates.json", lambda tree: tree["candidates"][ID]["findings"][0].update(passed=False))


def promoted(outcome: str) -> Callable[[Path], None]:
    """The outcome that follows is rejected; the report is edited to say `outcome`."""

    def forge(root: Path) -> None:
        failed_gate(root)
        edit(root / FRONT, lambda rows: row(rows).update(outcome=outcome, reason=""))

    return forge


def answers(name: str, digit: str) -> Callable[[Path], None]:
    """All hidden answers of one subject turned right (1) or wrong (0)."""

    def rewrite(tree: Json) -> None:
        for task in tree["results"]["hidden"].values():
            task["correct"] = digit * len(task["correct"])

    return lambda root: edit(root / f"data/evidence/{name}.json", rewrite)


def isolation(**fields: Any) -> Callable[[Path], None]:
    """A lineage that states another isolation."""
    return lambda root: edit(
        root / LINEAGE,
        lambda tree: tree["predicate"]["buildDefinition"]["internalParameters"]["isolation"].update(fields),
    )


PROMOTIONS: Mapping[str, Promotion] = {
    "a rejected merge whose report was edited": Promotion(("outcome", "front"), promoted("candidate")),
    "a rejected merge whose report was left": Promotion(("outcome", "front", "gate"), failed_gate),
    "a verdict of the gate that contradicts its findings": Promotion(("gate",), opened_gate),
    "a report of another number": Promotion(
        ("front",), lambda root: edit(root / FRONT, lambda rows: row(rows).update(headline=0.999))
    ),
    "a report that is no list": Promotion(("not-judged",), lambda root: (root / FRONT).write_text("7")),
    "answers that were improved": Promotion(("front",), answers(ID, "1")),
    "answers of a parent that were spoilt": Promotion(("front",), answers("pico-a", "0")),
    "the evidence of another subject": Promotion(
        ("not-judged", "outcome"),
        lambda root: shutil.copy2(root / "data/evidence/pico-a.json", root / EVIDENCE),
    ),
    "evidence that is no evidence": Promotion(
        ("outcome",), lambda root: edit(root / EVIDENCE, lambda tree: tree["results"].update(hidden=[]))
    ),
    "a candidate that is not in the index": Promotion(
        ("outcome",),
        lambda root: edit(root / "data/candidates/index.json", lambda tree: tree.update(candidates=[])),
    ),
    "made at L1": Promotion(("isolation",), isolation(level="L1", degraded=True)),
    "made at L0 and said to be sound": Promotion(("isolation",), isolation(level="L0")),
    "other bytes under its lineage": Promotion(
        ("changed",), lambda root: (root / LINEAGE).with_name("model.safetensors").write_text("x"), 3
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("export") / "lab")


@pytest.mark.parametrize("name", PROMOTIONS)
def test_nothing_leaves_by_forged_records(
    name: str, made: Path, tmp_path: Path, unharmed: Unharmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = PROMOTIONS[name]
    root = shutil.copytree(made, tmp_path / "lab")
    attempt.forge(root)
    monkeypatch.chdir(root)
    with unharmed(tmp_path):
        status, told = export()
    assert (status, told["exported"]) == (attempt.status, False)
    assert set(attempt.codes) <= {one["code"] for one in told["refusals"]}
