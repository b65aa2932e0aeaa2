"""What may leave the lab, with its signature: exports of one candidate, and every reason against one."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.json_format import ParseDict
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1 import statement_pb2
from typer.testing import CliRunner

from stages.cli import app
from stages.core.errors import BadSignature
from stages.core.records import dsse
from stages.core.records.canonical import Json, read_json
from tests.core.records.signatories import new_key, write_private, write_public
from tests.exported import EVIDENCE, FRONT, ID, LINEAGE, edit, export, make, row


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("export") / "lab")


@pytest.fixture
def lab(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, for one test; the working directory."""
    root = shutil.copytree(made, tmp_path / "lab")
    monkeypatch.chdir(root)
    return root


def test_an_export_holds_the_recorded_files_their_verdicts_and_their_sums(lab: Path) -> None:
    status, told = export()
    assert (status, told["refusals"]) == (0, [])
    recorded = {one["name"]: one["digest"]["sha256"] for one in read_json(lab / LINEAGE)["subject"]}
    for line in (lab / "out/SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((lab / "out" / name).read_bytes()).hexdigest() == digest
        assert recorded.get(name, digest) == digest
    for name in ("gate.json", "evaluation.json"):
        verdict = read_json(lab / "out" / name)
        assert {one["name"]: one["digest"]["sha256"] for one in verdict["subject"]} == recorded
        assert verdict["predicate"]["result"] == "PASSED"
    assert read_json(lab / "out/lineage.json") == read_json(lab / LINEAGE)


def _higher_floor(root: Path) -> None:
    """By this policy its evidence does not make it a candidate, whatever the report still says."""
    params = (root / "params.yaml").read_text()
    assert "recovered_floor: 0." in params
    (root / "params.yaml").write_text(re.sub(r"recovered_floor: [\d.]+", "recovered_floor: 0.999", params))


def _isolated_at(level: str) -> Callable[[Path], None]:
    def degrade(root: Path) -> None:
        edit(
            root / LINEAGE,
            lambda tree: tree["predicate"]["buildDefinition"]["internalParameters"]["isolation"].update(
                level=level
            ),
        )

    return degrade


def _unreviewed(root: Path) -> None:
    edit(
        root / LINEAGE,
        lambda tree: tree["predicate"]["buildDefinition"]["resolvedDependencies"][0]["annotations"].pop(
            "card_sha256"
        ),
    )


def _failed_gate(root: Path) -> None:
    edit(root / "data/gates.json", lambda tree: tree["candidates"][ID].update(passed=False))


def _statement(change: Callable[[Json], object]) -> Callable[[Path], None]:
    return lambda root: edit(root / LINEAGE, change)


def _definition(tree: Json) -> Json:
    return tree["predicate"]["buildDefinition"]


def _byproducts(tree: Json) -> Json:
    return tree["predicate"]["runDetails"]["byproducts"]


def _isolation(tree: Json) -> Json:
    return _definition(tree)["internalParameters"]["isolation"]


def _eligibility(change: Callable[[Json], object]) -> Callable[[Path], None]:
    return lambda root: edit(root / "data/eligibility.json", change)


def _linked(root: Path) -> None:
    path = (root / LINEAGE).with_name("tokenizer.json")
    path.rename(root / "tokenizer.json")
    path.symlink_to(root / "tokenizer.json")


def _one_bit(root: Path) -> None:
    path = (root / LINEAGE).with_name("config.json")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def _junk_signature(root: Path) -> None:
    place = root / "data/signatures" / ID / "lineage.dsse.json"
    place.parent.mkdir(parents=True)
    place.write_text("{}")


REFUSED: dict[str, tuple[str, int, Callable[[Path], object]]] = {
    "another outcome": ("outcome", 4, _higher_floor),
    "a report that says another outcome": (
        "front",
        4,
        lambda root: edit(root / FRONT, lambda rows: row(rows).update(outcome="archived")),
    ),
    "a failed gate": ("gate", 4, _failed_gate),
    "no isolation": ("isolation", 4, _isolated_at("L0")),
    "partial isolation": ("isolation", 4, _isolated_at("L1")),
    "a parent without a card": ("by-hand", 4, _unreviewed),
    "no report": ("not-judged", 4, lambda root: (root / FRONT).unlink()),
    "no gates": ("not-judged", 4, lambda root: (root / "data/gates.json").unlink()),
    "evidence on other files": (
        "not-judged",
        4,
        lambda root: edit(root / EVIDENCE, lambda tree: tree["subject"].update(artifact="0" * 64)),
    ),
    "a level that says it is degraded": (
        "isolation",
        4,
        _statement(lambda tree: _isolation(tree).update(degraded=True)),
    ),
    "no proof of the lock": ("isolation", 4, _statement(lambda tree: _isolation(tree).pop("sha256"))),
    "a merge by hand": (
        "by-hand",
        4,
        _statement(lambda tree: _definition(tree)["externalParameters"]["proposal"].update(origin="by hand")),
    ),
    "a lineage without terms": ("intent", 4, _statement(lambda tree: _byproducts(tree).pop())),
    "terms that refuse": (
        "intent",
        4,
        _statement(
            lambda tree: _byproducts(tree)[1]["annotations"]["decisions"]["research"].update(allowed=False)
        ),
    ),
    "terms judged anew since": ("intent", 4, _eligibility(lambda tree: tree["terms"].update(waivers=[1]))),
    "eligibility that refused": ("intent", 4, _eligibility(lambda tree: tree.update(passed=False))),
    "eligibility of other parents": ("intent", 4, _eligibility(lambda tree: tree.update(parents=[]))),
    "a malformed signature": ("signature", 4, _junk_signature),
    "one bit of the configuration changed": ("changed", 3, _one_bit),
    "a link in place of a file": ("changed", 3, _linked),
    "no eligibility": ("intent", 4, lambda root: (root / "data/eligibility.json").unlink()),
    "no evidence": ("not-judged", 4, lambda root: (root / EVIDENCE).unlink()),
    "no weights": ("evicted", 5, lambda root: (root / LINEAGE).with_name("model.safetensors").unlink()),
    "other weights": (
        "changed",
        3,
        lambda root: (root / LINEAGE).with_name("model.safetensors").write_text("x"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_is_exported_with(name: str, lab: Path) -> None:
    code, status, spoil = REFUSED[name]
    spoil(lab)
    found, told = export()
    assert (found, told["exported"]) == (status, False)
    assert code in [one["code"] for one in told["refusals"]]
    assert not (lab / "out").exists()
    assert not list(lab.glob(".out*")), "no draft is left"


def test_another_intent_than_the_one_judged_is_refused(lab: Path) -> None:
    text = (lab / "params.yaml").read_text()
    assert "intent: research" in text
    (lab / "params.yaml").write_text(text.replace("intent: research", "intent: serve"))
    status, told = export()
    assert (status, {one["code"] for one in told["refusals"]}) == (4, {"intent"})


def test_a_place_that_is_taken_is_left_alone(lab: Path) -> None:
    (lab / "out").mkdir()
    (lab / "out/mine.txt").write_text("mine")
    done = CliRunner().invoke(app, ["export", ID, "--out", "out"])
    assert done.exit_code == 1
    assert "is not empty: nothing is overwritten" in " ".join(done.stderr.split())
    assert [path.name for path in (lab / "out").iterdir()] == ["mine.txt"]


def test_a_signed_candidate_takes_its_signature_along_and_its_verdicts_can_be_signed_too(lab: Path) -> None:
    key = str(write_private(lab / "key.pem", new_key()))
    assert CliRunner().invoke(app, ["sign", ID, "--key", key]).exit_code == 0
    status, told = export("--key", key)
    assert (status, told["refusals"]) == (0, [])
    assert {"lineage.dsse.json", "gate.dsse.json", "evaluation.dsse.json"} <= told["files"].keys()


def test_a_signature_over_another_statement_is_no_signature_of_this_one(lab: Path) -> None:
    key = str(write_private(lab / "key.pem", new_key()))
    assert CliRunner().invoke(app, ["sign", ID, "--key", key]).exit_code == 0
    parameters = ("predicate", "buildDefinition", "externalParameters", "search")

    def elsewhere(tree: Json) -> None:
        for part in parameters[:-1]:
            tree = tree[part]
        tree["search"]["name"] = "another search"

    edit(lab / LINEAGE, elsewhere)
    status, told = export()
    assert (status, [one["code"] for one in told["refusals"]]) == (4, ["signature"])


def test_a_policy_that_asks_for_signatures_lets_nothing_unsigned_out(lab: Path) -> None:
    mine = new_key()
    public = "".join(write_public(lab / "key.pub", mine).read_text().splitlines()[1:-1])
    policy = lab / "params.yaml"
    text = policy.read_text()
    assert text.count("      check: never\n      threshold: 1\n      trusted: {}\n") == 1
    asked = f"      check: required\n      threshold: 1\n      trusted: {{lab: {public}}}\n"
    policy.write_text(text.replace("      check: never\n      threshold: 1\n      trusted: {}\n", asked))
    assert [one["code"] for one in export()[1]["refusals"]] == ["signature"]
    other = str(write_private(lab / "other.pem", new_key()))
    assert CliRunner().invoke(app, ["sign", ID, "--key", other]).exit_code == 0
    assert [one["code"] for one in export()[1]["refusals"]] == ["signature"], "a key that nobody trusts"
    assert (
        CliRunner().invoke(app, ["sign", ID, "--key", str(write_private(lab / "key.pem", mine))]).exit_code
        == 0
    )
    assert export()[0] == 0


@pytest.mark.parametrize("name", ["gate.json", "evaluation.json"])
def test_the_verdicts_are_test_results_by_in_totos_own_types(lab: Path, name: str) -> None:
    assert export()[0] == 0
    tree = read_json(lab / "out" / name)
    assert tree["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    ParseDict(tree, statement_pb2.Statement())
    result = ParseDict(tree["predicate"], test_result_pb2.TestResult())
    assert (result.result, list(result.failed_tests)) == ("PASSED", [])
    assert len(result.passed_tests) > 0


def test_signed_verdicts_verify_under_the_key_and_as_no_other_statement(lab: Path) -> None:
    key = new_key("p256")
    assert export("--key", str(write_private(lab / "key.pem", key)))[0] == 0
    gate, evaluation = (read_json(lab / f"out/{name}.json") for name in ("gate", "evaluation"))
    data = (lab / "out/gate.dsse.json").read_bytes()
    assert dsse.verify(data, gate, [key.public], 1) == (key.public,)
    with pytest.raises(BadSignature, match=r"^\[signature-payload\]"):
        dsse.verify(data, evaluation, [key.public], 1)


def test_every_reason_is_told_and_the_next_move(lab: Path) -> None:
    for name in ("another outcome", "partial isolation", "terms that refuse", "no weights"):
        REFUSED[name][2](lab)
    done = CliRunner().invoke(app, ["export", ID, "--out", "out"])
    assert done.exit_code == 4
    for code in ("outcome", "isolation", "intent", "evicted"):
        assert f"  {code}: " in done.stdout
    assert f"mergelab rebuild {ID}" in done.stdout


def test_a_forged_lineage_is_no_candidate_at_all(lab: Path) -> None:
    _statement(lambda tree: _definition(tree)["resolvedDependencies"].pop())(lab)
    done = CliRunner().invoke(app, ["export", ID, "--out", "out"])
    assert done.exit_code == 1
    assert "[lineage-materials]" in done.stderr
    assert not (lab / "out").exists()


def test_a_folder_of_the_pipeline_is_no_place(lab: Path) -> None:
    done = CliRunner().invoke(app, ["export", ID, "--out", "data/out"])
    assert done.exit_code == 1
    assert "which only the pipeline writes" in " ".join(done.stderr.split())
    assert not (lab / "data/out").exists()


def test_an_interruption_while_files_are_copied_leaves_nothing(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stages.export.evaluation", stop)
    before = sorted(lab.iterdir())
    assert CliRunner().invoke(app, ["export", ID, "--out", "out"]).exit_code == 130
    assert sorted(lab.iterdir()) == before
