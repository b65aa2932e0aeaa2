"""Paths of layers by hand, over the shipped parents: files that transformers loads and runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from stages import cli
from stages.core.errors import BadRequest, Unmergeable
from stages.core.records import lineage as lineages
from stages.core.records.canonical import read_json
from stages.merge import by_hand
from stages.merge.memory import Memory
from stages.merge.recipe_file import Folders, load
from tests.architecture.tree import ROOT

SOURCES = ROOT / "data/sources"


def merge(tmp_path: Path, text: str, folder: Path = SOURCES, *, dry_run: bool = False) -> Path:
    """The folder of a merge of the recipe `text`, its models under `folder`."""
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    read, out = load(path, Folders(folder, {})), tmp_path / "out"
    if dry_run:
        by_hand.survey(read, out, unreviewed=True)
    else:
        by_hand.merge(read, out, unreviewed=True, memory=Memory(), report=lambda done, rejected, total: None)
    return out


def logits(folder: Path) -> torch.Tensor:
    """Of a few tokens, by the model as anybody would load it."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        found: torch.Tensor = model(torch.arange(3, 40)[None]).logits
    return found


def test_the_command_doubles_layers_and_the_result_loads_and_runs(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    parents = ", ".join(str(SOURCES / name) for name in ("pico-a", "pico-b"))
    recipe.write_text(f'method: layer_path\nparents: [{parents}]\nparameters: {{path: "1:0-3 2:1-4 1:3"}}\n')
    out = tmp_path / "out"
    done = CliRunner().invoke(cli.app, ["merge", str(recipe), "--out", str(out), "--unreviewed"])
    assert done.exit_code == 0, done.output
    config = read_json(out / "config.json")
    assert config == read_json(SOURCES / "pico-a/config.json") | {"num_hidden_layers": 7}
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.bfloat16)
    assert len(model.model.layers) == 7
    a, b = (load_file(SOURCES / name / "model.safetensors") for name in ("pico-a", "pico-b"))
    came_from = [(a, 0), (a, 1), (a, 2), (b, 1), (b, 2), (b, 3), (a, 3)]
    for number, (parent, layer) in enumerate(came_from):
        for name, parameter in model.model.layers[number].named_parameters():
            assert torch.equal(parameter, parent[f"model.layers.{layer}.{name}"])
    assert torch.equal(model.lm_head.weight, a["model.embed_tokens.weight"]), "tied as in the parent"
    assert torch.isfinite(logits(out)).all()
    recorded = lineages.load(out / lineages.NAME)
    assert recorded.recipe.parameters["path"] == "1:0-3 2:1-4 1:3"
    assert lineages.made_of(recorded.statement)["model.layers.3.mlp.up_proj.weight"] == (
        "model.layers.1.mlp.up_proj.weight"
    )


def test_a_path_of_every_layer_in_order_gives_the_parent_byte_for_byte(tmp_path: Path) -> None:
    text = 'method: layer_path\nparents: [pico-a, pico-b]\nparameters: {path: "2:0-4", outside: 2}\n'
    out = merge(tmp_path, text)
    for name in ("config.json", "tokenizer.json"):
        assert (out / name).read_bytes() == (SOURCES / "pico-b" / name).read_bytes()
    found, parent = (load_file(folder / "model.safetensors") for folder in (out, SOURCES / "pico-b"))
    assert found.keys() == parent.keys()
    assert all(torch.equal(found[name].view(torch.uint8), parent[name].view(torch.uint8)) for name in parent)
    assert torch.equal(logits(out), logits(SOURCES / "pico-b"))


def test_one_parent_can_be_doubled_and_a_layer_whose_outputs_are_zero_changes_nothing(tmp_path: Path) -> None:
    """A residual block adds what o_proj and down_proj give: scaled by 0 the doubled layer is the identity."""
    text = """
method: layer_path
parents: [pico-a]
parameters:
  path: "1:0-4 1:3"
  scale:
    - {match: "*.o_proj.weight", layers: [1, 1, 1, 1, 0]}
    - {match: "*.down_proj.weight", layers: [1, 1, 1, 1, 0]}
    - {match: "*", value: 1}
"""
    out = merge(tmp_path, text)
    assert read_json(out / "config.json")["num_hidden_layers"] == 5
    assert torch.equal(logits(out), logits(SOURCES / "pico-a"))


def test_passthrough_swaps_groups_of_tensors_by_name(tmp_path: Path) -> None:
    rules = '[{match: "*.mlp.*", value: 2}, {match: "*", value: 1}]'
    out = merge(tmp_path, f"method: passthrough\nparents: [pico-a, pico-b]\nparameters: {{donor: {rules}}}\n")
    a, b = (load_file(SOURCES / name / "model.safetensors") for name in ("pico-a", "pico-b"))
    for name, tensor in load_file(out / "model.safetensors").items():
        assert torch.equal(tensor, (b if ".mlp." in name else a)[name])


@pytest.fixture
def family(tmp_path: Path) -> Path:
    """pico-a, and `deep`: the same with two more layers, its configuration open to change."""
    for name in ("pico-a", "deep"):
        shutil.copytree(SOURCES / "pico-a", tmp_path / "models" / name)
    folder = tmp_path / "models/deep"
    tensors = load_file(folder / "model.safetensors")
    more = {
        name.replace("layers.0.", f"layers.{number}."): tensor * 2
        for number in (4, 5)
        for name, tensor in tensors.items()
        if "layers.0." in name
    }
    save_file(tensors | more, folder / "model.safetensors", metadata={"format": "pt"})
    configure(folder, num_hidden_layers=6)
    return tmp_path / "models"


def configure(folder: Path, **changed: Any) -> None:
    config = read_json(folder / "config.json") | changed
    (folder / "config.json").write_text(json.dumps(config))


PATH = 'method: layer_path\nparents: [pico-a, deep]\nparameters: {path: "1:0-2 2:4-6 1:3"}\n'


def test_parents_of_different_depth_share_a_path(tmp_path: Path, family: Path) -> None:
    out = merge(tmp_path, PATH, family)
    assert read_json(out / "config.json")["num_hidden_layers"] == 5
    assert torch.isfinite(logits(out)).all()


def test_parents_of_different_depth_share_nothing_else(tmp_path: Path, family: Path) -> None:
    with pytest.raises(BadRequest, match=r"config\.json says num_hidden_layers 6, that of pico-a 4"):
        merge(tmp_path, "method: linear\nparents: [pico-a, deep]\n", family)
    with pytest.raises(BadRequest, match=r"config\.json says num_hidden_layers 6, that of pico-a 4"):
        merge(tmp_path, "method: passthrough\nparents: [pico-a, deep]\n", family)


@pytest.mark.parametrize("dry_run", [True, False])
def test_settings_that_one_stack_cannot_have_are_refused_before_anything_is_written(
    tmp_path: Path, family: Path, dry_run: bool
) -> None:
    configure(family / "deep", attention_bias=True, max_position_embeddings=512)
    with pytest.raises(Unmergeable) as told:
        merge(tmp_path, PATH, family, dry_run=dry_run)
    assert str(told.value).splitlines()[1:-1] == [
        "  attention_bias: True in parent 2, False where it is taken from",
        "  max_position_embeddings: 512 in parent 2, 256 where it is taken from",
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("key", "value"), [("num_attention_heads", 8), ("rms_norm_eps", 1e-6)])
def test_other_heads_and_norms_are_refused(tmp_path: Path, family: Path, key: str, value: float) -> None:
    configure(family / "deep", **{key: value})
    with pytest.raises(BadRequest, match=f"config.json says {key}"):
        merge(tmp_path, PATH, family)


def test_a_layer_too_many_is_told_with_how_many_there_are(tmp_path: Path) -> None:
    text = 'method: layer_path\nparents: [pico-a, pico-b]\nparameters: {path: "1:0-5"}\n'
    with pytest.raises(BadRequest, match=r"path: '1:0-5': parent 1 has 4 layers, 0 to 3"):
        merge(tmp_path, text)


def test_a_path_without_quotes_is_told_what_yaml_made_of_it(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"parameters\.path: expected a text, got 68\. Put it in quotes"):
        merge(tmp_path, "method: layer_path\nparents: [pico-a, pico-b]\nparameters: {path: 1:8}\n")
