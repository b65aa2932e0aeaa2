"""The model card of a candidate: the README.md that makes its folder an ordinary Hugging Face one.

Fields of the front matter: https://huggingface.co/docs/hub/model-cards (base_model_relation: merge).
"""

import yaml

from stages.core.records.lineage import Lineage
from stages.core.records.recipe import cell
from stages.core.weights import budget
from stages.merge import terms_section

NAME = "README.md"
TEXT = """---
{front}---

# {id}

A merge of {parents} by **{method}** (version {version}), made by the merge lab.

| parameter | value |
|---|---|
{rows}

Parents, in the order in which coefficients are listed:

| role | id | licence | sha256 of the manifest |
|---|---|---|---|
{materials}

## Licence and restrictions

{terms}

## Origin

`lineage.json` beside this card is an in-toto statement from which these bytes can be rebuilt:
`mergelab verify {id}`. A candidate is no release: its outcome, and the evidence for it, are in `reports/`
of the repository.
"""


def model_card(lineage: Lineage) -> str:
    """Markdown with YAML front matter; a function of the lineage alone."""
    front = {
        "base_model": [material.id for material in lineage.materials],
        "base_model_relation": "merge",
        "library_name": "transformers",
        **terms_section.front(lineage.terms, [material.licence for material in lineage.materials]),
        "tags": ["merge", "mergelab", lineage.recipe.method],
    }
    return TEXT.format(
        front=yaml.safe_dump(front, sort_keys=True),
        id=lineage.recipe.id,
        parents=" and ".join(material.id for material in lineage.materials if material.role == "parent"),
        method=lineage.recipe.method,
        version=lineage.recipe.method_version,
        rows="\n".join(f"| {name} | {value} |" for name, value in stated(lineage).items()),
        materials="\n".join(
            f"| {material.role} | {material.id} | {material.licence} | `{material.digest}` |"
            for material in lineage.materials
        ),
        terms=terms_section.section(lineage.terms, lineage.recipe.id),
    )


def stated(lineage: Lineage) -> dict[str, str]:
    """Cells of the table of parameters; with what a byte budget left unread, if there was one."""
    found = {name: cell(value) for name, value in lineage.recipe.parameters.items()}
    record = lineage.arithmetic.get("budget")
    return found if record is None else {**found, "left unread": budget.told(record)}
