"""Edits applied to source text with libcst, and taken out again.

libcst sees only the top-level statements that hold an edit (``pieces.py``). Every node is located by
kind and position and must match exactly once. After rewriting, a piece with our calls taken out must
parse to the same tree as the original: otherwise nothing is changed and the file is refused.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from adampatch.analysis.module import syntax_tree
from adampatch.rewrite.edits import RUNTIME_NAME, Edit, Plan
from adampatch.rewrite.pieces import NEWLINE, Kind, Layout, Piece

_HOLE = "__hole__"
_IMPORTS = {Kind.IMPORT, Kind.FUTURE, Kind.RUNTIME}


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
    known = plan.module.text == text  # a notebook's is that of all its cells
    layout = _layout(text, plan.module.tree if known else None)
    placed: dict[int, list[Edit]] = {}
    for edit in plan.edits:
        index = layout.index_at(layout.offset(*edit.start))
        if index is None:
            raise GuardFailed(f"0 nodes match the edit at line {edit.start[0]}")
        placed.setdefault(index, []).append(edit)
    changes = []
    for index, edits in placed.items():
        piece = layout.pieces[index]
        changes.append((piece.start, piece.end, _edited(layout, piece, edits)))
    added = 0
    if plan.import_line:
        added = 1
        changes.append(_import(layout, plan.import_line, min(placed, default=None)))
    new = layout.spliced(changes)
    try:
        statements = len(syntax_tree(new).body)
    except SyntaxError as error:
        raise GuardFailed(f"the result does not parse: {error.msg} (line {error.lineno})") from error
    if statements != sum(len(piece.kinds) for piece in layout.pieces) + added:
        raise GuardFailed("the result has other statements than the original")
    return new


def unpatched(text: str) -> str:
    """The text with all of our calls, decorators and imports taken out again. Raises
    GuardFailed when it does not parse."""
    layout = _layout(text)
    spans: list[tuple[int, int]] = []
    for mention in re.finditer(RUNTIME_NAME, text):
        index = layout.index_at(mention.start())
        if index is None or (spans and index <= spans[-1][1]):
            continue
        # an import goes with the lines above it, which end where the statement before does
        first = max(index - 1, 0) if layout.pieces[index].kinds == (Kind.RUNTIME,) else index
        if spans and first <= spans[-1][1]:
            first = spans.pop()[0]
        spans.append((first, index))
    changes = []
    for first, last in spans:
        piece = layout.joined(first, last)
        source = _Source(layout, piece)
        changes.append((piece.start, piece.end, source.without_ours()))
    return layout.spliced(changes)


def _layout(text: str, tree: Any = None) -> Layout:
    try:
        return Layout(text, tree)
    except SyntaxError as error:
        raise GuardFailed(f"the file does not parse: {error.msg} (line {error.lineno})") from error


# ------------------------------------------------------------------------ one piece


class _Source:
    """A piece as libcst has it, between two statements that are cut off again: the one in front makes
    libcst take newline and indentation for what they are in the whole text (it knows no other way to
    be told), the one at the back takes the end of the file, which has rules of its own."""

    def __init__(self, layout: Layout, piece: Piece, text: str | None = None) -> None:
        """``text``: what came of the piece, if not what it was."""
        self.layout, self.piece = layout, piece
        text = layout.text[piece.start : piece.end] if text is None else text
        self.ended = text.endswith(("\r", "\n"))
        self.front, self.back = f"if 1:{layout.newline}{layout.indent}1{layout.newline}", "1\n"
        code = self.front + text + ("" if self.ended else layout.newline) + self.back
        try:
            self.module = cst.parse_module(code)
        except cst.ParserSyntaxError as error:
            raise GuardFailed(
                f"libcst cannot parse the code at line {piece.line}: {error.message}"
            ) from error
        if self.module.code != code:
            raise GuardFailed(
                f"the code at line {piece.line} does not survive parsing and printing unchanged"
            )

    def local(self, edit: Edit) -> Edit:
        """The edit with its positions in ``module``."""

        def moved(position: tuple[int, int]) -> tuple[int, int]:
            line, column = position
            first = line == self.piece.line
            return line - self.piece.line + 3, column - self.piece.column if first else column

        return replace(edit, start=moved(edit.start), end=moved(edit.end))

    def text(self, module: cst.Module) -> str:
        text = module.code[len(self.front) : -len(self.back)]
        return text if self.ended else text.removesuffix(self.layout.newline)

    def without_ours(self) -> str:
        return self.text(self.module.visit(_Remover(self.module)))


def _edited(layout: Layout, piece: Piece, edits: Sequence[Edit]) -> str:
    """The text of a piece with its edits made, and proved."""
    source = _Source(layout, piece)
    new = source.text(_with_edits(source, edits))
    old = layout.text[piece.start : piece.end]
    try:
        syntax_tree(new)  # before libcst, which takes more than Python does
        back = _Source(layout, piece, new).without_ours()
        if _dump(back) != _dump(source.without_ours() if RUNTIME_NAME in old else old):
            raise GuardFailed("with our calls taken out again the code is not the original")
    except SyntaxError as error:
        line = piece.line + (error.lineno or 1) - 1
        raise GuardFailed(f"the result does not parse: {error.msg} (line {line})") from error
    return new


def _dump(text: str) -> str:
    try:
        return ast.dump(syntax_tree(text), include_attributes=False)
    except RecursionError as error:
        raise SyntaxError("the code is nested too deeply to be followed") from error


# ------------------------------------------------------------------------ placing


def _with_edits(source: _Source, edits: Sequence[Edit]) -> cst.Module:
    module = source.module
    wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
    positions = wrapper.resolve(PositionProvider)
    local = {edit: source.local(edit) for edit in edits}
    wanted = {(e.kind == "observed", e.start, e.end): e for e in local.values()}
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
    for given, edit in local.items():
        if matched.get(edit, 0) != 1:
            raise GuardFailed(f"{matched.get(edit, 0)} nodes match the edit at line {given.start[0]}")
    return module.visit(_Editor(module, targets))


class _Editor(cst.CSTTransformer):
    def __init__(self, module: cst.Module, targets: dict[cst.CSTNode, Edit]) -> None:
        super().__init__()
        self.module = module
        self.targets = targets
        self.lines = NEWLINE.split(module.code)
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


def _import(layout: Layout, line: str, first_use: int | None) -> tuple[int, int, str]:
    """The change that brings the import in: after the last import of the block that opens the file, in
    a group of its own. ``first_use``: the index of the first piece that needs it."""
    line, newline = line.rstrip("\r\n"), layout.newline
    at = _import_index(layout.pieces)
    if first_use is not None and first_use < at:
        raise GuardFailed(
            f"the import would come after its use (line {layout.pieces[first_use].line}); give each "
            "statement there a line of its own"
        )
    if at == 0:
        place = layout.offset(layout.pieces[0].line, 0) if layout.pieces else 0
        return place, place, line + newline
    place = layout.pieces[at - 1].end
    # as the line before ends: another newline may make one of two, CRLF, with what is there
    ending = re.search(r"(?:\r\n|\r|\n)\Z", layout.text[max(place - 2, 0) : place])
    if ending is None:
        return place, place, f"{newline}{newline}{line}"
    return place, place, f"{ending.group()}{line}{ending.group()}"


def _import_index(pieces: Sequence[Piece]) -> int:
    at = 0
    for index, piece in enumerate(pieces):
        if _IMPORTS.issuperset(piece.kinds) or Kind.FUTURE in piece.kinds:
            at = index + 1
        elif piece.kinds[0] is not Kind.STRING:
            break
        elif index == 0:
            at = 1  # the docstring
    return at


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
        if len(updated_node.body) == 1 and _is_runtime_import(updated_node.body[0]):
            return cst.RemoveFromParent()
        return updated_node


def _is_runtime_import(node: cst.BaseSmallStatement) -> bool:
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
