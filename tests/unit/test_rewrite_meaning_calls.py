"""What a rewrite means where an update is spread over calls: the judge of test_rewrite_meaning_v2, on helpers
that decide, helpers that write and helpers of other files.
"""

import pytest
from test_rewrite_meaning_v2 import DENSE, SPARSE, STEP, check, source

ROW_STEP = """\
m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
lr = self._decayed_lr(var.dtype)
m_rows = self.beta_1 * tf.gather(m, indices) + (1 - self.beta_1) * grad
v_rows = self.beta_2 * tf.gather(v, indices) + (1 - self.beta_2) * grad * grad
self._put(m, indices, m_rows)
self._put(v, indices, v_rows)
"""
PUT = """
def _put(self, storage, where, what):
    return storage.scatter_update(tf.IndexedSlices(what, where))
"""
LOOP = """
def _is_early(self, var):
    for word in ("bias", "kernel"):
        if self.k < 3 and word in var.name:
            return True
    return False
"""

PATCHABLE = {
    "decay_by_a_loop_that_returns": (
        DENSE,
        source(
            """
            update = m_t / (tf.sqrt(v_t) + self.epsilon)
            if not self._is_early(var):
                update += self.wd * var
            return var.assign_sub(lr * update)
            """,
            methods=LOOP,
        ),
    ),
    "rows_and_values_handed_over": (
        SPARSE,
        source(
            "return self._take(var, indices, lr * m_rows / (tf.sqrt(v_rows) + self.epsilon))",
            SPARSE,
            moments=ROW_STEP,
            methods=PUT
            + """
            def _take(self, storage, where, what):
                return storage.scatter_sub(tf.IndexedSlices(what, where))
            """.replace("            ", ""),
        ),
    ),
    "a_function_that_writes_rows_handed_over": (
        SPARSE,
        source(
            """
            add = lambda x, i, u: self._resource_scatter_add(x, i, u)
            return self._move(var, indices, m_rows, v_rows, add)
            """,
            SPARSE,
            moments=ROW_STEP,
            methods=PUT
            + """
            def _move(self, var, rows, m_rows, v_rows, add):
                lr = self._decayed_lr(var.dtype)
                change = -lr * m_rows / (tf.sqrt(v_rows) + self.epsilon)
                return add(var, rows, change)
            """.replace("            ", ""),
        ),
    ),
}

TRAPS = {
    "a_test_that_an_attribute_has_moved_between": (
        DENSE,
        source(
            f"""
            a = lr if self._is_early(var) else 2 * lr
            self.k = 1 if self.k > 2 else 5
            b = lr if self._is_early(var) else 2 * lr
            lr = b
            a = a + 0
            var.assign_sub({STEP})
            """,
            methods=LOOP,
        ),
    ),
    "a_negated_test_of_a_number_that_was_counted_up": (
        DENSE,
        source(
            """
            a = lr if not (self.iterations * 1 > 4) else 2 * lr
            self.iterations.assign_add(1)
            b = lr if not (self.iterations * 1 > 4) else 2 * lr
            self.iterations.assign_sub(1)
            var.assign_sub(b * m_t / (tf.sqrt(v_t) + self.epsilon) + 0 * a)
            """
        ),
    ),
    "rows_that_the_helper_makes": (
        SPARSE,
        source(
            "return self._take(var, indices + 0, lr * m_rows / (tf.sqrt(v_rows) + self.epsilon))",
            SPARSE,
            moments=ROW_STEP,
            methods=PUT
            + """
            def _take(self, storage, where, what):
                return storage.scatter_sub(tf.IndexedSlices(what, where[::1]))
            """.replace("            ", ""),
        ),
    ),
}


@pytest.mark.parametrize("name", sorted(PATCHABLE))
def test_what_can_be_patched_is_patched_right(name):
    method, text = PATCHABLE[name]
    check(text, method, must_patch=True)


@pytest.mark.parametrize("name", sorted(TRAPS))
def test_what_is_patched_is_patched_right(name):
    method, text = TRAPS[name]
    check(text, method)
