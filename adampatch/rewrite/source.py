"""Edits applied to source text with libcst, and taken out again.

Every node is located by kind and position and must match exactly once. After rewriting,
the text with our calls taken out must parse to the same tree as the original: otherwise
nothing is changed and the file is refused.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from adampatch.rewrite.edits import RUNTIME_NAME, Edit, Plan

_HOLE = "__hole__"
_NEWLINE = re.compile("\r\n|\r|\n")  # str.splitlines splits at form feeds too


class GuardFailed(Exception):
    """A rewrite did not keep the meaning; the file is left alone. ``why`` is one sentence."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def rewritten(text: str, plan: Plan) -> str:
    """The text with the plan's edits and its import. Raises GuardFailed when an edit cannot be
    placed or a guard does not hold."""
    if not plan.edits and not plan.import_line:
        return text
    try:
        module = cst.parse_module(text)
    except cst.ParserSyntaxError as error:
        raise GuardFailed(f"libcst cannot parse the file: {error.message}") from error
    if module.code != text:
        raise GuardFailed("the file does not survive parsing and printing unchanged")
    edited = _edited(module, plan.edits)
    if plan.import_line:
        edited = _with_import(edited, plan.import_line)
    new = edited.code
    _check(text, new)
    return new


def unpatched(text: str) -> str:
    """The text with all of our calls, decorators and imports taken out again. Raises
    GuardFailed when it does not parse."""
    try:
        module = cst.parse_module(text)
    except cst.ParserSyntaxError as error:
        raise GuardFailed(f"the file does not parse: {error.message}") from error
    if module.code != text:
        raise GuardFailed("the file does not survive parsing and printing unchanged")
    return module.visit(_Remover(module)).code


def _check(old: str, new: str) -> None:
    try:
        ast.parse(new)
        back = unpatched(new)
        if _dump(back) != _dump(unpatched(old)):
            raise GuardFailed("with our calls taken out again the code is not the original")
    except SyntaxError as error:
        raise GuardFailed(f"the result does not parse: {error.msg} (line {error.lineno})") from error


def _dump(text: str) -> str:
    return ast.dump(ast.parse(text), include_attributes=False)


# ------------------------------------------------------------------------ placing


def _edited(module: cst.Module, edits: Sequence[Edit]) -> cst.Module:
    wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
    positions = wrapper.resolve(PositionProvider)
    wanted = {(e.kind == "observed", e.start, e.end): e for e in edits}
    targets: dict[cst.CSTNode, Edit] = {}
    matched: dict[Edit, int] = {}
    for node, place in positions.items():
        start = (place.start.line, place.start.column)
        if isinstance(node, cst.ClassDef):
            edit = wanted.get((True, start, start))
        elif isinstance(node, cst.BaseExpression):
            end = (place.end.line, place.end.column)
            edit = wanted.get((False, start, end))
        else:
            continue
        if edit is not None:
            targets[node] = edit
            matched[edit] = matched.get(edit, 0) + 1
    for edit in edits:
        if matched.get(edit, 0) != 1:
            raise GuardFailed(f"{matched.get(edit, 0)} nodes match the edit at line {edit.start[0]}")
    return module.visit(_Editor(module, targets))


class _Editor(cst.CSTTransformer):
    def __init__(self, module: cst.Module, targets: dict[cst.CSTNode, Edit]) -> None:
        super().__init__()
        self.module = module
        self.targets = targets
        self.lines = _NEWLINE.split(module.code)
        self.blocks: list[str] = []

    def visit_IndentedBlock(self, node: cst.IndentedBlock) -> None:
        self.blocks.append(node.indent if node.indent is not None else self.module.default_indent)

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        self.blocks.pop()
        return updated_node

    def on_leave(  # type: ignore[override]
        self, original_node: cst.CSTNode, updated_node: cst.CSTNode
    ) -> cst.CSTNode | cst.RemovalSentinel | cst.FlattenSentinel[cst.CSTNode]:
        result = super().on_leave(original_node, updated_node)
        edit = self.targets.get(original_node)
        if edit is None:
            return result
        if isinstance(result, cst.ClassDef):
            mark = cst.Decorator(cst.Attribute(cst.Name(RUNTIME_NAME), cst.Name("observed")))
            return result.with_changes(decorators=[*result.decorators, mark])
        assert isinstance(result, cst.BaseExpression)
        bare = result.with_changes(lpar=[], rpar=[])
        call = self._call(edit, bare)
        return call.with_changes(lpar=result.lpar, rpar=result.rpar)

    def _call(self, edit: Edit, inner: cst.BaseExpression) -> cst.BaseExpression:
        if edit.kind == "patched":
            extra = "".join(f", {name}={text}" for name, text in edit.parts)
            return _call_around(self.module, f"{RUNTIME_NAME}.patched({_HOLE}{extra})", inner)
        if edit.kind == "callee":
            call = f"{RUNTIME_NAME}.fused({edit.self_name}, {edit.variable}, {_HOLE})"
            return _call_around(self.module, call, inner)
        newline, unit = self.module.default_newline, self.module.default_indent
        indent = self._indent(edit.start[0])
        code = self.module.code_for_node(inner)
        lines = [f"{RUNTIME_NAME}.step("]
        lines += [f"{indent}{unit}{edit.self_name},", f"{indent}{unit}{edit.variable},"]
        lines.append(f"{indent}{unit}update={_shifted(code, unit)},")
        lines += [f"{indent}{unit}{name}={text}," for name, text in edit.parts]
        lines.append(f"{indent})")
        return cst.parse_expression(newline.join(lines), config=self.module.config_for_parsing)

    def _indent(self, line: int) -> str:
        """The indentation of a line within its block: libcst adds the block's own."""
        text = self.lines[line - 1] if line <= len(self.lines) else ""
        return text[: len(text) - len(text.lstrip(" \t"))].removeprefix("".join(self.blocks))


def _shifted(code: str, unit: str) -> str:
    """Continuation lines one level deeper, where that cannot change a string or a comment."""
    if "\n" not in code or '"""' in code or "'''" in code or "\\\n" in code or "\\\r" in code:
        return code
    first, *rest = code.split("\n")
    return "\n".join([first, *((unit + line if line.strip() else line) for line in rest)])


def _shifted_back(code: str, unit: str) -> str:
    """The inverse of ``_shifted``."""
    if "\n" not in code or '"""' in code or "'''" in code or "\\\n" in code or "\\\r" in code:
        return code
    first, *rest = code.split("\n")
    return "\n".join([first, *(line.removeprefix(unit) for line in rest)])


def _call_around(module: cst.Module, text: str, inner: cst.BaseExpression) -> cst.Call:
    """The call in ``text`` with ``inner`` in place of its argument ``_HOLE``."""
    call = cst.parse_expression(text, config=module.config_for_parsing)
    assert isinstance(call, cst.Call)
    hole = next(a for a in call.args if isinstance(a.value, cst.Name) and a.value.value == _HOLE)
    return call.with_changes(args=[a.with_changes(value=inner) if a is hole else a for a in call.args])


# ------------------------------------------------------------------------- import


def _with_import(module: cst.Module, line: str) -> cst.Module:
    """The import after the last import of the block that opens the file, in a group of its own."""
    statement = cst.parse_statement(line, config=module.config_for_parsing)
    assert isinstance(statement, cst.SimpleStatementLine)
    body = list(module.body)
    at = 0
    for index, node in enumerate(body):
        if not isinstance(node, cst.SimpleStatementLine):
            break
        first = node.body[0]
        if all(isinstance(small, (cst.Import, cst.ImportFrom)) for small in node.body):
            at = index + 1
        elif not (
            isinstance(first, cst.Expr)
            and isinstance(first.value, (cst.SimpleString, cst.ConcatenatedString))
        ):
            break
        elif index == 0:
            at = 1  # the docstring
    if at == 0:
        return module.with_changes(body=[statement, *body])
    statement = statement.with_changes(leading_lines=[cst.EmptyLine(indent=False)])
    return module.with_changes(body=[*body[:at], statement, *body[at:]])


# ------------------------------------------------------------------------ removal


def _is_ours(node: cst.BaseExpression, name: str) -> bool:
    return (
        isinstance(node, cst.Attribute)
        and isinstance(node.value, cst.Name)
        and node.value.value == RUNTIME_NAME
        and node.attr.value == name
    )


class _Remover(cst.CSTTransformer):
    """Takes our calls out: the stock text is inside them."""

    def __init__(self, module: cst.Module) -> None:
        super().__init__()
        self.module = module

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        inner: cst.BaseExpression | None = None
        if _is_ours(updated_node.func, "step"):
            inner = next(
                (a.value for a in updated_node.args if a.keyword and a.keyword.value == "update"), None
            )
        elif _is_ours(updated_node.func, "fused") and len(updated_node.args) == 3:
            inner = updated_node.args[2].value
        elif _is_ours(updated_node.func, "patched") and updated_node.args:
            inner = updated_node.args[0].value
        if inner is None:
            return updated_node
        code = self.module.code_for_node(inner)
        if _is_ours(updated_node.func, "step") and "\n" in code:
            code = _shifted_back(code, self.module.default_indent)
            # in parentheses while parsing: those around it may be what held its lines together
            enclosed = cst.parse_expression(f"({code})", config=self.module.config_for_parsing)
            inner = enclosed.with_changes(lpar=enclosed.lpar[1:], rpar=enclosed.rpar[:-1])
        return inner.with_changes(
            lpar=[*updated_node.lpar, *inner.lpar], rpar=[*inner.rpar, *updated_node.rpar]
        )

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:
        kept = [d for d in updated_node.decorators if not _is_ours(d.decorator, "observed")]
        return (
            updated_node.with_changes(decorators=kept)
            if len(kept) != len(updated_node.decorators)
            else updated_node
        )

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.RemovalSentinel:
        if len(updated_node.body) == 1 and _imports_runtime(updated_node.body[0]):
            return cst.RemoveFromParent()
        return updated_node


def _imports_runtime(node: cst.BaseSmallStatement) -> bool:
    if isinstance(node, cst.Import):
        return (
            len(node.names) == 1
            and isinstance(node.names[0].name, cst.Name)
            and node.names[0].name.value == RUNTIME_NAME
        )
    if isinstance(node, cst.ImportFrom) and not isinstance(node.names, cst.ImportStar):
        return (
            node.module is None
            and bool(node.relative)
            and len(node.names) == 1
            and isinstance(node.names[0].name, cst.Name)
            and node.names[0].name.value == RUNTIME_NAME
        )
    return False
