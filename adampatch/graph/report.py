"""What was found in a graph, or done to it, as plain data: the JSON of `graph scan` and `graph apply`."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

from adampatch.graph import attributes
from adampatch.graph.documents import Document
from adampatch.graph.nodes import Body
from adampatch.graph.sites import Site

SCHEMA = "adampatch/graph/1"
COUNTED = ("patchable", "patched", "refused", "already")


def row(graph: str, body: Body, site: Site, tensors: Mapping[str, str]) -> Dict[str, Any]:
    """One site. ``tensors``: {quantity: tensor to fetch}, empty where none is. ``min`` and ``max``: of the
    rules that bound the rate by numbers."""
    rate, direction, decay = site.texts
    dtype = site.node.attrs.get("T") or site.node.attrs.get("dtype")
    low, high = (_tightest(site, side, fold) for side, fold in (("low", max), ("high", min)))
    return {
        "graph": graph,
        "function": body.function or None,
        "node": site.node.name,
        "op": site.node.op,
        "variable": site.paths[0],
        "variables": site.paths,
        "dtype": attributes.NAMES.get(attributes.read_dtype(dtype), "?"),
        "kind": site.kind,
        "rate": rate,
        "direction": direction,
        "decay": decay,
        "status": site.status,
        "reason": site.reason or None,
        "min": low,
        "max": high,
        "rules": [rule.id for rule in site.rules] if site.status == "patched" else [],
        "tensors": dict(tensors) or None,
    }


def _tightest(site: Site, side: str, fold: Any) -> Optional[float]:
    numbers = []
    for rule in site.rules if site.status == "patched" else ():
        bound = getattr(rule, side)
        if bound is None or bound.number is None or rule.quantity != "rate" or rule.shadow:
            continue
        if rule.relative_to == "absolute" and rule.convention == "raw" and not rule.windowed:
            numbers.append(bound.number)
    return fold(numbers) if numbers else None


def document(command: str, given: Document, rows: List[Dict[str, Any]], changed: List[str]) -> Dict[str, Any]:
    """The report of one file."""
    graphs = given.graphs
    counts = {status: sum(row["status"] == status for row in rows) for status in COUNTED}
    return {
        "schema": SCHEMA,
        "command": command,
        "path": given.where,
        "format": given.kind,
        "text": given.text,
        "graphs": [
            {
                "name": graph.name,
                "nodes": graph.nodes,
                "functions": len(graph.definition.functions),
            }
            for graph in graphs
        ],
        "sites": rows,
        "changed": changed,
        "summary": {"sites": len(rows), **counts},
    }
