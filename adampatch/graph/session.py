"""`graph scan` and `graph apply`: one file, all its graphs, from reading to the report."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Tuple

from adampatch.errors import AdampatchError
from adampatch.graph import report
from adampatch.graph.documents import SAVED_MODEL, Document, Graph, bound_variables, collection_tensors
from adampatch.graph.nodes import Body
from adampatch.graph.patching import Edit
from adampatch.graph.rewriting import Found, carry_out
from adampatch.graph.rules import Rules
from adampatch.graph.sites import Site
from adampatch.graph.wire import Malformed


@contextmanager
def _read_from(document: Document) -> Iterator[None]:
    """What is damaged deep inside is met late."""
    try:
        yield
    except (Malformed, UnicodeDecodeError) as error:
        raise AdampatchError(
            document.where, f"is damaged: {error}; give a file as TensorFlow wrote it"
        ) from error


def scanned(document: Document) -> List[Dict[str, Any]]:
    """The rows of all sites of a document."""
    with _read_from(document):
        rows = []
        for graph in document.graphs:
            found = Found(graph.definition, bound_variables(graph))
            rows += [report.row(graph.name, body, site, {}) for body, site in found.sites]
        return rows


def patched(document: Document, rules: Optional[Rules], outputs: bool) -> Tuple[List[Dict[str, Any]], bool]:
    """Patches a document's graphs where they are; the rows of all sites, and whether anything changed.

    ``outputs``: signatures of a SavedModel give the rates as well. Raises AdampatchError.
    """
    with _read_from(document):
        return _patched(document, rules, outputs)


def _patched(document: Document, rules: Optional[Rules], outputs: bool) -> Tuple[List[Dict[str, Any]], bool]:
    rows: List[Dict[str, Any]] = []
    changed = False
    for graph in document.graphs:
        found = Found(graph.definition, bound_variables(graph))
        made: List[Edit] = []
        for body, each in found.edits(rules):
            carry_out(body, each)
            if body.function:
                graph.definition.functions[body.function].changed()
            made.append(each)
        _collect(graph, made)
        if outputs and document.kind == SAVED_MODEL and made:
            from adampatch.graph.signatures import add_outputs

            add_outputs(graph, made)
        by_site = {id(each.site): each for each in made}
        rows += [row_of(graph.name, body, site, by_site.get(id(site))) for body, site in found.sites]
        changed = changed or bool(made)
    return rows, changed


def row_of(graph: str, body: Body, site: Site, made: Optional[Edit]) -> Dict[str, Any]:
    """The row of a site. ``made``: its edit, of one that was patched."""
    if made is None or not site.fetchable:
        return report.row(graph, body, site, {})
    return report.row(graph, body, site, {quantity: ref + ":0" for quantity, ref in made.tensors.items()})


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
