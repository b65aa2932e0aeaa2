"""A candidate whose last bits depend on a linear algebra library: made by a locked worker, and verified."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stages.conf import Request
from stages.core.records import lineage as lineages
from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json, read_json, write_json
from stages.core.weights import spectra
from stages.merge import rebuild
from stages.merge.build import Workshop
from stages.merge.stage import run
from stages.merge.store import Store


@pytest.fixture
def candidate(request_for: Request, workshop: Workshop, tmp_path: Path) -> Path:
    """The anchor of tsv_m, as the stage publishes it."""
    methods = {"method": {"tsv_m": {"version": 1, "source": "arXiv 2412.00081", "scale": {"value": 1.0}}}}
    request = Request.model_validate(request_for.model_dump() | methods)
    output = tmp_path / "candidates"
    passed: Json = {"passed": True, "findings": []}
    run(request, workshop, passed, store=Store(tmp_path / "store"), output=output, report=lambda *_: None)
    (entry,) = read_json(output / "index.json")["candidates"]
    return output / entry["id"]


def forge(candidate: Path, library: str | None) -> None:
    """Move one weight, and state it and another library in the lineage as if both had come from a merge."""
    tensors = load_file(candidate / "model.safetensors")
    tensors["layer.0.weight"] = tensors["layer.0.weight"] + np.float32(1e-3)
    (candidate / "model.safetensors").unlink()
    save_file(tensors, candidate / "model.safetensors", metadata={"format": "pt"})
    write_json(candidate / manifests.NAME, manifests.describe(candidate).to_json())
    statement = read_json(candidate / lineages.NAME)
    for subject in statement["subject"]:
        subject["digest"]["sha256"] = manifests.load(candidate).files[subject["name"]].sha256
    notes = statement["predicate"]["buildDefinition"]["internalParameters"]["arithmetic"]["notes"]
    if library is not None:
        notes["layer.0.weight"]["lapack"] = library
    write_json(candidate / lineages.NAME, statement)


def test_a_worker_decomposes_under_the_lock_and_the_candidate_verifies(
    candidate: Path, workshop: Workshop
) -> None:
    statement = read_json(candidate / lineages.NAME)
    notes = statement["predicate"]["buildDefinition"]["internalParameters"]["arithmetic"]["notes"]
    assert notes["layer.0.weight"]["kept"] == [32, 32]
    assert notes["layer.0.weight"]["lapack"] == spectra.library()
    assert {notes[name]["branch"] for name in ("embed.weight", "norm.weight")} == {"mean"}
    found = rebuild.verify(candidate.parent, candidate.name, workshop)
    assert (found.differing, found.because) == ([], "")


def test_a_difference_after_a_change_of_library_names_both(candidate: Path, workshop: Workshop) -> None:
    forge(candidate, "openblas 0.3, torch 2.13.0, AVX512")
    found = rebuild.verify(candidate.parent, candidate.name, workshop)
    assert len(found.differing) == 1
    assert (
        f"made with openblas 0.3, torch 2.13.0, AVX512 and rebuilt with {spectra.library()}" in found.because
    )


def test_a_difference_on_the_same_library_has_no_such_excuse(candidate: Path, workshop: Workshop) -> None:
    forge(candidate, None)
    found = rebuild.verify(candidate.parent, candidate.name, workshop)
    assert len(found.differing) == 1
    assert found.because == ""
