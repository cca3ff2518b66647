"""What a rewrite means where an update is spread over calls: the judge of test_rewrite_meaning_v2, on helpers
that decide, helpers that write and helpers of other files.
"""

import textwrap

import pytest
from test_rewrite_meaning_v2 import DENSE, SPARSE, STEP, check, source

from adampatch.project.apply import planned
from adampatch.project.scan import scan

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

SCHEDULE = """
def __init__(self, **settings):
    super().__init__(**settings)
    self.eta = tf.Variable(0.5)
    self.turn = 2

def _move_on(self, lr):
    self.turn += 1
    self.eta.assign(self.eta * 0.9)
"""

PATCHABLE = {
    "a_number_that_moves_on_after_the_step": (
        DENSE,
        source(
            """
            update = m_t / (tf.sqrt(v_t) + self.epsilon)
            var.assign_sub(self.eta * lr * update)
            self._move_on(lr)
            """,
            methods=SCHEDULE,
        ),
    ),
    "a_method_that_reads_the_number_that_moves_on": (
        DENSE,
        source(
            """
            var.assign_sub(self._scaled() * m_t / (tf.sqrt(v_t) + self.epsilon))
            self._move_on(lr)
            """,
            methods=SCHEDULE
            + """
def _scaled(self):
    return self.eta * 0.5
""",
        ),
    ),
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

TABLE = """
step = lr * m_rows / (tf.sqrt(v_rows) + self.epsilon)
arguments = {{"resource": var.handle, "indices": indices, "updates": {0}}}
{1}
tf.raw_ops.ResourceScatterSub(**arguments)
"""
ODDITIES = """
def _see(self, table):
    exec("table['updates'] = table['updates'] * 2")
"""


def set_rows(new, where="indices"):
    """Rows that are set to `new`."""
    body = f"rate = lr / (tf.sqrt(v_rows) + self.epsilon)\n{textwrap.dedent(new).strip()}\n"
    return SPARSE, source(body + f"self._put(var, {where}, new)", SPARSE, moments=ROW_STEP, methods=PUT)


def tabled(updates, between):
    """A write whose arguments are in a table; `between`: what comes before the call."""
    body = TABLE.format(updates, textwrap.dedent(between).strip("\n"))
    return SPARSE, source(body, SPARSE, moments=ROW_STEP, methods=PUT + ODDITIES)


PATCHABLE["a_table_of_arguments"] = tabled("step", "pass")
PATCHABLE["a_table_of_arguments_with_the_step_in_it"] = tabled(
    "lr * m_rows / (tf.sqrt(v_rows) + self.epsilon)", "lr = 7 * lr"
)

PATCHABLE["rows_that_are_set"] = set_rows("new = tf.gather(var, indices) - rate * m_rows")
PATCHABLE["rows_that_are_set_and_scaled"] = set_rows(
    "new = (tf.gather(var, indices) - rate * m_rows) / (1.0 + 0.1 * rate)"
)
PATCHABLE["rows_that_are_shrunk"] = set_rows(
    """
    new = tf.gather(var, indices) - rate * m_rows
    new = (new - tf.sign(new) * 0.01 * rate) * tf.cast(tf.abs(new) > 0.01 * rate, "float64")
    """
)
PATCHABLE["a_new_value_and_its_shrinkage_mixed"] = (
    DENSE,
    source(
        f"new = var - {STEP}\nreturn var.assign(new - 0.1 * tf.sign(new) * tf.minimum(tf.abs(new), 0.01))"
    ),
)

TRAPS = {
    "rows_set_from_all_of_the_variable": set_rows("new = tf.gather(var, indices * 0) - rate * m_rows"),
    "rows_set_from_what_they_were_before_a_decay": set_rows(
        """
        old = tf.gather(var, indices)
        var.assign(var * 0.99)
        new = old - rate * m_rows
        """
    ),
    "rows_set_elsewhere": set_rows("new = tf.gather(var, indices) - rate * m_rows", "indices + 1"),
    "a_new_value_and_the_moment_mixed": (
        DENSE,
        source(f"new = var - {STEP}\nreturn var.assign(new - 0.1 * m_t * tf.abs(new) - 0.1 * tf.sign(new))"),
    ),
    "a_new_value_and_another_step_mixed": (
        DENSE,
        source(
            f"""
            new = var - {STEP}
            other = var - 2 * lr * m_t / (v_t + 1.0)
            return var.assign(0.5 * new + 0.5 * other)
            """
        ),
    ),
    "an_element_of_the_variable_scales": (
        DENSE,
        source("return var.assign_sub(lr * var[0] * m_t / (tf.sqrt(v_t) + self.epsilon))"),
    ),
    "a_table_that_is_changed": tabled("step", 'arguments["updates"] = 2 * step'),
    "a_table_that_another_name_changes": tabled("step", 'other = arguments\nother["updates"] = 2 * step'),
    "a_table_that_is_changed_out_of_sight": tabled("step", "self._see(arguments)"),
    "a_table_that_is_updated": tabled("step", "arguments.update(updates=3 * step)"),
    "a_table_made_in_one_of_two_ways": tabled(
        "step",
        """
        if self.flag:
            arguments = {"resource": var, "indices": indices, "updates": 2 * step}
        """,
    ),
    "a_table_with_elements_read": tabled(
        "step",
        """
        arguments = {"m": m_rows, "v": v_rows, "lr": lr}
        arguments = {
            "resource": var,
            "indices": indices,
            "updates": arguments["lr"] * arguments.get("m") / (tf.sqrt(arguments["v"]) + self.epsilon),
        }
        """,
    ),
    "a_number_that_moves_on_times_one_that_is_counted": (
        DENSE,
        source(
            """
            var.assign_sub(self.eta * self._decayed_lr(var.dtype) * m_t / (tf.sqrt(v_t) + self.epsilon))
            self._move_on(lr)
            """,
            methods=SCHEDULE,
        ),
    ),
    "an_attribute_that_is_set_later": (
        DENSE,
        source(
            """
            var.assign_sub(self.turn * lr * m_t / (tf.sqrt(v_t) + self.epsilon))
            self.turn = self.turn + 1
            """,
            methods=SCHEDULE,
        ),
    ),
    "a_number_that_has_moved_on_before_the_step": (
        DENSE,
        source(
            """
            scale = self.eta * lr
            old = self.eta * 1.0
            self._move_on(lr)
            var.assign_sub(scale * old * m_t / (tf.sqrt(v_t) + self.epsilon))
            self._move_on(lr)
            """,
            methods=SCHEDULE,
        ),
    ),
    "a_bare_number_that_moves_on": (
        DENSE,
        source(
            """
            var.assign_sub(self.eta * (m_t / (tf.sqrt(v_t) + self.epsilon)))
            self._move_on(lr)
            """,
            methods=SCHEDULE,
        ),
    ),
    "a_test_of_what_the_update_sets_later": (
        DENSE,
        source(
            """
            update = m_t / (tf.sqrt(v_t) + self.epsilon)
            if self.turn < 3:
                update = update + self.wd * var
            var.assign_sub(lr * update)
            self.turn = 7
            """,
            methods=SCHEDULE,
        ),
    ),
    "a_rate_by_a_test_of_what_the_update_sets_later": (
        DENSE,
        source(
            """
            if self.turn < 3:
                update = lr * m_t / (tf.sqrt(v_t) + self.epsilon)
            else:
                update = 2 * lr * m_t / (tf.sqrt(v_t) + 2 * self.epsilon)
            var.assign_sub(update)
            self.turn = 7
            """,
            methods=SCHEDULE,
        ),
    ),
    "a_rate_by_a_method_that_asks_what_is_set_later": (
        DENSE,
        source(
            """
            if self._early():
                update = lr * m_t / (tf.sqrt(v_t) + self.epsilon)
            else:
                update = 2 * lr * m_t / (tf.sqrt(v_t) + 2 * self.epsilon)
            var.assign_sub(update)
            self._move_on(lr)
            """,
            methods=SCHEDULE
            + """
def _early(self):
    return self.turn < 3
""",
        ),
    ),
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


SCALING = """\
from .naming import part_of


def scaled(lr, var, table):
    return {}
"""
NAMING = "def part_of(var):\n    return var.name.split('/')[0]\n"
FORK = source(f"lr = scaled(lr, var, self.table)\nreturn var.assign_sub({STEP})")


@pytest.mark.parametrize(
    "scaled, status",
    [
        ("lr * table[part_of(var)]", "patchable"),
        ("table.get(part_of(var), 1.0) * lr", "patchable"),
        ("lr * table[part_of(var)] + 0.1 * var", "refused"),
        ("lr * table[part_of(var)] + table.get(var)", "refused"),
    ],
)
def test_functions_of_files_that_mention_no_optimizer_are_followed(scaled, status, tmp_path):
    package = tmp_path / "project"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "scaling.py").write_text(SCALING.format(scaled))
    (package / "naming.py").write_text(NAMING)
    fork = FORK.replace("import tensorflow as tf", "import tensorflow as tf\n\nfrom .scaling import scaled")
    (package / "fork.py").write_text(fork)
    result = scan([str(tmp_path)])
    assert [(c.name, c.status) for f in result.files for c in f.classes] == [("X", status)]
    assert [f.source.path.name for f in result.files] == ["fork.py"]
    assert ["_adampatch.step(" in c.after.decode() for c in planned(result).changes] == [True] * (
        status == "patchable"
    )


def test_a_function_that_cannot_be_read_is_a_call_about_which_nothing_is_known(tmp_path):
    (tmp_path / "scaling.py").write_text("def scaled(lr, var, table):\n    return lr *\n")
    (tmp_path / "fork.py").write_text("from scaling import scaled\n" + FORK)
    result = scan([str(tmp_path)])
    (report,) = [c for f in result.files for c in f.classes]
    assert (report.status, report.reason[:6]) == ("refused", "AP201:")
    assert result.skipped == [] and result.unreadable == []


CHOSEN = """
import tensorflow as tf

if {condition}:
    Base = {first}
else:
    Base = {second}


class X(Base):
    pass
"""
ADAM, LEGACY = "tf.keras.optimizers.Adam", "tf.keras.optimizers.legacy.Adam"


@pytest.mark.parametrize(
    "first, second, wrapped",
    [
        (ADAM, LEGACY, True),
        ('getattr(tf.keras.optimizers, "legacy", tf.keras.optimizers).Adam', LEGACY, True),
        (ADAM, "tf.keras.optimizers.SGD", False),
        (ADAM, "object", False),
        (ADAM, "make()", False),
    ],
)
def test_a_base_is_wrapped_where_each_choice_is_stock(first, second, wrapped, tmp_path):
    (tmp_path / "fork.py").write_text(CHOSEN.format(condition="version()", first=first, second=second))
    result = scan([str(tmp_path)])
    statuses = [c.status for f in result.files for c in f.classes]
    assert statuses == (["inherited"] if wrapped else [])
    texts = [c.after.decode() for c in planned(result).changes]
    assert [t.count("class X(_adampatch.patched(Base)):") for t in texts if wrapped] == [1] * wrapped


def test_names_for_a_framework_and_its_classes_are_followed_through_the_project(tmp_path):
    package = tmp_path / "sources" / "project"
    package.mkdir(parents=True)
    (package / "backend.py").write_text(
        "import tf_keras.backend as K\nfrom tf_keras import optimizers as kept\n"
    )
    (package / "constants.py").write_text("from .backend import kept\n\nBase = kept.legacy.Optimizer\n")
    fork = source(f"return K.update(var, var - {STEP.replace('tf.', 'K.')})")
    fork = fork.replace("tf.keras.optimizers.legacy.Optimizer", "Base")
    (package / "fork.py").write_text(
        "from project.backend import K\nfrom project.constants import Base\n" + fork
    )
    for root in (tmp_path, package.parent):
        (report,) = [c for f in scan([str(root)]).files for c in f.classes]
        assert (report.status, report.family, report.bases) == (
            "patchable",
            "v2",
            ("tf_keras.optimizers.legacy.Optimizer",),
        )
