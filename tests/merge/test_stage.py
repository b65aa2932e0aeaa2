"""The merge stage with real workers: what it makes, keeps, refuses and rebuilds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stages.conf import Request
from stages.core.errors import BadCheckpoint, LabError
from stages.core.records import lineage as lineages
from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json, read_json, write_json
from stages.merge import rebuild
from stages.merge.build import Workshop, acquire
from stages.merge.stage import run
from stages.merge.store import Store
from tests.core.records.test_lineage import TERMS

PASSED: Json = {"passed": True, "findings": []}


def ignore(done: int, rejected: int, total: int) -> None:
    del done, rejected, total


def make(request: Request, workshop: Workshop, folder: Path, verdict: Json = PASSED) -> Path:
    """Run the stage with its store and its output under `folder`; the output."""
    output = folder / "candidates"
    run(request, workshop, verdict, store=Store(folder / "store"), output=output, report=ignore)
    return output


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_proposal_becomes_a_folder_that_its_lineage_describes(
    request_for: Request, workshop: Workshop, tmp_path: Path
) -> None:
    output = make(request_for, workshop, tmp_path)
    index = read_json(output / "index.json")
    assert [entry["proposal"]["origin"] for entry in index["candidates"]] == ["anchor", "anchor", "sobol"]
    for entry in index["candidates"]:
        folder = output / entry["id"]
        recorded = lineages.load(folder / lineages.NAME)
        assert manifests.load(folder).digest == entry["artifact"]
        manifests.check(folder, manifests.load(folder))
        assert recorded.files == {name: file.sha256 for name, file in manifests.load(folder).files.items()}


def test_what_may_be_done_with_a_candidate_is_in_lineage_and_card_and_changes_no_id(
    request_for: Request, workshop: Workshop, tmp_path: Path
) -> None:
    plain = read_json(make(request_for, workshop, tmp_path / "plain") / "index.json")
    output = make(request_for, workshop, tmp_path / "judged", PASSED | {"terms": TERMS})
    assert read_json(output / "index.json") == plain
    for entry in plain["candidates"]:
        statement = lineages.load(output / entry["id"] / lineages.NAME).statement
        byproducts = {one["name"]: one for one in statement["predicate"]["runDetails"]["byproducts"]}
        assert byproducts["terms"]["annotations"] == TERMS
        card = (output / entry["id"] / "README.md").read_text()
        assert "license_name: LicenseRef-llama-3.1 AND MIT" in card
        assert f"“{entry['id']}” does not begin with “Llama”: rename it first" in card


def test_the_linear_anchor_is_the_mean_of_the_parents(
    request_for: Request, workshop: Workshop, parents: Path, tmp_path: Path
) -> None:
    output = make(request_for, workshop, tmp_path)
    first = read_json(output / "index.json")["candidates"][0]
    merged = load_file(output / first["id"] / "model.safetensors")
    left, right = (load_file(parents / name / "model.safetensors") for name in ("left", "right"))
    for name, tensor in merged.items():
        np.testing.assert_allclose(tensor, (left[name] + right[name]) / 2, rtol=0, atol=2e-7)


def test_a_second_run_from_the_store_gives_the_same_bytes_everywhere(
    request_for: Request, workshop: Workshop, tmp_path: Path
) -> None:
    first = contents(make(request_for, workshop, tmp_path))
    assert contents(make(request_for, workshop, tmp_path)) == first


def test_a_second_run_makes_nothing_again(
    request_for: Request, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(request_for, workshop, tmp_path)
    monkeypatch.setattr("stages.merge.stage.build", lambda *_: pytest.fail("a candidate was made twice"))
    make(request_for, workshop, tmp_path)


def test_an_altered_tokenizer_of_a_parent_is_refused(
    request_for: Request, workshop: Workshop, parents: Path, tmp_path: Path
) -> None:
    for name in ("base", "left"):
        (parents / name / "tokenizer.json").write_text('{"altered": 1}')
    with pytest.raises(BadCheckpoint, match=r"file-altered.*tokenizer\.json"):
        make(request_for, workshop, tmp_path)


def test_the_configuration_states_the_dtype_of_the_output(
    request_for: Request, workshop: Workshop, parents: Path, tmp_path: Path
) -> None:
    for parent in ("base", "left", "right"):
        (parents / parent / "config.json").write_text('{"model_type": "tiny", "torch_dtype": "bfloat16"}')
        write_json(parents / parent / "manifest.json", manifests.describe(parents / parent).to_json())
    family = tuple(acquire(parent.folder, parent.id, parent.role) for parent in workshop.family)
    output = make(request_for, replace(workshop, family=family), tmp_path)
    for config in output.glob("*/config.json"):
        assert read_json(config) == {"model_type": "tiny", "torch_dtype": "float32"}


def test_the_output_does_not_depend_on_the_number_of_workers(
    request_for: Request, workshop: Workshop, tmp_path: Path
) -> None:
    one = request_for.model_copy(update={"executor": request_for.executor.model_copy(update={"workers": 1})})
    assert contents(make(one, workshop, tmp_path / "one")) == contents(
        make(request_for, workshop, tmp_path / "two")
    )


def test_an_altered_candidate_in_the_store_is_made_again(
    request_for: Request, workshop: Workshop, tmp_path: Path
) -> None:
    first = contents(make(request_for, workshop, tmp_path))
    for weights in (tmp_path / "store").glob("*/model.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    assert contents(make(request_for, workshop, tmp_path)) == first


def test_a_candidate_made_in_another_environment_is_made_again(
    request_for: Request, workshop: Workshop, tmp_path: Path
) -> None:
    make(request_for, workshop, tmp_path)
    newer = replace(workshop, environment={"constraints_sha256": "1" * 64, "python": "3", "torch": "3"})
    output = make(request_for, newer, tmp_path)
    for path in output.glob("*/lineage.json"):
        assert '"torch": "3"' in path.read_text()


def test_a_candidate_that_another_version_planned_otherwise_is_made_again(
    request_for: Request, workshop: Workshop, tmp_path: Path
) -> None:
    first = contents(make(request_for, workshop, tmp_path))
    for path in (tmp_path / "store").glob("*/built.json"):
        built = read_json(path)
        write_json(path, built | {"plan": built["plan"] | {"schema": "mergelab/plan/0"}})
    assert contents(make(request_for, workshop, tmp_path)) == first


def test_drafts_of_dead_makers_are_swept(workshop: Workshop, request_for: Request, tmp_path: Path) -> None:
    draft = tmp_path / "store/.draft-abc-999999999"
    draft.mkdir(parents=True)
    make(request_for, workshop, tmp_path)
    assert not draft.exists()


def test_a_refused_eligibility_gives_no_candidate_and_says_why(
    request_for: Request, workshop: Workshop, tmp_path: Path
) -> None:
    finding = {"rule": "licence", "passed": False, "message": "licence of left is unknown", "evidence": None}
    output = make(request_for, workshop, tmp_path, {"passed": False, "findings": [finding]})
    index = read_json(output / "index.json")
    assert index["candidates"] == []
    assert "licence of left is unknown" in index["refused"]


def test_a_parent_altered_after_acquisition_stops_the_stage_and_publishes_nothing(
    request_for: Request, workshop: Workshop, parents: Path, tmp_path: Path
) -> None:
    path = parents / "left/model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(BadCheckpoint, match="sha256"):
        make(request_for, workshop, tmp_path)
    assert not (tmp_path / "candidates").exists()
    assert list((tmp_path / "store").iterdir()) == []


def test_an_unmergeable_proposal_is_recorded_with_its_reason_and_the_others_are_made(
    request_for: Request, workshop: Workshop, parents: Path, tmp_path: Path
) -> None:
    tensors = load_file(parents / "left/model.safetensors")
    save_file({name: -tensor for name, tensor in tensors.items()}, parents / "right/model.safetensors")
    write_json(parents / "right/manifest.json", manifests.describe(parents / "right").to_json())
    family = tuple(acquire(parent.folder, parent.id, parent.role) for parent in workshop.family)
    slerp = {"slerp": {"version": 1, "source": "Shoemake 1985", "t": {"value": 0.5}}}
    methods = Request.model_validate(
        request_for.model_dump() | {"method": slerp | {"linear": {"version": 1, "source": "x"}}}
    )
    output = make(methods, replace(workshop, family=family), tmp_path)
    index = read_json(output / "index.json")
    assert [entry["method"] for entry in index["candidates"]] == ["linear"]
    (refused,) = index["unmergeable"]
    assert refused["method"] == "slerp"
    assert "opposite directions" in refused["reason"]


def test_a_candidate_verifies_and_a_changed_one_names_its_tensor(
    request_for: Request, workshop: Workshop, tmp_path: Path
) -> None:
    output = make(request_for, workshop, tmp_path)
    name = rebuild.identifiers(output)[0]
    assert rebuild.verify(output, name, workshop).differing == []
    forged = output / name
    tensors = load_file(forged / "model.safetensors")
    tensors["norm.weight"] = tensors["norm.weight"] + np.float32(1e-3)
    (forged / "model.safetensors").unlink()
    save_file(tensors, forged / "model.safetensors", metadata={"format": "pt"})
    write_json(forged / "manifest.json", manifests.describe(forged).to_json())
    statement = read_json(forged / lineages.NAME)
    for subject in statement["subject"]:
        subject["digest"]["sha256"] = manifests.load(forged).files[subject["name"]].sha256
    write_json(forged / lineages.NAME, statement)
    (differing,) = rebuild.verify(output, name, workshop).differing
    assert "norm.weight" in differing


def test_evicted_weights_are_rebuilt_from_the_lineage_alone(
    request_for: Request, workshop: Workshop, tmp_path: Path
) -> None:
    output = make(request_for, workshop, tmp_path)
    before = contents(output)
    for weights in output.glob("*/model.safetensors"):
        weights.unlink()
    for name in rebuild.identifiers(output):
        assert rebuild.rebuild(output, name, workshop).differing == []
    assert contents(output) == before


def test_a_rebuild_without_the_recorded_parents_says_which_is_missing(
    request_for: Request, workshop: Workshop, tmp_path: Path
) -> None:
    output = make(request_for, workshop, tmp_path)
    without = replace(workshop, family=workshop.family[:2])
    with pytest.raises(LabError, match=r"no acquired parent has the digest .*dvc repro parents"):
        rebuild.verify(output, rebuild.identifiers(output)[0], without)


def test_a_prefix_names_one_candidate_or_is_refused(
    request_for: Request, workshop: Workshop, tmp_path: Path
) -> None:
    output = make(request_for, workshop, tmp_path)
    name = rebuild.identifiers(output)[0]
    assert rebuild.find(output, name[:8]) == name
    with pytest.raises(LabError, match="expected one candidate whose id begins with"):
        rebuild.find(output, "zzz")
