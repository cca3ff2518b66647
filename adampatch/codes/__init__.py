"""The catalogue of codes that users meet: AP2xx refusals, AP3xx errors in rules. Data."""

from adampatch.codes.entry import Code
from adampatch.codes.graph_refusals import CODES as GRAPH_REFUSALS
from adampatch.codes.refusals import CODES as REFUSALS
from adampatch.codes.rule_errors import CODES as RULE_ERRORS

CODES: dict[str, Code] = {**REFUSALS, **GRAPH_REFUSALS, **RULE_ERRORS}

__all__ = ["CODES", "GRAPH_REFUSALS", "REFUSALS", "RULE_ERRORS", "Code"]
