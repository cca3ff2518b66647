"""Which nodes of a graph are in a branch or a loop that Switch, Merge, Enter and Exit make, and which
nodes run along with which."""

from __future__ import annotations

from typing import Dict, List, Tuple

from adampatch.graph import attributes
from adampatch.graph.nodes import Body, Node

#: ("branch", predicate, side) or ("loop", frame, ""), outermost first
Context = Tuple[Tuple[str, str, str], ...]

_SWITCH = ("Switch", "RefSwitch")
_MERGE = ("Merge", "RefMerge")
_ENTER = ("Enter", "RefEnter")
_EXIT = ("Exit", "RefExit")
_NEXT = ("NextIteration", "RefNextIteration")


class Flow:
    """The contexts of a graph's nodes; in a graph without control flow everything is outside."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self._contexts: Dict[str, Context] = {}
        self._plain = not any(node.op in _SWITCH or node.op in _ENTER for node in body.nodes.values())
        if not self._plain:
            self._solve()

    def context(self, name: str) -> Context:
        """The branches and loops that a node is in."""
        return self._contexts.get(name, ())

    def _solve(self) -> None:
        nodes = self.body.nodes
        for start in nodes:
            todo = [start]
            while todo:
                name = todo[-1]
                if name in self._contexts or name not in nodes:
                    todo.pop()
                    continue
                node = nodes[name]
                before = [self.body.name_of(ref) for ref in node.inputs]
                if node.op in _MERGE:  # the way back of a loop is no way in
                    before = [n for n in before if n in nodes and nodes[n].op not in _NEXT]
                open_ones = [n for n in before if n in nodes and n not in self._contexts]
                if open_ones:
                    todo.extend(open_ones)
                    continue
                self._contexts[name] = self._of(node)
                todo.pop()

    def _of(self, node: Node) -> Context:
        inputs: List[Context] = []
        for ref in node.inputs:
            name = self.body.name_of(ref)
            source = self.body.nodes.get(name)
            context = self._contexts.get(name, ())
            if source is not None and source.op in _SWITCH and not ref.startswith("^"):
                side = str(self.body.port(ref))
                branch = ("branch", self.body.normal(source.data_inputs()[1]), side)
                context = context if branch in context else (*context, branch)
            inputs.append(context)
        if node.op in _MERGE:
            shared = [c for c in inputs[0] if all(c in other for other in inputs)] if inputs else []
            return tuple(shared)
        joined: Context = ()
        for context in inputs:
            joined += tuple(c for c in context if c not in joined)
        if node.op in _ENTER:
            frame = attributes.read_string(node.attrs.get("frame_name"))
            return (*joined, ("loop", frame, ""))
        if node.op in _EXIT:
            loops = [place for place, c in enumerate(joined) if c[0] == "loop"]
            return joined[: loops[-1]] if loops else joined
        return joined

    def exclusive(self, a: str, b: str) -> bool:
        """Whether two nodes are on two sides of one branch, so that one run has but one of them."""
        sides = {c[1]: c[2] for c in self.context(a) if c[0] == "branch"}
        return any(c[0] == "branch" and sides.get(c[1], c[2]) != c[2] for c in self.context(b))

    def run_together(self, a: str, b: str) -> bool:
        """Whether there is a node that cannot run without both."""
        return bool((self.body.after([a]) | {a}) & (self.body.after([b]) | {b}))
