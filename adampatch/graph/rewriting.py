"""All bodies of a graph: sites found, judged together, and the edits that patch them."""

from __future__ import annotations

from typing import Dict, Iterator, List, Mapping, Optional, Set, Tuple

from adampatch.graph import attributes
from adampatch.graph.catalog import CALLS
from adampatch.graph.counting import Clocks
from adampatch.graph.definition import Definition
from adampatch.graph.emission import Unwritable
from adampatch.graph.flow import Flow
from adampatch.graph.inlining import inlined
from adampatch.graph.nodes import Body
from adampatch.graph.patching import Edit, edit, not_shown, unwritable
from adampatch.graph.rules import Held, Rules
from adampatch.graph.scalars import NotShown
from adampatch.graph.sites import Site, find_sites
from adampatch.graph.storage import Storage


class Found:
    """The sites of one graph. ``sites``: (body, site) in order, the graph's own first."""

    def __init__(self, definition: Definition, known: Optional[Mapping[str, List[str]]] = None) -> None:
        """``known``: {function: paths of the variables that its last arguments are}, of functions that
        nothing in the graph calls."""
        self.definition = definition
        self.storage = Storage(definition.body)
        self.flow = Flow(definition.body)
        self._clocks: Dict[str, Clocks] = {}
        self._callers: Optional[_Callers] = None
        self.sites: List[Tuple[Body, Site]] = []
        functions = definition.functions
        for site in find_sites(inlined(definition.body, functions)):
            self.sites.append((definition.body, site))
        of_functions = []
        for function in functions.values():
            sites = find_sites(inlined(function.body, functions))
            of_functions += [(function.body, site) for site in sites]
        if of_functions:
            self._callers = callers = _Callers(definition, self.storage, known or {})
            for body, site in of_functions:
                site.fetchable = False
                found = callers.paths(body.function, site.variable.path)
                site.paths = sorted(found) or [site.variable.path]
                site.call(callers.names(body.function))
            self.sites += of_functions
        self._judge()

    def _judge(self) -> None:
        by_variable: Dict[Tuple[str, str], List[Site]] = {}
        for body, site in self.sites:
            by_variable.setdefault((body.function, site.variable.key), []).append(site)
            if not body.function and self.flow.context(site.node.name):
                site.fetchable = False
        for (function, _), sites in by_variable.items():
            for place, first in enumerate(sites):
                for second in sites[:place]:
                    if not self._separate(function, first, second):
                        words = "the variable is updated twice in one run, by {} and {}"
                        words = words.format(second.node.name, first.node.name)
                        for site in (first, second):
                            if site.status != "already":
                                site.refuse("AP238", words)

    def _separate(self, function: str, first: Site, second: Site) -> bool:
        """Whether two updates of one variable are never in one run."""
        if function:
            return False
        a, b = first.node.name, second.node.name
        return self.flow.exclusive(a, b) or not self.flow.run_together(a, b)

    def paths(self, function: str, argument: str) -> Set[str]:
        """The variables that an argument of a function is, over all calls."""
        return set() if self._callers is None else self._callers.paths(function, argument)

    def source(self, body: Body, site: Site) -> str:
        """The control input that nodes without inputs take beside a site in a branch or a loop."""
        if body.function or not self.flow.context(site.node.name):
            return ""
        holder = body.nodes[site.edge[0]] if site.edge[0] else site.node
        ref = holder.inputs[site.edge[1]] if site.edge[0] else body.nodes[site.node.name].data_inputs()[-1]
        return "^" + body.name_of(ref)

    def rules_of(self, body: Body, site: Site, rules: Optional[Rules]) -> Held:
        """The rules that hold for a site; refuses it where it is for variables with different ones."""
        if rules is None:
            return ()
        each = {rules.of(path, site.node.name) for path in site.paths}
        if len(each) == 1:
            return each.pop()
        words = "the function {} updates several variables that the rules bound differently: {}"
        site.refuse("AP239", words.format(body.function, ", ".join(site.paths)))
        return ()

    def _clocks_of(self, body: Body) -> Clocks:
        if body.function not in self._clocks:
            storage = self.storage if body is self.definition.body else None
            self._clocks[body.function] = Clocks(body, storage)
        return self._clocks[body.function]

    def edits(self, rules: Optional[Rules]) -> Iterator[Tuple[Body, Edit]]:
        """The edits, one after the other: carry each out before asking for the next."""
        if rules is not None:
            rules.check_patterns(path for _, site in self.sites for path in site.paths)
        for body, site in self.sites:
            if site.status != "patchable":
                continue
            site.rules = self.rules_of(body, site, rules)
            if site.status != "patchable":
                continue
            try:
                made = edit(body, site, site.rules, self._clocks_of(body), self.source(body, site))
            except Unwritable as error:
                unwritable(site, error)
                continue
            except NotShown as error:
                not_shown(site, error)
                continue
            site.status = "patched"
            yield body, made


class _Callers:
    """Which variables the arguments of functions stand for."""

    def __init__(self, definition: Definition, storage: Storage, known: Mapping[str, List[str]]) -> None:
        self.definition = definition
        self._paths: Dict[Tuple[str, int], Set[str]] = {}
        self._storages: Dict[str, Storage] = {}
        #: what the objects of a SavedModel say goes before the names of nodes, which may end in _1
        fixed: Set[Tuple[str, int]] = set()
        todo: List[Tuple[str, List[Set[str]]]] = list(self._calls(definition.body, storage, {}))
        for name, paths in known.items():
            function = definition.functions.get(name)
            if function is not None:
                free = len(function.body.arguments) - len(paths)
                fixed |= {(name, free + place) for place, path in enumerate(paths) if path}
                for place, path in enumerate(paths):
                    self._paths[name, free + place] = {path} if path else set()
                todo.append((name, [set() for _ in range(free + len(paths))]))
        visited: Set[str] = set()
        while todo:
            name, arguments = todo.pop()
            function = definition.functions.get(name)
            if function is None:
                continue
            news = name not in visited
            visited.add(name)
            for place, held in enumerate(arguments):
                before = self._paths.setdefault((name, place), set())
                if held - before and (name, place) not in fixed:
                    before |= held
                    news = True
            if news:
                if name not in self._storages:
                    self._storages[name] = Storage(function.body)
                mine = {a: self._paths.get((name, i), set()) for a, (i, _) in function.body.arguments.items()}
                todo += self._calls(function.body, self._storages[name], mine)

    def paths(self, function: str, argument: str) -> Set[str]:
        body = self.definition.functions[function].body
        place = body.arguments.get(argument)
        return set() if place is None else self._paths.get((function, place[0]), set())

    def names(self, function: str) -> Dict[str, str]:
        """{argument: the variable that it is}, of those that are one variable in all calls."""
        found = {
            name: self.paths(function, name) for name in self.definition.functions[function].body.arguments
        }
        return {name: next(iter(paths)) for name, paths in found.items() if len(paths) == 1}

    def _calls(
        self, body: Body, storage: Storage, mine: Mapping[str, Set[str]]
    ) -> Iterator[Tuple[str, List[Set[str]]]]:
        functions = self.definition.functions
        for node in body.nodes.values():
            if node.op in functions:
                first, names = 0, [node.op]
            elif node.op in CALLS:
                first = CALLS[node.op]
                names = [name for value in node.attrs.values() for name in attributes.read_functions(value)]
            else:
                continue
            arguments: List[Set[str]] = []
            for ref in node.data_inputs()[first:]:
                variable = storage.variable(ref)
                if variable is None:
                    arguments.append(set())
                else:
                    arguments.append(
                        set(mine.get(variable.path, set())) if variable.path in mine else {variable.path}
                    )
            for name in names:
                yield name, arguments


def carry_out(body: Body, made: Edit) -> None:
    """Puts an edit into a body."""
    for node in made.changed:
        body.nodes[node.name] = node
    for node in made.added:
        body.nodes[node.name] = node
