"""The paths of variables as the run time sees them, from whatever a user has at hand.
By the names of attributes alone: nothing of TensorFlow is imported here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adampatch.errors import AdampatchError

_LISTS = ("trainable_variables", "trainable_weights", "_trainable_variables")
#: where wrappers keep the optimizer that makes the update
_INNER = ("inner_optimizer", "_optimizer")


def paths_of(given: Any) -> list[str]:
    """The paths of a model's, a layer's or an optimizer's trainable variables, or of those in a list.

    A list may hold variables and paths. Raises `AdampatchError` where there are none, or none can be found.
    """
    found = [given] if isinstance(given, str) else given
    for name in _LISTS:
        held = None if isinstance(given, str | list | tuple) else getattr(given, name, None)
        if held is not None and not callable(held):
            found = held
            break
    else:
        if not isinstance(found, Iterable) or hasattr(found, "assign"):
            found = [found]
    paths = [_path(variable, given) for variable in found]
    if not paths:
        what = f"{_called(given)} has no trainable variables yet; build it, or pass a list of paths"
        raise AdampatchError("explain", what)
    return paths


def optimizer_name(given: Any) -> str | None:
    """The class name of the innermost optimizer of a model, or given; None where there is none."""
    held = getattr(given, "optimizer", None)
    optimizer = given if held is None or isinstance(held, str) else held
    if not hasattr(optimizer, "apply_gradients"):
        return None
    for name in _INNER:
        inner = getattr(optimizer, name, None)
        if hasattr(inner, "apply_gradients"):
            return optimizer_name(inner)
    return type(optimizer).__name__


def _path(variable: Any, given: Any) -> str:
    if isinstance(variable, str):
        return variable
    path = getattr(variable, "path", None) or getattr(variable, "name", None)
    if not isinstance(path, str):
        what = (
            f"{_called(given)} does not say its variables; pass a model that is built, or a list of "
            "variables or of their paths"
        )
        raise AdampatchError("explain", what)
    return path[: -len(":0")] if path.endswith(":0") else path


def _called(given: Any) -> str:
    return "the list" if isinstance(given, list | tuple) else f"{type(given).__name__}"
