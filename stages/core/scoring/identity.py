"""What decides whether two answers may be compared: the scorer's version, and what a model computes.

Kept apart from the scorer itself, whose libraries take seconds to import.
"""

from pathlib import Path
from typing import Final

from stages.core.records.canonical import Json, read_json

SCORER: Final = 2  # version of all in this room that can move an answer; part of the evidence's identity
PROBABILITY: Final = "probability-mean"  # how several models are mixed (ensemble.py)
LOGIT: Final = "logit-mean"
NOT_ARCHITECTURE = ("architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path")
DEPTH = ("num_hidden_layers", "layer_types", "max_window_layers")  # what follows the number of layers


def architecture_of(directory: Path) -> Json:
    """config.json without what says nothing about the function computed: stored dtype, names, versions."""
    tree = read_json(directory / "config.json")
    return {key: value for key, value in tree.items() if key not in NOT_ARCHITECTURE}
