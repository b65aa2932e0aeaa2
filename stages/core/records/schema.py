"""What every checked document shares: immutable sections, and problems told as sentences, all at once."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class Section(BaseModel):
    """A part of a document: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def explain(failure: ValidationError, document: type[BaseModel], whole: str) -> Iterator[str]:
    """One sentence per problem: key, what was expected and got, the nearest valid name.

    document: the model that refused. whole: how to call it where no key is to blame ("the request").
    """
    for detail in failure.errors(include_url=False):
        key = ".".join(_keys(document, detail["loc"])) or whole
        if detail["type"] == "extra_forbidden":
            yield f"{key}: unknown key{nearest(str(detail['loc'][-1]), _siblings(document, detail['loc']))}"
        elif detail["type"] == "missing":
            yield f"{key}: missing"
        elif detail["type"] == "value_error":
            yield f"{key}: {detail['ctx']['error']}"
        elif detail["type"] == "union_tag_not_found":
            yield f"{key}.{_bare(detail['ctx']['discriminator'])}: missing"
        elif detail["type"] == "union_tag_invalid":
            tag, discriminator, tags = (
                detail["ctx"][name] for name in ("tag", "discriminator", "expected_tags")
            )
            valid = [_bare(word) for word in tags.split(", ")]
            yield f"{key}.{_bare(discriminator)}: unknown {tag!r}{nearest(tag, valid)}"
        else:
            message = detail["msg"]
            yield f"{key}: {message[0].lower()}{message[1:]}, got {str(detail['input'])[:80]!r}"


def nearest(name: str, valid: Iterable[str]) -> str:
    """'; did you mean …? (one of …)', for the end of a message; empty when nothing is valid."""
    names = list(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f"; did you mean {close[0]!r}?" if close else ""
    return f"{guess} (one of: {', '.join(names)})" if names else guess


@dataclass(frozen=True)
class _MapOf:
    """Stands for `dict[str, of]` while walking a location: any key leads to `of`."""

    of: Any


@dataclass(frozen=True)
class _OneOf:
    """Stands for a union told apart by a tag: pydantic puts the tag into the location, where no key is."""

    models: tuple[type[BaseModel], ...]


def _bare(word: str) -> str:
    return word.strip("'")


def _keys(document: Any, location: tuple[int | str, ...]) -> Iterator[str]:
    """The keys of a location, without the tags of unions."""
    for part in location:
        if not isinstance(document, _OneOf):
            yield str(part)
        document = _descend(document, str(part))


def _siblings(document: Any, location: tuple[int | str, ...]) -> list[str]:
    """The valid keys at the place of an unknown one."""
    for part in location[:-1]:
        document = _descend(document, str(part))
    return list(getattr(document, "model_fields", {}))


def _descend(model: Any, part: str) -> Any:
    """The model under key `part`: a field's annotation, or the values of a map; None where there is none."""
    if isinstance(model, _MapOf):
        return model.of
    if isinstance(model, _OneOf):
        tagged = (one for one in model.models if part in _tags(one))
        return next(tagged, None)
    field = getattr(model, "model_fields", {}).get(part)
    annotation = field.annotation if field else None
    within = getattr(annotation, "__args__", ())
    if field is not None and field.discriminator:
        return _OneOf(within)
    for inner in (annotation, *within):
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return _MapOf(inner) if getattr(annotation, "__origin__", None) is dict else inner
    return None


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """The literals of the fields that tell the models of a union apart."""
    return tuple(
        tag for field in model.model_fields.values() for tag in getattr(field.annotation, "__args__", ())
    )
