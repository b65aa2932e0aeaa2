"""One merge outside the pipeline, by real workers: what it writes, refuses and leaves behind."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from stages import cli, compose
from stages.conf import Method
from stages.core.errors import BadCheckpoint, BadRequest, LabError
from stages.core.records import card as cards
from stages.core.records import lineage as lineages
from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json, read_json, write_json
from stages.core.weights import registry
from stages.merge import by_hand, hand_card, rebuild
from stages.merge.experiment_file import write
from stages.merge.memory import Memory
from stages.merge.recipe_file import Folders, RecipeFile, load
from stages.merge.space import space
from tests.architecture.tree import ROOT

RECIPES = Path(__file__).parent / "recipes"


def card(name: str) -> Json:
    """A complete card: the base, or an expert of it with a niche of its own."""
    expert = name != "base"
    niche = {"skill": {"left": "shift", "right": "sort"}[name], "statement": "better"} if expert else None
    tree = cards.template(name) | {"title": name, "family": "tiny", "niche": niche}
    tree |= {"role": "expert" if expert else "base", "base": "base" if expert else None}
    return tree | {"licence": {"weights": "Apache-2.0", "data": []}}


@pytest.fixture
def family(parents: Path) -> Path:
    """The acquired parents of conftest with cards that are whole."""
    for name in ("base", "left", "right"):
        write_json(parents / name / "card.json", card(name))
    return parents


def recipe(folder: Path, text: str = "method: linear\nparents: [left, right]\n") -> RecipeFile:
    """The recipe of `text`, its folders under `folder`."""
    path = folder / "recipe.yaml"
    path.write_text(text)
    return load(path, Folders(folder, {}))


def make(read: RecipeFile, out: Path, *, unreviewed: bool = False) -> by_hand.Made:
    return by_hand.merge(
        read, out, unreviewed=unreviewed, memory=Memory(), report=lambda done, rejected, total: None
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but run.json, which holds times."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "run.json"}


def statement(out: Path) -> Json:
    return read_json(out / lineages.NAME)["predicate"]["buildDefinition"]


def test_the_weights_are_the_weighted_mean_of_the_parents(family: Path, tmp_path: Path) -> None:
    text = "method: linear\nparents: [left, right]\nparameters: {weights: [3, 1]}\n"
    make(recipe(family, text), tmp_path / "out")
    merged = load_file(tmp_path / "out/model.safetensors")
    left, right = (load_file(family / name / "model.safetensors") for name in ("left", "right"))
    for name, tensor in merged.items():
        quarter, three_quarters = np.float32(0.25), np.float32(0.75)
        np.testing.assert_array_equal(tensor, left[name] * three_quarters + right[name] * quarter)


def test_the_folder_holds_a_whole_artifact_with_its_lineage(family: Path, tmp_path: Path) -> None:
    made = make(recipe(family), tmp_path / "out")
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "config.json",
        "lineage.json",
        "manifest.json",
        "model.safetensors",
        "run.json",
        "tokenizer.json",
    ]
    manifests.check(out, manifests.load(out))
    recorded = lineages.load(out / lineages.NAME)
    assert recorded.recipe == made.recipe
    assert recorded.proposal.origin == "by hand"
    assert "reviewed" not in (out / lineages.NAME).read_text()
    assert "license: apache-2.0" in (out / "README.md").read_text()
    assert read_json(out / "run.json")["wall_seconds"] > 0


def test_a_second_merge_of_the_same_recipe_gives_the_same_bytes(family: Path, tmp_path: Path) -> None:
    text = "method: dare_ties\nbase: base\nparents: [left, right]\nseed: 4\n"
    make(recipe(family, text), tmp_path / "one")
    make(recipe(family, text), tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_mergekit_file_gives_the_bytes_of_our_own_recipe(family: Path, tmp_path: Path) -> None:
    where = Folders(
        family, {f"org/{old}": family / new for old, new in (("writer", "left"), ("coder", "right"))}
    )
    theirs = make(load(RECIPES / "linear.yml", where), tmp_path / "theirs")
    text = "method: linear\nparents: [left, right]\nparameters: {weights: [1, 0.3]}\noutput_dtype: float16\n"
    ours = make(recipe(family, text), tmp_path / "ours")
    assert theirs.recipe.id == ours.recipe.id
    assert (
        contents(tmp_path / "theirs")["model.safetensors"] == contents(tmp_path / "ours")["model.safetensors"]
    )
    assert any("mergekit computes in float16" in note for note in theirs.notes)


def test_a_mergekit_file_with_filters_and_densities_gives_the_bytes_of_our_own_rules(
    family: Path, tmp_path: Path
) -> None:
    theirs = recipe(
        family,
        """
merge_method: ties
base_model: base
models:
  - {model: left, parameters: {density: 0.5, weight: [{filter: embed, value: 0.2}, {value: 0.6}]}}
  - {model: right, parameters: {density: 0.7, weight: 0.4}}
parameters: {normalize: false, int8_mask: true}
""",
    )
    ours = recipe(
        family,
        """
method: ties
base: base
parents: [left, right]
parameters:
  density: [0.5, 0.7]
  weights: [{match: "*embed*", value: [0.2, 0.4]}, {match: "*", value: [0.6, 0.4]}]
  divisor: none
""",
    )
    first, second = make(theirs, tmp_path / "theirs"), make(ours, tmp_path / "ours")
    assert first.recipe.id == second.recipe.id
    assert contents(first.folder)["model.safetensors"] == contents(second.folder)["model.safetensors"]
    assert "| weights | `*embed*: 0.2, 0.4; *: 0.6, 0.4` |" in (second.folder / "README.md").read_text()
    assert (
        "weights  *embed*: 0.2, 0.4; *: 0.6, 0.4"
        in by_hand.survey(ours, tmp_path / "no", unreviewed=False).text()
    )


def test_a_base_that_a_mean_does_not_need_gives_the_tokenizer(family: Path, tmp_path: Path) -> None:
    (family / "base/generation_config.json").write_text("{}")
    write_json(family / "base/manifest.json", manifests.describe(family / "base").to_json())
    make(recipe(family, "method: linear\nbase: base\nparents: [left, right]\n"), tmp_path / "out")
    assert (tmp_path / "out/generation_config.json").is_file()
    roles = [each["annotations"]["role"] for each in statement(tmp_path / "out")["resolvedDependencies"]]
    assert roles == ["base", "parent", "parent"]


def test_naming_the_first_parent_as_such_a_base_changes_nothing(family: Path, tmp_path: Path) -> None:
    plain = by_hand.survey(recipe(family), tmp_path / "out", unreviewed=False)
    text = "method: linear\nbase: left\nparents: [left, right]\n"
    assert by_hand.survey(recipe(family, text), tmp_path / "out", unreviewed=False).recipe == plain.recipe


def test_parents_without_cards_need_the_option_and_are_named_all_at_once(
    family: Path, tmp_path: Path
) -> None:
    for name in ("left", "right"):
        (family / name / "card.json").unlink()
    with pytest.raises(BadRequest, match=r"left: .*--unreviewed") as refused:
        make(recipe(family), tmp_path / "out")
    assert len(refused.value.problems) == 2
    assert not (tmp_path / "out").exists()


def test_an_unreviewed_parent_is_hashed_and_the_lineage_and_card_say_so(family: Path, tmp_path: Path) -> None:
    reviewed = make(recipe(family), tmp_path / "reviewed")
    for name in ("card.json", "manifest.json"):
        (family / "right" / name).unlink()
    (family / "right/.cache").mkdir()
    (family / "right/originals").mkdir()
    made = make(recipe(family), tmp_path / "out", unreviewed=True)
    assert made.recipe == reviewed.recipe
    assert made.unreviewed == ("right",)
    left, right = (each["annotations"] for each in statement(tmp_path / "out")["resolvedDependencies"])
    assert "reviewed" not in left
    assert (right["reviewed"], right["licence"]) == (False, "unknown")
    text = (tmp_path / "out/README.md").read_text()
    assert "**Not reviewed:** right had no card" in text
    assert "license: other" in text


def test_a_card_that_is_no_card_is_refused(family: Path, tmp_path: Path) -> None:
    write_json(family / "left/card.json", {"id": "left"})
    with pytest.raises(BadRequest, match=r"card\.json: licence: missing"):
        make(recipe(family), tmp_path / "out", unreviewed=True)


def test_an_unreviewed_link_is_refused(family: Path, tmp_path: Path) -> None:
    (family / "left/card.json").unlink()
    (family / "left/generation_config.json").symlink_to(family / "base/config.json")
    with pytest.raises(BadCheckpoint, match=r"generation_config\.json is a symbolic link"):
        make(recipe(family), tmp_path / "out", unreviewed=True)


def test_a_parent_altered_after_acquisition_leaves_nothing_behind(family: Path, tmp_path: Path) -> None:
    path = family / "left/model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(BadCheckpoint, match="sha256"):
        make(recipe(family), tmp_path / "made/out")
    assert list((tmp_path / "made").iterdir()) == []


def test_an_interrupted_merge_leaves_no_draft_and_sweeps_those_of_the_dead(
    family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    dead = tmp_path / "made/.out.draft-999999999"
    dead.mkdir(parents=True)
    monkeypatch.setattr(by_hand, "build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(recipe(family), tmp_path / "made/out")
    assert list((tmp_path / "made").iterdir()) == []


def test_a_folder_that_is_not_empty_is_refused_and_an_empty_one_is_filled(
    family: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("mine")
    with pytest.raises(LabError, match="is not empty: nothing is overwritten"):
        make(recipe(family), out)
    assert contents(out) == {"precious": b"mine"}
    (out / "precious").unlink()
    make(recipe(family), out)
    assert (out / "model.safetensors").is_file()


def test_what_came_into_the_folder_during_the_merge_is_kept(family: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def meddle(done: int, rejected: int, total: int) -> None:
        out.mkdir(exist_ok=True)
        (out / "precious").write_text("mine")

    with pytest.raises(LabError, match="is not empty"):
        by_hand.merge(recipe(family), out, unreviewed=False, memory=Memory(), report=meddle)
    assert contents(out) == {"precious": b"mine"}


def test_the_outputs_of_the_pipeline_are_no_place_for_it(family: Path, tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").touch()
    with pytest.raises(LabError, match="lies in data/, which only the pipeline writes"):
        make(recipe(family), tmp_path / "data/candidates/mine")


def test_a_dry_run_reads_no_weight_and_writes_nothing(family: Path, tmp_path: Path) -> None:
    path = family / "left/model.safetensors"
    path.write_bytes(path.read_bytes()[:-64] + b"\xff" * 64)  # NaN, and not what the manifest says
    before = sorted(tmp_path.rglob("*"))
    found = by_hand.survey(recipe(family), tmp_path / "out", unreviewed=False)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, family / "recipe.yaml"])
    assert (found.provisional, found.to_json()["plan"]["bytes_written"]) == (False, found.plan.bytes_written)
    assert "3 tensors in 1 files" in found.text()


def test_a_dry_run_with_unreviewed_parents_says_that_its_id_is_provisional(
    family: Path, tmp_path: Path
) -> None:
    (family / "left/card.json").unlink()
    found = by_hand.survey(recipe(family), tmp_path / "out", unreviewed=True)
    assert found.provisional
    assert "(provisional id)" in found.text()
    assert "not reviewed: left, it has no card" in found.text()


def test_a_seed_is_kept_by_methods_with_masks_alone(family: Path, tmp_path: Path) -> None:
    for method, seed in (("dare_ties", 9), ("ties", 0)):
        text = f"method: {method}\nbase: base\nparents: [left, right]\nseed: 9\n"
        assert by_hand.survey(recipe(family, text), tmp_path / "out", unreviewed=False).recipe.seed == seed


def test_models_that_compute_otherwise_are_refused_though_their_shapes_are_equal(
    family: Path, tmp_path: Path
) -> None:
    (family / "right/config.json").write_text('{"model_type": "tiny", "rope_theta": 5e5}')
    for name, ids in (("left", {"a": 0, "b": 1}), ("right", {"a": 1, "b": 0})):
        (family / name / "tokenizer.json").write_text(json.dumps({"model": {"vocab": ids}}))
    with pytest.raises(BadRequest, match=r"right: config\.json says rope_theta 500000\.0") as refused:
        by_hand.survey(recipe(family), tmp_path / "out", unreviewed=False)
    assert "right: 2 tokens have another id than in left ('a' is 1 there, 0 in left)" in str(refused.value)


def test_several_types_in_one_model_ask_for_a_decision(family: Path, tmp_path: Path) -> None:
    for name in ("left", "right"):
        tensors = load_file(family / name / "model.safetensors")
        tensors["norm.weight"] = tensors["norm.weight"].astype(np.float16)
        save_file(tensors, family / name / "model.safetensors")
    with pytest.raises(BadRequest, match="output_dtype: missing, and left holds float16, float32"):
        by_hand.survey(recipe(family), tmp_path / "out", unreviewed=False)


def test_two_folders_of_one_name_are_told_apart_by_the_recipe(family: Path, tmp_path: Path) -> None:
    write_json(family / "right/card.json", card("left"))
    with pytest.raises(BadRequest, match="left: two different folders have this name"):
        by_hand.survey(recipe(family), tmp_path / "out", unreviewed=False)
    named = recipe(family, "method: linear\nparents: [left, {id: right, path: right}]\n")
    by_hand.survey(named, tmp_path / "out", unreviewed=False)


def test_progress_comes_in_twentieths() -> None:
    seen: list[tuple[int, int, int]] = []
    tell = by_hand._in_steps(lambda *step: seen.append(step))
    for done in range(1001):
        tell(done, 1000)
    assert seen == [(percent, 0, 100) for percent in range(0, 101, 5)]


def test_the_command_merges_and_prints_one_json_document(family: Path, tmp_path: Path) -> None:
    recipe(family)
    arguments = ["merge", str(family / "recipe.yaml"), "--base-dir", str(family), "--out"]
    done = CliRunner().invoke(cli.app, [*arguments, str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["artifact"] == manifests.load(tmp_path / "out").digest
    assert "percent merged 100/100" in done.stderr
    again = CliRunner().invoke(cli.app, [*arguments, str(tmp_path / "out")])
    assert (again.exit_code, "is not empty" in again.stderr) == (1, True)


# --- import ---


@pytest.fixture
def lab(family: Path, tmp_path: Path) -> Path:
    """A repository with conf/ and the family in it."""
    root = tmp_path / "lab"
    shutil.copytree(ROOT / "conf", root / "conf")
    shutil.copytree(family, root / "family")
    (root / "dvc.yaml").touch()
    return root


def imported(root: Path, text: str, name: str = "mine") -> Json:
    """Write the experiment of `text` into `root`; the tree that it composes to."""
    read = recipe(root / "family", text)
    write(read, root, name, Path("recipe.yaml"), compose.request)
    return yaml.safe_load(compose.request(root, [f"experiment={name}"])[1])


def test_an_imported_recipe_composes_to_its_one_merge(lab: Path) -> None:
    text = (
        "method: ties\nbase: base\nparents: [left, right]\nparameters: {density: 0.4, weights: [0.6, 0.4]}\n"
    )
    tree = imported(lab, text)
    assert list(tree["method"]) == ["ties"]
    assert tree["method"]["ties"]["density"] == {"value": 0.4, "search": None}
    assert tree["method"]["ties"]["weights"] == {"value": [0.6, 0.4], "search": None}
    assert tree["parents"]["merge"] == ["left", "right"]
    assert tree["parents"]["members"]["left"]["source"] == {"kind": "repository", "path": "family/left"}
    assert tree["budget"]["candidates"] == 1
    niches = {name: task["parent"] for name, task in tree["suite"]["tasks"].items() if "parent" in task}
    assert {niches["shift"], niches["sort"]} == {"left", "right"}


def test_an_imported_recipe_with_rules_and_lines_composes_to_them(lab: Path) -> None:
    rules = [{"match": "*.0.*", "layers": [0.2, [0.3, 0.4]], "outside": 0.1}, {"match": "*", "value": 0.5}]
    wanted = {"density": rules, "weights": [0.6, 0.4], "lines": [0.2, 0.8, 1.0]}
    text = yaml.safe_dump(
        {"method": "ties", "base": "base", "parents": ["left", "right"], "parameters": wanted}
    )
    stated = imported(lab, text)["method"]["ties"]
    anchor = space("ties", Method.model_validate(stated), 2).anchor
    assert anchor == registry.resolve("ties", wanted, 2)
    assert stated["density"]["search"] is None


def test_the_base_of_a_mean_is_the_one_on_the_cards(lab: Path) -> None:
    tree = imported(lab, "method: linear\nparents: [left, right]\n")
    assert (tree["parents"]["base"], tree["parents"]["merge"]) == ("base", ["left", "right"])


def test_an_import_overwrites_nothing(lab: Path) -> None:
    imported(lab, "method: linear\nparents: [left, right]\n")
    with pytest.raises(BadRequest, match=r"conf/parents/mine\.yaml exists") as refused:
        imported(lab, "method: linear\nparents: [left, right]\n")
    assert len(refused.value.problems) == 2


def test_an_experiment_that_does_not_compose_is_not_left_behind(lab: Path) -> None:
    def refuse(folder: Path, words: list[str]) -> None:
        raise BadRequest(["no"])

    with pytest.raises(BadRequest, match="no"):
        write(recipe(lab / "family"), lab, "mine", Path("recipe.yaml"), refuse)
    assert not list((lab / "conf").rglob("mine.yaml"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("method: slerp\nparents: [base, left]\n", "base: it is the base and a parent"),
        (
            "method: linear\nparents: [left, right]\noutput_dtype: float16\n",
            "output_dtype: the pipeline writes the type of the base, float32; this asks for float16",
        ),
    ],
)
def test_what_a_pipeline_cannot_do_is_refused(lab: Path, text: str, expected: str) -> None:
    with pytest.raises(BadRequest, match=expected):
        imported(lab, text)


def test_a_parent_without_a_card_cannot_be_imported(lab: Path) -> None:
    (lab / "family/left/card.json").unlink()
    with pytest.raises(BadRequest, match=r"left: no card\.json"):
        imported(lab, "method: linear\nparents: [left, right]\n")


@pytest.mark.parametrize("name", ["../up", "Upper", "", "a b"])
def test_a_name_that_is_no_identifier_is_refused(lab: Path, name: str) -> None:
    with pytest.raises(BadRequest, match="--id"):
        imported(lab, "method: linear\nparents: [left, right]\n", name)


def test_the_command_names_the_files_and_the_next_command(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (lab / "family/My Recipe.yaml").write_text("method: linear\nparents: [family/left, family/right]\n")
    monkeypatch.chdir(lab)
    done = CliRunner().invoke(cli.app, ["import", "family/My Recipe.yaml"])
    assert done.stdout.splitlines() == [
        "conf/parents/my-recipe.yaml written",
        "conf/experiment/my-recipe.yaml written",
        "next: mergelab run experiment=my-recipe",
    ]


def test_a_merge_by_hand_is_no_candidate(family: Path, tmp_path: Path) -> None:
    make(recipe(family), tmp_path / "out")
    assert rebuild.identifiers(tmp_path / "data/candidates") == []
    assert "No rule has judged" in (tmp_path / "out" / hand_card.NAME).read_text()
