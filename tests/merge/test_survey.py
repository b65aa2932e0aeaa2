"""What `mergelab plan` promises, against what the stage then does."""

from pathlib import Path

from stages.conf import Request
from stages.core.records.canonical import read_json
from stages.merge.build import Workshop
from stages.merge.survey import survey
from tests.merge.test_stage import make


def as_repository(parents: Path, root: Path) -> Path:
    """`root` with the parents acquired in data/parents."""
    (root / "data").mkdir()
    (root / "data/parents").symlink_to(parents)
    return root


def test_the_plan_names_the_candidates_that_a_run_makes_and_the_bytes_it_writes(
    request_for: Request, workshop: Workshop, parents: Path, tmp_path: Path
) -> None:
    planned = survey(as_repository(parents, tmp_path), request_for)
    output = make(request_for, workshop, tmp_path)
    made = [entry["id"] for entry in read_json(output / "index.json")["candidates"]]
    assert [recipe.id for recipe, _, _ in planned.proposals] == made
    assert planned.bytes_written == sum(path.stat().st_size for path in output.glob("*/model.safetensors"))


def test_the_plan_reads_no_weight(request_for: Request, parents: Path, tmp_path: Path) -> None:
    for weights in parents.glob("*/model.safetensors"):
        data = weights.read_bytes()
        header = 8 + int.from_bytes(data[:8], "little")
        weights.write_bytes(data[:header] + b"\xff" * (len(data) - header))  # all NaN
    planned = survey(as_repository(parents, tmp_path), request_for)
    assert len(planned.proposals) == 3
    assert planned.peak_bytes > 0


def test_before_acquisition_the_plan_has_as_many_candidates(
    request_for: Request, parents: Path, tmp_path: Path
) -> None:
    assert len(survey(tmp_path / "nowhere", request_for).proposals) == 3
