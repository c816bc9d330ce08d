"""Renames tensors by rules. Every tensor gets a new name, or is dropped for a stated reason."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from farl_hf.errors import ConversionError

_NAMED_IN_ERRORS = 4


@dataclass(frozen=True)
class KeyRule:
    """Where a source tensor goes.

    Args:
        pattern (`str`): Regular expression that the whole source name matches.
        targets (`tuple[str, ...]`): Our names, with the groups of the pattern; several share the rows evenly.
        change (`Callable`, *optional*): Applied to the tensor first.
    """

    pattern: str
    targets: tuple[str, ...]
    change: Callable[[torch.Tensor], torch.Tensor] | None = None


@dataclass(frozen=True)
class DropRule:
    """A source tensor that has no place in our model, and why it is not missed.

    Args:
        pattern (`str`): Regular expression that the whole source name matches.
        reason (`str`): Why it is not missed.
        constant (`tuple[float, ...]`, *optional*): The values that it must have to be dispensable.
    """

    pattern: str
    reason: str
    constant: tuple[float, ...] | None = None


@dataclass(frozen=True)
class KeyMap:
    """Where all tensors of one kind of source go.

    Args:
        rules (`tuple[KeyRule, ...]`): The first whose pattern matches is used.
        drops (`tuple[DropRule, ...]`): Tried when no rule matches.
    """

    rules: tuple[KeyRule, ...]
    drops: tuple[DropRule, ...] = ()


def name_some(names: Iterable[str]) -> str:
    """The first few names and how many there are, for errors."""
    names = list(names)
    more = f" … ({len(names)} in all)" if len(names) > _NAMED_IN_ERRORS else ""
    return ", ".join(names[:_NAMED_IN_ERRORS]) + more


def apply_key_rules(
    tensors: Mapping[str, torch.Tensor], key_map: KeyMap, what: str
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """
    Rename tensors.

    Args:
        tensors (`Mapping[str, torch.Tensor]`): By source name.
        key_map (`KeyMap`): The rules.
        what (`str`): What the source is taken for, for errors.

    Returns:
        `tuple`: Tensors by our name, views of the source's where possible; and the reason of every dropped name.

    Raises:
        ConversionError: Tensors that nothing matches; the message names the first few and counts them.
    """
    converted: dict[str, torch.Tensor] = {}
    dropped: dict[str, str] = {}
    unknown: list[str] = []
    for name, value in tensors.items():
        placed = _placed(name, value, key_map.rules)
        drop = next((drop for drop in key_map.drops if re.fullmatch(drop.pattern, name)), None)
        if placed:
            converted |= placed
        elif drop is not None:
            _check_constant(name, value, drop)
            dropped[name] = drop.reason
        else:
            unknown.append(name)
    if unknown:
        raise ConversionError(
            f"The source looks like {what}, but these tensors have no place in it: {name_some(unknown)}."
        )
    return converted, dropped


def _placed(name, value, rules):
    for rule in rules:
        match = re.fullmatch(rule.pattern, name)
        if match:
            value = value if rule.change is None else rule.change(value)
            parts = value.chunk(len(rule.targets)) if len(rule.targets) > 1 else (value,)
            names = [match.expand(target) for target in rule.targets]
            return dict(zip(names, parts, strict=True))
    return None


def _check_constant(name, value, drop):
    if drop.constant is not None and not torch.allclose(value.flatten().float(), torch.tensor(drop.constant)):
        raise ConversionError(
            f"{name} is {value.flatten().tolist()} instead of {list(drop.constant)}, which every released file has; "
            "these weights expect another normalisation."
        )


def check_completeness(
    tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Size], ignorable: Iterable[str], what: str
) -> None:
    """
    Make sure that tensors fill a model exactly.

    Args:
        tensors (`Mapping[str, torch.Tensor]`): By our name.
        expected (`Mapping[str, torch.Size]`): Shape of every tensor of the model.
        ignorable (`Iterable[str]`): Regular expressions of names that the model leaves out on purpose.
        what (`str`): What the source is taken for, for errors.

    Raises:
        ConversionError: Missing or surplus names, or other shapes; the message names the first few and counts them.
    """
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise ConversionError(f"The source looks like {what}, but tensors are missing for: {name_some(missing)}.")
    ignorable = tuple(ignorable)
    surplus = [name for name in tensors if name not in expected and not any(re.search(p, name) for p in ignorable)]
    if surplus:
        raise ConversionError(f"The source looks like {what}, but has too many tensors: {name_some(surplus)}.")
    shapes = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(shape)}"
        for name, shape in expected.items()
        if tensors[name].shape != shape
    ]
    if shapes:
        raise ConversionError(f"The source looks like {what}, but shapes differ: {name_some(shapes)}.")
