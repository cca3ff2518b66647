"""What the matrix asks of a generation, as columns of its table; the marks of tests name them."""

from __future__ import annotations

from generations import Generation

#: feature -> what it means, in the order of the table
FEATURES = {
    "apply": "`apply` on sources, adampatch installed beside TensorFlow",
    "standalone": "`apply --standalone`, nothing installed: bits, rates, a ceiling",
    "run": "`adampatch run` of unmodified scripts",
    "rules": "every kind of rule and every preset, judged",
    "counters": "what `snapshot` counts",
    "monitor": "event files and JSON lines",
    "checkpoint": "saved and restored, stock to patched and back",
    "graph": "MetaGraphs and live graphs",
    "verify": "`verify --python`",
    "revert": "every byte back",
    "suites": "tests that others ship, and ours inside of it",
}


def not_offered(generation: Generation, feature: str) -> bool:
    """Whether adampatch does not promise `feature` there: it cannot be installed (gast, Python 3.7)."""
    return feature in ("apply", "run", "suites") and not generation.tool


def cell(outcomes: dict[str, int]) -> str:
    """One cell of the table from {"passed" | "failed" | "missing" | "not offered": tests}."""
    if outcomes.get("failed"):
        return f"**{outcomes['failed']} of {sum(outcomes.values())} FAILED**"
    if outcomes.get("missing"):
        return "missing"
    if outcomes.get("passed"):
        return f"{outcomes['passed']} ✓"
    return "not offered" if outcomes.get("not offered") else "-"
