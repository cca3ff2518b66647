"""Reasons of mechanical mutants that live are of texts that the run time has."""

import operators
import planting
import pytest
import survivors
import survivors_observation

REASONS = (*survivors.REASONS, *survivors_observation.found())


@pytest.mark.parametrize("module", sorted({reason.module for reason in REASONS}))
def test_a_reason_is_of_a_text_that_is_there(module):
    keys = [list(change.key) for change in operators.changes(planting.source(module))]
    of_module = [reason for reason in REASONS if reason.module == module]
    dead = [(r.function, r.old) for r in of_module if not any(r.holds(module, key) for key in keys)]
    assert dead == []
