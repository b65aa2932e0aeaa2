"""Forms: how an item is put to a model and what its answer means, one file for each output type of lm-eval.

To add one, add its file (forms/query.py, `Form`) and one line to FORMS. Everything here is arithmetic on text
and answers; the models are elsewhere.
"""

from collections.abc import Mapping
from typing import Final

from stages.core.scoring.forms import choice, generate, likelihood, rolling
from stages.core.scoring.forms.query import Form

FORMS: Final[Mapping[str, Form]] = {
    form.OUTPUT_TYPE: form for form in (likelihood, choice, generate, rolling)
}
