"""mergekit's YAML in our words, or refused by key.

rows.py        what each method of mergekit is here: one row a method
settings.py    one setting out of scalars, gradients and name filters, by mergekit's order of scopes
spread.py      settings to our parameters: plain values, or rules by tensor and layer
stacked.py     passthrough: layers stacked
document.py    the keys, models and slices of a document, and its refusals
output.py      types, tokenizer, chat template
translate.py   the whole document

Read against mergekit 0.1 (https://github.com/arcee-ai/mergekit). Formulas are translated exactly; bytes are
not promised to agree: mergekit computes in the parents' type unless dtype is float32, rounds at other places,
and draws its masks from a global generator.
"""

from stages.merge.mergekit.translate import Translation, translate

__all__ = ["Translation", "translate"]
