"""Optimizers that hold optimizers: loss scales, Lookahead, averages, several in one, users' own.

Touches no TensorFlow; reads attributes of instances and changes none.
"""

_CONTAINERS = (list, tuple, set, frozenset)


#: what a class needs one of to be an optimizer's
_UPDATES = ("apply_gradients", "get_updates")


def _is_optimizer(x):
    return not isinstance(x, type) and any(callable(getattr(type(x), name, None)) for name in _UPDATES)


def _inside(value, seen):
    """Optimizers in `value`, itself one or a container of any depth."""
    if _is_optimizer(value):
        yield value
        return
    if isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, _CONTAINERS):
        parts = list(value)
    else:
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    for part in parts:
        for found in _inside(part, seen):
            yield found


def held(optimizer):
    """The optimizers that `optimizer` holds in its attributes, each once, itself left out."""
    # Of the instance, not by getattr: wrappers hand unknown names on to what they wrap.
    values = list(getattr(optimizer, "__dict__", {}).values())
    found = {id(inner): inner for inner in _inside(values, set())}
    found.pop(id(optimizer), None)
    return list(found.values())


def opened(optimizer):
    """`optimizer` and all that it holds, however deep, each once, outermost first."""
    found, todo = {}, [optimizer]
    while todo:
        part = todo.pop(0)
        if id(part) not in found:
            found[id(part)] = part
            todo += held(part)
    return list(found.values())
