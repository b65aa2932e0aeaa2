"""The model card of a merge made by hand: README.md, an ordinary Hugging Face one.

Fields of the front matter: https://huggingface.co/docs/hub/model-cards (base_model_relation: merge).
"""

import yaml

from stages.core.records.lineage import Lineage
from stages.merge.model_card import stated

NAME = "README.md"
TEXT = """---
{front}---

# {id}

A merge of {parents} by **{method}** (version {version}), made by hand with the merge lab.
{warning}
No rule has judged whether these parents may be merged, no gate has seen the result, and it was not evaluated.
Weights, coefficients and digests are in `lineage.json` beside this card, an in-toto statement from which the
same bytes can be made again.

| parameter | value |
|---|---|
{rows}

| role | id | licence | sha256 of the manifest |
|---|---|---|---|
{materials}
"""
UNREVIEWED = """
**Not reviewed:** {names} had no card: licence and restrictions are unknown, and so are those of this merge.
"""


def hand_card(lineage: Lineage) -> str:
    """Markdown with YAML front matter; a function of the lineage alone."""
    licences = list(dict.fromkeys(material.licence for material in lineage.materials))
    front = {
        "base_model": [material.id for material in lineage.materials],
        "base_model_relation": "merge",
        "library_name": "transformers",
        "license": licences[0].lower() if len(licences) == 1 else "other",
        "tags": ["merge", "mergelab", lineage.recipe.method],
    }
    unknown = ", ".join(material.id for material in lineage.materials if not material.reviewed)
    names = {material.digest: material.id for material in lineage.materials}
    return TEXT.format(
        front=yaml.safe_dump(front, sort_keys=True),
        id=lineage.recipe.id,
        parents=" and ".join(names[digest] for digest in lineage.recipe.parents),
        method=lineage.recipe.method,
        version=lineage.recipe.method_version,
        warning=UNREVIEWED.format(names=unknown) if unknown else "",
        rows="\n".join(f"| {name} | {value} |" for name, value in stated(lineage).items()),
        materials="\n".join(
            f"| {material.role} | {material.id} | {material.licence} | `{material.digest}` |"
            for material in lineage.materials
        ),
    )
