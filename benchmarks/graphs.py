"""Graphs: whether the time of `graph apply` grows as the graph does, and no faster.

    python -m benchmarks.graphs

The graphs are made without TensorFlow, node by node, as V1 Adam and Keras 3 write them in turns.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from adampatch.graph import attributes
from adampatch.graph.documents import GRAPHDEF, Document
from adampatch.graph.nodes import Node
from adampatch.graph.rules import Rules
from adampatch.graph.session import patched
from adampatch.graph.wire import message

CEILING = {
    "rules": [{"id": "c", "match": ["**"], "exclude": [], "optimizer": "*", "quantity": "rate", "max": 1.0}]
}
_T = {"T": attributes.dtype(attributes.FLOAT)}
_D = {"dtype": attributes.dtype(attributes.FLOAT)}


class _Builder:
    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, name: str, op: str, inputs: list[str], attrs: dict[str, bytes]) -> str:
        self.nodes.append(Node(name, op, inputs, attrs))
        return name

    def number(self, name: str, value: float) -> str:
        return self.add(name, "Const", [], {**_D, "value": attributes.scalar(value, attributes.FLOAT)})


def graph(variables: int, nodes: int) -> bytes:
    """A GraphDef with that many variables and nodes, one chain of layers and its updates."""
    b = _Builder()
    numbers = {n: b.number(n, v) for n, v in (("lr", 1e-3), ("b1", 0.9), ("b2", 0.999), ("eps", 1e-8))}
    one = b.number("one", 1.0)
    left = [b.add(f"one_minus_{n}", "Sub", [one, numbers[n]], _T) for n in ("b1", "b2")]
    chain = b.add("x", "Placeholder", [], _D)
    layers = max(1, (nodes - 20 * variables) // variables)
    for i in range(variables):
        handles = [b.add(f"w{i}{s}", "VarHandleOp", [], _D) for s in ("", "/m", "/v")]
        read = b.add(f"w{i}/read", "ReadVariableOp", handles[:1], _D)
        for k in range(layers):
            chain = b.add(
                f"layer{i}/{k}", ("Mul", "AddV2", "Tanh")[k % 3], [chain, read][: 1 + (k % 3 < 2)], _T
            )
        gradient = b.add(f"gradients/{i}", "MatMul", [chain, read], _T)
        if i % 2:
            scalars = [numbers["b1"], numbers["b2"], *(numbers[n] for n in ("lr", "b1", "b2", "eps"))]
            b.add(
                f"Adam/update_w{i}/ResourceApplyAdam", "ResourceApplyAdam", [*handles, *scalars, gradient], _T
            )
            continue
        after = []
        for handle, share, squared in zip(handles[1:], left, (False, True), strict=True):
            g = b.add(f"{handle}/square", "Square", [gradient], _T) if squared else gradient
            old = b.add(f"{handle}/old", "ReadVariableOp", [handle], _D)
            difference = b.add(f"{handle}/sub", "Sub", [g, old], _T)
            step = b.add(f"{handle}/mul", "Mul", [difference, share], _T)
            write = b.add(f"{handle}/add", "AssignAddVariableOp", [handle, step], _D)
            after.append(b.add(f"{handle}/new", "ReadVariableOp", [handle, "^" + write], _D))
        root = b.add(f"w{i}/sqrt", "Sqrt", after[1:], _T)
        below = b.add(f"w{i}/below", "AddV2", [root, numbers["eps"]], _T)
        above = b.add(f"w{i}/above", "Mul", [after[0], numbers["lr"]], _T)
        update = b.add(f"w{i}/update", "RealDiv", [above, below], _T)
        b.add(f"w{i}/AssignSub", "AssignSubVariableOp", [handles[0], update], _D)
    return b"".join(message(1, node.serialized()) for node in b.nodes)


def seconds(data: bytes, variables: int) -> float:
    """The time from bytes to bytes."""
    begin = time.process_time()
    document = Document(GRAPHDEF, data, False, "graph")
    rows, _ = patched(document, Rules(CEILING, "rules"), False)
    document.serialized()
    assert [row["status"] for row in rows] == ["patched"] * variables
    return time.process_time() - begin


def growth() -> list[dict[str, float]]:
    """The times of graphs that are twice as large each."""
    figures: list[dict[str, float]] = []
    for variables in (250, 500, 1000, 2000):
        data = graph(variables, 110 * variables)
        count = len(Document(GRAPHDEF, data, False, "graph").graphs[0].definition.body.nodes)
        took = min(seconds(data, variables) for _ in range(3))
        figures.append({"variables": variables, "nodes": count, "MiB": len(data) / 2**20, "seconds": took})
    return figures


def table(figures: list[dict[str, float]]) -> str:
    """The figures as a Markdown table."""
    lines = ["| variables | nodes | MiB | CPU s | s per 1000 variables |", "|---|---|---|---|---|"]
    for row in figures:
        per = row["seconds"] / row["variables"] * 1000
        cells = f"{row['variables']} | {row['nodes']} | {row['MiB']:.1f} | {row['seconds']:.2f} | {per:.2f}"
        lines.append(f"| {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where the figures go")
    options = parser.parse_args()
    figures = growth()
    print(table(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
