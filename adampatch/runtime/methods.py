"""Methods of live classes with edits in them: from source text and edits to new functions.

Only methods that change are compiled, into functions over the live globals and the original
closure cells; nothing is written and no class body is run again. Touches no TensorFlow.
"""

import __future__

import ast
import functools
import hashlib
import inspect
import linecache
import sys
import textwrap
import types

_NAME = "_adampatch"  # what edits call the run time
_FUTURE = 0
for _feature in __future__.all_feature_names:
    _FUTURE |= getattr(__future__, _feature).compiler_flag


class Unpatchable(ValueError):
    """A class that stays as it is; `code` AP2xx, None where it has no update to patch. `stock`: the
    stock class that no known version has and that is the reason, else None."""

    stock = None

    def __init__(self, code, message):
        super(Unpatchable, self).__init__(message)
        self.code = code


def refusal(owner, code, why):
    """The Unpatchable of a class that must not be patched, for the reason `why`."""
    return Unpatchable(
        code,
        "adampatch: {}.{} cannot be patched: {}: {}; `adampatch explain {}` says more".format(
            owner.__module__, owner.__qualname__, code, why, code
        ),
    )


def method_text(lines):
    """The text that edits count in: `lines` of a method without what follows its last
    statement, dedented."""
    lines = list(lines)
    while lines and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
        lines.pop()
    return textwrap.dedent("".join(lines))


def digest(text):
    """The key of a method: sha256, in hexadecimal, of its `method_text`."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def wrapped_function(owner, name):
    """[the function `name` in the body of `owner`, what it wraps, ...], as `functools.wraps` says;
    raises Unpatchable for what is no such function."""
    found = [vars(owner).get(name)]
    while isinstance(found[-1], types.FunctionType) and hasattr(found[-1], "__wrapped__"):
        found.append(found[-1].__wrapped__)
    if not all(isinstance(function, types.FunctionType) for function in found):
        raise refusal(owner, "AP233", "{}.{} is wrapped by a decorator".format(owner.__name__, name))
    return found


def _wrapped_again(owner, wrappers, inner):
    """`inner` in new copies of `wrappers` (outermost first), whose closures held the old one."""
    for wrapper in reversed(wrappers):
        held = [c for c in wrapper.__closure__ or () if _contents(c) is wrapper.__wrapped__]
        if len(held) != 1:
            raise refusal(
                owner, "AP233", "{}.{} is wrapped by a decorator".format(owner.__name__, inner.__name__)
            )
        closure = tuple(cell(inner) if c is held[0] else c for c in wrapper.__closure__)
        again = types.FunctionType(
            wrapper.__code__, wrapper.__globals__, wrapper.__name__, wrapper.__defaults__, closure
        )
        again.__kwdefaults__ = wrapper.__kwdefaults__
        functools.update_wrapper(again, wrapper)
        again.__wrapped__ = inner
        inner = again
    return inner


def _contents(found):
    try:
        return found.cell_contents
    except ValueError:  # an empty cell
        return None


def source_of(owner, live):
    """`method_text` of a function of `owner`; raises Unpatchable where there is no source."""
    try:
        return method_text(inspect.getsourcelines(live)[0])
    except (OSError, TypeError, IndentationError, SyntaxError):
        raise refusal(owner, "AP230", "no source to be had for {}.{}".format(owner.__name__, live.__name__))


def edited(text, edits):
    """`text` with `edits`: (start, end, replacement), offsets in code points, in order."""
    pieces, position = [], 0
    for start, end, replacement in edits:
        pieces += [text[position:start], replacement]
        position = end
    return "".join(pieces + [text[position:]])


def remade(owner, name, key, edits, binding):
    """The method `name` of `owner` with `edits`, `binding` being what `_adampatch` means in it.

    `key` is the digest of the text that the edits were made for. Raises Unpatchable when the
    method is wrapped, has no source, or its source is not what is running.
    """
    functions = wrapped_function(owner, name)
    live = functions[-1]
    text = source_of(owner, live)
    if digest(text) != key or not _is_running(owner, live):
        raise refusal(
            owner, "AP234", "the source of {}.{} is not what is running".format(owner.__name__, name)
        )
    return _wrapped_again(owner, functions[:-1], _function(owner, live, edited(text, edits), binding))


def _is_running(owner, live):
    """Whether the file compiles to what is running: it may have changed since the import.

    The whole file is compiled, since a call's bytecode depends on whether the module imports
    the name that it starts from.
    """
    module = sys.modules.get(owner.__module__)
    try:
        if module is not None and getattr(module, "__file__", None):
            lines = inspect.findsource(module)[0]
        else:
            lines = linecache.getlines(inspect.getsourcefile(live) or "")
        found = _codes(compile("".join(lines), live.__code__.co_filename, "exec", dont_inherit=True))
    except (OSError, TypeError, SyntaxError, ValueError):
        return False
    running = live.__code__
    return any(
        code.co_name == running.co_name
        and code.co_firstlineno == running.co_firstlineno
        and _same_code(code, running)
        for code in found
    )


def _codes(code):
    """The code objects within `code`, however deep."""
    found = []
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.append(constant)
            found += _codes(constant)
    return found


def _same_code(a, b):
    if (a.co_code, a.co_names, a.co_varnames) != (b.co_code, b.co_names, b.co_varnames):
        return False
    if len(a.co_consts) != len(b.co_consts):
        return False
    for x, y in zip(a.co_consts, b.co_consts):
        if isinstance(x, types.CodeType) and isinstance(y, types.CodeType):
            if not _same_code(x, y):
                return False
        elif x != y:
            return False
    return True


def _function(owner, live, text, binding):
    code = _method_code(owner, live, text)
    cells = dict(zip(live.__code__.co_freevars, live.__closure__ or ()))
    cells[_NAME] = cell(binding)
    if "__class__" in code.co_freevars and "__class__" not in cells:
        cells["__class__"] = cell(owner)
    closure = tuple(cells[free] for free in code.co_freevars)
    function = types.FunctionType(code, live.__globals__, live.__name__, live.__defaults__, closure)
    function.__kwdefaults__ = live.__kwdefaults__
    function.__qualname__ = live.__qualname__
    function.__doc__ = live.__doc__
    function.__annotations__ = dict(live.__annotations__)
    function.__dict__.update(live.__dict__)
    return function


def cell(value):
    """A closure cell (types.CellType is Python 3.8)."""
    return (lambda: value).__closure__[0]


def _method_code(owner, live, text):
    """The code object of the method `text`, compiled inside a class of the owner's name (so
    that names are mangled alike), over the live function's free variables."""
    method = ast.parse(text).body[0]
    method.decorator_list = []
    first = live.__code__.co_firstlineno
    ast.increment_lineno(method, first - 1)
    free = [name for name in live.__code__.co_freevars + (_NAME,) if name != "__class__"]
    shell = ast.parse(
        "def _outer({}):\n    class {}:\n        pass\n".format(
            ", ".join(dict.fromkeys(free)), owner.__name__
        )
    )
    shell.body[0].body[0].body = [method]
    # Tracebacks, debuggers and AutoGraph ask for the source by this name and the line.
    shown = "<adampatch {} {}>".format(live.__code__.co_filename, live.__qualname__)
    lines = ["\n"] * (first - 1) + [line + "\n" for line in text.split("\n")]
    linecache.cache[shown] = (sum(map(len, lines)), None, lines, shown)
    flags = live.__code__.co_flags & _FUTURE
    made = _codes(compile(ast.fix_missing_locations(shell), shown, "exec", flags=flags, dont_inherit=True))
    code = next(inner for inner in made if inner.co_name == live.__name__)
    # Dedenting reaches into string literals of several lines, which is right for a docstring only.
    strings = {live.__doc__} | {c for c in code.co_consts if isinstance(c, str)}
    if any(isinstance(c, str) and "\n" in c and c not in strings for c in live.__code__.co_consts):
        raise refusal(owner, "AP234", "{} holds a string of several lines".format(live.__qualname__))
    return code
