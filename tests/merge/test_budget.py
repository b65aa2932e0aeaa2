"""Byte budgets through real workers: the index made once, the lineage, the dry run, verification."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from stages.conf import Method, Request
from stages.core.errors import BadCheckpoint, BadRequest
from stages.core.records import lineage as lineages
from stages.core.records import manifest as manifests
from stages.core.records import seen
from stages.core.records.canonical import Json, from_hex, read_json, write_json
from stages.core.sandbox import launch
from stages.merge import by_hand, rebuild
from stages.merge.build import Workshop
from stages.merge.memory import Memory
from stages.merge.recipe_file import Folders, load
from stages.merge.space import space
from tests.merge.test_by_hand import card, recipe
from tests.merge.test_stage import make

HELD = 2 * 4 * (33 * 7 + 129 * 65 + 7)  # of both parents of conftest: three tensors of one region each
SOME = HELD // 2 + 5000
TEXT = "method: task_arithmetic\nbase: base\nparents: [left, right]\n"


@pytest.fixture
def family(parents: Path) -> Path:
    """The acquired parents of conftest with cards that are whole."""
    for name in ("base", "left", "right"):
        write_json(parents / name / "card.json", card(name))
    return parents


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of jobs that workers were started for, as they come."""
    started: list[str] = []
    real = launch.run

    def run(job: Any, **options: Any) -> launch.Outcome:
        started.append(job["kind"])
        return real(job, **options)

    monkeypatch.setattr(launch, "run", run)
    return started


def budgeted(family: Path, out: Path, memory: Memory, read_bytes: int | None = SOME) -> by_hand.Made:
    text = TEXT if read_bytes is None else f"{TEXT}parameters: {{read_bytes: {read_bytes}}}\n"
    return by_hand.merge(recipe(family, text), out, unreviewed=False, memory=memory, report=lambda *_: None)


def arithmetic(out: Path) -> Json:
    statement = read_json(out / lineages.NAME)
    return statement["predicate"]["buildDefinition"]["internalParameters"]["arithmetic"]


def test_the_index_is_made_once_for_each_parent_and_serves_every_budget(
    family: Path, tmp_path: Path, kinds: list[str]
) -> None:
    memory = Memory(tmp_path / "memory")
    first = budgeted(family, tmp_path / "1", memory)
    assert kinds == ["index", "index", "merge"]
    assert len(read_json(tmp_path / "1/run.json")["indexes_made"]) == 2
    again = budgeted(family, tmp_path / "2", memory)
    other = budgeted(family, tmp_path / "3", memory, HELD)
    assert kinds[3:] == ["merge", "merge"]
    assert read_json(tmp_path / "2/run.json")["indexes_made"] == []
    fresh = budgeted(family, tmp_path / "4", Memory())
    assert kinds[5:] == ["index", "index", "merge"]
    assert again.artifact == first.artifact == fresh.artifact != other.artifact
    lineage = [(tmp_path / name / lineages.NAME).read_bytes() for name in "124"]
    assert lineage[0] == lineage[1] == lineage[2]


def test_the_lineage_states_what_was_read_and_skipped_and_the_bound(family: Path, tmp_path: Path) -> None:
    full = budgeted(family, tmp_path / "full", Memory(), None)
    made = budgeted(family, tmp_path / "out", Memory())
    assert sorted(arithmetic(full.folder)) == ["alignment", "contract", "notes", "plan"]
    told = arithmetic(made.folder)["budget"]
    assert (told["read_bytes"], told["bytes_held"]) == (SOME, HELD)
    assert HELD // 4 < told["bytes_read"] <= SOME
    assert (told["regions"], told["regions_skipped"]) == (6, 1)  # the smaller delta of layer.0.weight
    files = [load_file(one.folder / "model.safetensors") for one in (full, made)]
    error = sum(float(((files[0][n].astype("f8") - files[1][n]) ** 2).sum()) for n in files[0]) ** 0.5
    assert 0.9 * from_hex(told["bound"]) < error <= from_hex(told["bound"]) * (1 + 1e-5)
    assert from_hex(told["bound"]) < from_hex(told["bound_if_nothing_is_read"])
    text = (made.folder / "README.md").read_text()
    assert f"| read_bytes | {SOME} |\n| left unread | 1 of 6 regions of the parents; at most " in text


def test_a_budget_for_everything_gives_the_weights_of_the_full_merge(family: Path, tmp_path: Path) -> None:
    full = budgeted(family, tmp_path / "full", Memory(), None)
    made = budgeted(family, tmp_path / "out", Memory(), HELD)
    name = "model.safetensors"
    assert made.artifact.files[name] == full.artifact.files[name]
    assert made.recipe.id != full.recipe.id
    assert from_hex(arithmetic(made.folder)["budget"]["bound"]) == 0.0


def test_a_dry_run_says_what_a_known_index_will_skip_or_that_it_is_made_first(
    family: Path, tmp_path: Path
) -> None:
    read = recipe(family, f"{TEXT}parameters: {{read_bytes: {SOME}}}\n")
    memory = Memory(tmp_path / "memory")
    before = by_hand.survey(read, tmp_path / "out", unreviewed=False, memory=memory)
    assert f"budget  reads at most {SOME} of {HELD} bytes of the parents" in before.text()
    assert "index   not known here for all parents: made first, by reading" in before.text()
    assert "budget" not in before.to_json()
    assert before.to_json()["plan"]["budget"]["read_bytes"] == SOME
    budgeted(family, tmp_path / "made", memory)
    after = by_hand.survey(read, tmp_path / "out", unreviewed=False, memory=memory)
    assert "skips 1 of 6 regions" in after.text()
    assert after.to_json()["budget"] == arithmetic(tmp_path / "made")["budget"]
    plain = by_hand.survey(recipe(family, TEXT), tmp_path / "out", unreviewed=False, memory=memory)
    assert "budget" not in plain.text()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace('"squares": [', '"squares": [1', 1),
        lambda text: text[: len(text) // 2],
        lambda _: "[]",
    ],
    ids=["another number", "cut", "no map"],
)
def test_an_index_altered_on_disk_is_made_again(
    family: Path, tmp_path: Path, kinds: list[str], spoil: Callable[[str], str]
) -> None:
    memory = Memory(tmp_path / "memory")
    first = budgeted(family, tmp_path / "1", memory)
    for path in (tmp_path / "memory/index").iterdir():
        path.write_text(spoil(path.read_text()))
    second = budgeted(family, tmp_path / "2", memory)
    assert kinds[3:] == ["index", "index", "merge"]
    assert second.artifact == first.artifact


def test_an_index_for_one_base_is_none_for_another(family: Path, tmp_path: Path, kinds: list[str]) -> None:
    memory = Memory(tmp_path / "memory")
    budgeted(family, tmp_path / "1", memory)
    write_json(family / "base/config.json", {"model_type": "tiny", "_name_or_path": "x"})
    write_json(family / "base/manifest.json", manifests.describe(family / "base").to_json())
    budgeted(family, tmp_path / "2", memory)
    assert kinds[3:] == ["index", "index", "merge"]
    assert len(list((tmp_path / "memory/index").iterdir())) == 4


def test_a_merge_remembers_only_the_files_that_it_verified_whole(
    family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "SETTLED_NS", -60_000_000_000)
    memory = Memory(tmp_path / "memory")
    budgeted(family, tmp_path / "1", memory)
    base = manifests.load(family / "base").files["model.safetensors"].sha256
    assert list(read_json(tmp_path / "memory/digests.json").values()) == [base]
    text = "method: linear\nbase: base\nparents: [left, right]\n"  # the base gives its tokenizer alone
    other = Memory(tmp_path / "other")
    by_hand.merge(
        recipe(family, text), tmp_path / "2", unreviewed=False, memory=other, report=lambda *_: None
    )
    known = list(read_json(tmp_path / "other/digests.json").values())
    assert (len(known), base in known) == (2, False)


def test_a_parent_that_is_not_its_manifest_is_refused_while_it_is_indexed(
    family: Path, tmp_path: Path
) -> None:
    path = family / "left/model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(BadCheckpoint, match=r"^\[file-altered\].*left/model\.safetensors"):
        budgeted(family, tmp_path / "out", Memory(tmp_path / "memory"))
    assert not (tmp_path / "memory/index").exists()


def test_progress_over_indexes_and_merge_never_falls_and_ends_at_all(family: Path, tmp_path: Path) -> None:
    steps: list[int] = []
    read = recipe(family, f"{TEXT}parameters: {{read_bytes: {SOME}}}\n")
    by_hand.merge(
        read, tmp_path / "out", unreviewed=False, memory=Memory(), report=lambda done, *_: steps.append(done)
    )
    assert steps == sorted(set(steps))
    assert steps[-1] == 100


@pytest.mark.parametrize(
    ("method", "parameters", "problem"),
    [
        ("ties", "{read_bytes: 1000}", "parameters.read_bytes: ties has no bound on what parts of parents"),
        ("dare_linear", "{read_bytes: 9, rescale: l1}", "parameters.read_bytes: rescale l1 measures whole"),
        ("task_arithmetic", "{read_bytes: 1e3}", "parameters.read_bytes: expected a whole number of bytes"),
        ("task_arithmetic", "{readbytes: 1}", "parameters.readbytes is unknown"),
    ],
)
def test_a_wrong_budget_is_told_by_its_key(family: Path, method: str, parameters: str, problem: str) -> None:
    text = f"method: {method}\nbase: base\nparents: [left, right]\nparameters: {parameters}\n"
    (family / "recipe.yaml").write_text(text)
    with pytest.raises(BadRequest) as refused:
        load(family / "recipe.yaml", Folders(family, {}))
    assert problem in str(refused.value)


# --- in the pipeline ---


def in_request(request: Request, **parameters: Any) -> Request:
    """The request with task_arithmetic alone, and these parameters."""
    tree = {"version": 1, "source": "arXiv 2212.04089", **parameters}
    return request.model_copy(update={"method": {"task_arithmetic": Method.model_validate(tree)}})


def test_a_candidate_under_a_budget_verifies_without_the_memory(
    request_for: Request, workshop: Workshop, tmp_path: Path, kinds: list[str]
) -> None:
    remembering = replace(workshop, memory=Memory(tmp_path / "memory"))
    wanted = in_request(request_for, read_bytes={"value": SOME})
    output = make(wanted, remembering, tmp_path)
    (name,) = rebuild.identifiers(output)
    assert arithmetic(output / name)["budget"]["regions_skipped"] == 1
    assert "| left unread | 1 of 6 regions" in (output / name / "README.md").read_text()
    assert kinds == ["index", "index", "merge"]
    assert rebuild.verify(output, name, remembering).differing == []
    assert kinds[3:] == ["index", "index", "merge"]
    before = (output / name / "model.safetensors").read_bytes()
    (output / name / "model.safetensors").unlink()
    assert rebuild.rebuild(output, name, remembering).differing == []
    assert (output / name / "model.safetensors").read_bytes() == before


def test_a_search_moves_coefficients_under_one_budget_and_never_the_budget(
    request_for: Request, workshop: Workshop, tmp_path: Path, kinds: list[str]
) -> None:
    remembering = replace(workshop, memory=Memory(tmp_path / "memory"))
    scale = {"value": 0.4, "search": [0.2, 0.8]}
    wanted = in_request(request_for, scale=scale, read_bytes={"value": SOME})
    output = make(
        wanted.model_copy(update={"executor": wanted.executor.model_copy(update={"workers": 1})}),
        remembering,
        tmp_path,
    )
    found = [arithmetic(output / name)["budget"] for name in rebuild.identifiers(output)]
    assert [one["read_bytes"] for one in found] == [SOME] * 3
    assert kinds == ["index", "index", "merge", "merge", "merge"]
    searched = in_request(request_for, read_bytes={"value": SOME, "search": [1, SOME]})
    with pytest.raises(BadRequest, match=r"read_bytes\.search: a search moves coefficients"):
        space("task_arithmetic", searched.method["task_arithmetic"], 2)
