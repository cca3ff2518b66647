"""What was found in all update methods of a class, and the sites for what was not followed there."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from adampatch.analysis import catalog
from adampatch.analysis.catalog import UpdateMethod
from adampatch.analysis.module import Module
from adampatch.analysis.run import Handed, Place
from adampatch.analysis.sites import Site, refused, sites_of_method
from adampatch.analysis.unreached import Coverage, guesses, missed_calls
from adampatch.analysis.values import Function

#: codes of sites that were not understood, whatever the class's other sites are
UNSEEN = ("AP237", "AP236")
#: enough to speak up about a class in which nothing else was found; never to patch one
_ADAM = re.compile("adam|lamb(?!da)", re.IGNORECASE)


class Findings:
    """The update methods of one class, interpreted. ``methods``: all that it has in the project."""

    def __init__(self, methods: Mapping[str, Function], family: str) -> None:
        self.methods = methods
        self.family = family
        self.sites: list[Site] = []
        #: the update methods of bases that are called
        self.delegated: set[str] = set()
        self.covered = Coverage()
        self.handed: list[tuple[str, Handed]] = []

    def add(self, described: UpdateMethod) -> None:
        name = described.name
        found = sites_of_method(described, self.methods[name], self.methods, self.family)
        self.sites += found.sites
        self.delegated |= found.delegated
        self.covered.add(found.covered)
        self.handed += [(name, handed) for handed in found.handed]


def unseen(
    module: Module,
    node: Any,
    own: Mapping[str, Any],
    found: Findings,
    bases: Collection[str],
    told: Collection[str],
    adam: bool,
) -> list[Site]:
    """Refused sites for the writes and kernel calls of a class, and the calls that may hold some,
    which the interpretation of its update methods did not come to. ``bases``: those outside of the
    project; ``told``: methods of which something is refused already; ``adam``: whether the class is
    known to be of the family."""
    sites = []
    entries = [name for name in own if name in catalog.UPDATE_METHODS or name in catalog.INNER_METHODS]
    for missed in missed_calls(module, own, entries, found.covered):
        if missed.kernel or adam:
            what = "a fused kernel is called" if missed.kernel else "the variable may be written"
            kind = "fused" if missed.kernel else "open"
            words = f"{what} in {missed.method}, where no update method was seen to come"
            sites.append(_site(missed.method, missed.node, "AP237", words, kind))
    told = {*told, *(site.method for site in sites)}
    for name, roles in guesses(module, own, found.covered):
        if name not in told:
            described = UpdateMethod(name, roles, "dense")
            steps = sites_of_method(described, found.methods[name], found.methods, found.family).sites
            step = next((s for s in steps if s.family_kind == "adam"), None)
            if step is not None:
                words = f"{name} looks like an update, and no update method was seen to call it"
                sites.append(_site(name, step.node, "AP237", words))
                told.add(name)
    known = all(b in catalog.STOCK_OPTIMIZERS or b in catalog.BASE_FAMILIES for b in bases)
    for name, handed in found.handed:
        here = any(f.lineno <= handed.node.lineno <= f.end_lineno for f in own.values())
        if not here or name in told or (handed.own and (known or handed.name in told)):
            continue
        if adam or _ADAM.search(handed.name) or _ADAM.search(node.name):
            words = f"the variable is handed to {handed.name}, which is not followed"
            sites.append(_site(name, handed.node, "AP236", words))
    return list({id(site.node): site for site in sites}.values())


def _site(method: str, node: Any, code: str, words: str, kind: str = "open") -> Site:
    return refused(Site(method, node.lineno, kind, node, Place()), code, words)
