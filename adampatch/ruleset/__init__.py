"""The language of rules: load, validate, normal form, presets.
`Rules.load` is the door; every table of fields and codes is in `schema`."""

from adampatch.ruleset.errors import CODES, RuleError, RuleErrors
from adampatch.ruleset.load import Rules
from adampatch.ruleset.model import Observe, Rule
from adampatch.ruleset.presets import Preset, find_preset, list_presets

__all__ = [
    "CODES",
    "Observe",
    "Preset",
    "Rule",
    "RuleError",
    "RuleErrors",
    "Rules",
    "find_preset",
    "list_presets",
]
