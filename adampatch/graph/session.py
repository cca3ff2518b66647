"""`graph scan` and `graph apply`: one file, all its graphs, from reading to the report."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from adampatch.graph import report
from adampatch.graph.bounding import Rules
from adampatch.graph.documents import SAVED_MODEL, Document, Graph, bound_variables, collection_tensors
from adampatch.graph.patching import Edit
from adampatch.graph.rewriting import Found, carry_out


def scanned(document: Document) -> List[Dict[str, Any]]:
    """The rows of all sites of a document."""
    rows = []
    for graph in document.graphs:
        found = Found(graph.definition, bound_variables(graph))
        rows += [report.row(graph.name, body, site, {}, None) for body, site in found.sites]
    return rows


def patched(document: Document, rules: Optional[Rules], outputs: bool) -> Tuple[List[Dict[str, Any]], bool]:
    """Patches a document's graphs where they are; the rows of all sites, and whether anything changed.

    ``outputs``: signatures of a SavedModel give the rates as well. Raises AdampatchError.
    """
    rows: List[Dict[str, Any]] = []
    changed = False
    for graph in document.graphs:
        found = Found(graph.definition, bound_variables(graph))
        made: List[Edit] = []
        limits: Dict[int, Any] = {}
        for body, each in found.edits(rules):
            carry_out(body, each)
            limits[id(each.site)] = rules.limits(each.site.paths[0], each.site.node.name) if rules else None
            if body.function:
                graph.definition.functions[body.function].changed()
            made.append(each)
        _collect(graph, made)
        if outputs and document.kind == SAVED_MODEL and made:
            from adampatch.graph.signatures import add_outputs

            add_outputs(graph, made, document.where)
        by_site = {id(each.site): each for each in made}
        for body, site in found.sites:
            of_site = by_site.get(id(site))
            tensors = _fetched(of_site) if of_site is not None and site.fetchable else {}
            rows.append(report.row(graph.name, body, site, tensors, limits.get(id(site))))
        changed = changed or bool(made)
    return rows, changed


def _fetched(made: Edit) -> Dict[str, str]:
    return {quantity: tensor + ":0" for quantity, tensor in made.tensors.items()}


def _collect(graph: Graph, made: List[Edit]) -> None:
    """Puts what a Session can fetch into the collections of a meta graph."""
    if graph.meta is None:
        return
    pairs = [
        (quantity, tensor)
        for each in made
        if each.site.fetchable
        for quantity, tensor in each.tensors.items()
    ]
    for quantity, tensors in collection_tensors(pairs).items():
        graph.add_to_collection("adampatch/" + quantity, tensors)
