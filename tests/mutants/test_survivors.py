"""Mutants, and reasons of those that live, are of texts that the run time has."""

import mutant
import operators
import planted
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


@pytest.mark.parametrize("name", [m.name for m in planted.MUTANTS if m.where in mutant.MODULES])
def test_what_is_planted_in_the_run_time_is_of_a_text_that_is_there(name):
    (found,) = (m for m in planted.MUTANTS if m.name == name)
    text = planting.source(found.where)
    changed = planting.replaced(text, found.pairs, found.where)
    assert changed != text
    compile(changed, found.where, "exec")
