"""Uses as text: where they are, what they are called, what is refused and what is none of ours.
The forms themselves are fixtures (`uses_*`, `alone_*`)."""

import ast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_rewrite_forks import CASES, applied, read

from adampatch.analysis.module import Module
from adampatch.analysis.uses import uses
from adampatch.project.apply import planned
from adampatch.project.scan import scan

HEAD = "import keras\nimport tensorflow as tf\nfrom keras.optimizers import Adam, SGD\n"


def found(text):
    return uses(Module.parse(text, "train.py"))


def facts(text):
    return [(u.kind, u.resolved, u.status, u.certain) for u in found(text)]


def test_line_and_column_are_those_of_what_is_wrapped():
    loop = 'for naïve in ("é",): REG = {"ö": keras.optimizers.Adam, "x": (\n  keras\n .optimizers.Nadam)}'
    text = f"import keras\n{loop}\n"
    first, second = found(text)
    assert (first.line, first.col, first.spelling) == (2, 34, "keras.optimizers.Adam")
    assert (second.line, second.col, second.spelling) == (3, 3, "keras.optimizers.Nadam")
    assert first.resolved == first.spelling and first.kind == "class"


REFUSED = {
    "tfa.optimizers.Yogi(1e-3)": ("import tensorflow_addons as tfa\n", "AP221", "optimizers.Yogi"),
    "tf.contrib.opt.AdaMaxOptimizer(1e-3)": (HEAD, "AP221", "opt.AdaMaxOptimizer"),
    "def f(kind=Adam):\n    return kind(1e-3) if kind is Adam else kind()": (HEAD, "AP222", "Adam"),
    "K = [Adam, SGD]\nK[0](1e-3)\nisinstance(3, K)\nprint(K.pop()())": (HEAD, "AP222", "Adam"),
    "d = {'optimizer': 'adam', 'loss': 'mse'}\nmodel.compile(**d)": (HEAD, "AP223", "keras.optimizers.Adam"),
    "d = dict(optimizer='nadam')\nmodel.compile(**d)": (HEAD, "AP223", "keras.optimizers.Nadam"),
    "model.compile('adam')": ("from tf_keras import layers\n", "AP220", "tf_keras.optimizers.Adam"),
    "n = 'adam'\nmodel.compile(n)": ("import tf_keras, keras\n", "AP220", "tf_keras.optimizers.Adam"),
}


@pytest.mark.parametrize("code", sorted(REFUSED))
def test_what_cannot_be_patched_is_refused_with_a_reason(code, tmp_path):
    head, reason, resolved = REFUSED[code]
    text = head + code + "\n"
    after, result = applied(text, tmp_path)
    assert after == text and result.refused >= 1
    for use in (u for f in result.files for u in f.uses):
        assert use.status == "refused" and use.resolved.endswith(resolved)
        assert use.reason.startswith(reason + ": ") and use.reason.endswith(f"(line {use.line})")


#: what follows HEAD -> what is found: (kind, last part of what it resolves to, certain)
FOUND = {
    "from keras.optimizers import *\nfrom house import *\nNadam(1)": [("constructor", "Nadam", False)],
    "from house import *\nfrom keras.optimizers import *\nNadam(1)": [("constructor", "Nadam", True)],
    "from keras.optimizers import *\nfrom math import *\nNadam(1)": [("constructor", "Nadam", True)],
    "from tensorflow.keras import *\noptimizers.Adam(1)": [("constructor", "Adam", True)],
    "from keras.optimizers import *\nclass Nadam: pass\nNadam(1)": [],
    "try:\n    A = keras.optimizers.AdamW\nexcept AttributeError:\n    A = None\nA(1)": [
        ("class", "AdamW", True)
    ],
    "try:\n    from keras.optimizers import AdamW\nexcept ImportError:\n    AdamW = None\nAdamW(1)": [
        ("constructor", "AdamW", False)
    ],
    "A = Adam\nA = SGD\nA(1)": [],
    "def f():\n    A = Adam\n    return isinstance(3, A)": [],
    "def f(x):\n    A = Adam if x else SGD\n    return A(1)": [("class", "Adam", True)],
    "def f(x):\n    A = SGD\n    if x: A = Adam\n    return A(1), isinstance(x, A)": [
        ("constructor", "Adam", False)
    ],
    "class T:\n    kind = Adam\n    def f(self): return self.kind(1), isinstance(3, self.kind)": [
        ("constructor", "Adam", False)
    ],
    "class T:\n    def f(self): self.kind = Adam; return self.kind(1)": [("class", "Adam", True)],
    "A = B = Adam\nA(1); B(2)": [("constructor", "Adam", True)] * 2,
    "A, B = Adam, SGD\nA(1)": [("class", "Adam", True)],
    "A = getattr(keras.optimizers, 'AdamW', Adam)\nA(1)": [("constructor", "AdamW", True)],
    "A = getattr(keras.optimizers, 'AdamW', None)\nA(1)": [("class", "AdamW", False)],
    "getattr(keras.optimizers, 'SGD')(1)": [],
    "getattr(keras.layers, input())(1)": [],
    "setattr(keras, 'kind', Adam)": [("class", "Adam", True)],
    "setattr(Adam, 'kind', 3)": [],
    "if (A := Adam): A(1)": [("class", "Adam", True)],
    "K = [Adam] * 3 + [Adam]": [("class", "Adam", True)] * 2,
    "K = Adam | SGD": [],
    "Mine = type('Mine', (Adam,), {})": [("class", "Adam", True)],
    "type(Adam)": [],
    "if input() == 'adam':\n    def f(o): model.compile(optimizer=o)": [],
    "keras.models.load_model('x', custom_objects={'Adam': Adam})": [("class", "Adam", True)],
    "def f():\n    yield Adam": [("class", "Adam", True)],
    "def f(*kinds, **named): pass\nf(*[Adam], **{'a': Adam})": [("class", "Adam", True)] * 2,
    "for kind in (Adam, SGD): kind(1)": [("class", "Adam", True)],
    "Adam.from_config({})": [("class", "Adam", True)],
    "list(map(Adam.from_config, []))": [("class", "Adam", True)],
    "for optimizer in optimizers: model.compile(optimizer=optimizer)": [],
    "def f(optimizer): model.compile(optimizer=optimizer)": [],
    "def f(optimizer): model.compile(optimizer=optimizer)\nf('adam')": [("string", "Adam", False)],
    "def f(optimizer): model.compile(optimizer=optimizer)\nf('sgd')": [],
    "opt = Adam(1)\nmodel.compile(optimizer=opt)": [("constructor", "Adam", True)],
    "opt = 'adam' if input() else SGD(1)\nmodel.compile(opt)": [("string", "Adam", False)],
    "model.compile(optimizer=f'{x}adam')": [],
    "model.compile(**{'optimizer': 'adam'})": [("string", "Adam", True)],
    "model.compile(**dict(loss='mse', optimizer='adam'))": [("string", "Adam", True)],
    "d = {'optimizer': 'sgd', 'loss': 'adam'}\nmodel.compile(**d)": [],
    "d = {'optimizer': Adam(1)}\nmodel.compile(**d)": [("constructor", "Adam", True)],
    "model.compile('adam' or 'sgd')": [("string", "Adam", True)],
    "import click\n@click.option('--kind', default='adam')\ndef f(kind): model.compile(kind)": [
        ("string", "Adam", False)
    ],
    "flags.DEFINE_string('kind', 'adam', 'help')\nmodel.compile(FLAGS.kind)": [("string", "Adam", False)],
    "tf.keras.optimizers.get(input())": [("getter", "get", False)],
    "tf.keras.optimizers.get('lion')": [],
    "tf.keras.optimizers.get(SGD(1))": [],
    "tf.keras.losses.get('adam')": [],
    "keras.api.optimizers.Adam()": [("constructor", "Adam", True)],
    "tf.compat.v1.keras.optimizers.Nadam()": [("constructor", "Nadam", True)],
    "tf.compat.v2.keras.optimizers.AdamW()": [("constructor", "AdamW", True)],
    "class Mine(keras.optimizers.Nadam): pass": [],
    "del Adam": [],
    "x: Adam = None": [],
    "[Adam]": [],
    "Adam": [],
    "assert Adam": [],
    "a = lambda Adam: Adam(1)": [],
}


@pytest.mark.parametrize("code", sorted(FOUND))
def test_what_is_found(code, tmp_path):
    text = HEAD + code + "\n"
    assert [(k, resolved.rpartition(".")[2], c) for k, resolved, _, c in facts(text)] == FOUND[code]
    assert all(status == "patchable" for _, _, status, _ in facts(text))
    after, _ = applied(text, tmp_path)
    assert (after == text) == (not FOUND[code] and "class Mine" not in code)
    assert applied(after, tmp_path)[0] == after
    assert [(k, r, c) for k, r, s, c in facts(after) if s == "already"] == [
        (k, r, c) for k, r, _, c in facts(text)
    ]


# ------------------------------------------------------------------------- other names

USES = [case for case in CASES if case.startswith("uses_")]
TEMPTING = ["Adam", "adam", "Nadam", "optimizers", "optimizer", "keras", "SGD", "get", "name", "zebra"]


def renamable(tree):
    """Names that the module binds only by plain assignment or as functions, wherever it says them."""
    bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    imported = {a.asname or a.name.split(".")[0] for n in ast.walk(tree)
                if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names}  # fmt: skip
    spoken = {n.arg for n in ast.walk(tree) if isinstance(n, (ast.arg, ast.keyword))}
    spoken |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)} | {"__all__", "_adampatch"}
    spoken |= {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    members = [s for c in ast.walk(tree) if isinstance(c, ast.ClassDef) for s in c.body]
    held = {n.id for s in members for n in ast.walk(s) if isinstance(n, ast.Name)}
    return sorted(bound - imported - spoken - held)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.data())
def test_other_names_for_locals_change_nothing(data):
    case = data.draw(st.sampled_from([c for c in USES if renamable(ast.parse(read(c, "before.py")))]))
    tree = ast.parse(read(case, "before.py"))
    before = facts(ast.unparse(tree))
    old = data.draw(st.sampled_from(renamable(tree)))
    taken = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    taken |= {n.name for n in ast.walk(tree) if isinstance(n, (ast.ClassDef, ast.FunctionDef, ast.alias))}
    taken |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    stars = any(n.name == "*" for n in ast.walk(tree) if isinstance(n, ast.alias))
    choices = [n for n in TEMPTING if n not in taken and not (stars and n in ("Adam", "Nadam", "SGD"))]
    new = data.draw(st.sampled_from(choices))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == old:
            node.id = new
        elif isinstance(node, ast.FunctionDef) and node.name == old:
            node.name = new
        elif isinstance(node, ast.Global):
            node.names = [new if name == old else name for name in node.names]
    assert facts(ast.unparse(tree)) == before, (case, old, new)


# --------------------------------------------------------------------- several modules


def found_in(files, folder):
    """{file: what is found in it} of a project, and what is written."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    result = scan([str(folder)])
    assert not result.skipped
    changed = {c.relative: c.after.decode() for c in planned(result).changes}
    return {f.source.relative: [(u.kind, u.line, u.certain) for u in f.uses] for f in result.files}, changed


def test_a_class_is_followed_through_modules_that_hand_on_their_imports(tmp_path):
    files = {
        "pkg/__init__.py": "from .compat import Adam\n",
        "pkg/compat.py": "try:\n    from keras.optimizers import Adam\nexcept ImportError:\n"
        "    from tensorflow.keras.optimizers import Adam\nfrom keras import optimizers\n",
        "pkg/train.py": "from .compat import Adam, optimizers\nA = Adam(1)\nB = optimizers.Nadam(1)\n",
        "main.py": "import pkg\nfrom pkg import Adam as Best, compat\nBest(1)\ncompat.Adam(1)\npkg.Adam(1)\n",
        "stars.py": "from pkg.compat import *\nAdam(1)\n",
        "house.py": "class Adam: pass\n",
        "other.py": "from house import Adam\nAdam(1)\n",
    }
    found, changed = found_in(files, tmp_path)
    sure = [("constructor", line, True) for line in (2, 3)]
    assert found["pkg/train.py"] == sure
    assert found["main.py"] == [("constructor", line, True) for line in (3, 4, 5)]
    assert found["stars.py"] == [("constructor", 2, True)]
    assert sorted(changed) == ["main.py", "pkg/train.py", "stars.py"]
    assert "_adampatch.patched(compat.Adam)(1)\n" in changed["main.py"]


def test_an_alias_that_others_import_is_wrapped_where_it_stands(tmp_path):
    text = "import keras\nDEFAULT = keras.optimizers.Adam\nopt = DEFAULT(1e-3)\n"
    alone, changed = found_in({"config.py": text}, tmp_path / "alone")
    assert alone == {"config.py": [("constructor", 3, True)]}
    assert "_adampatch.patched(DEFAULT)(1e-3)" in changed["config.py"]
    user = "from config import DEFAULT\nopt = DEFAULT(1e-3)  # adam\n"
    both, changed = found_in({"config.py": text, "train.py": user}, tmp_path / "both")
    assert both == {"config.py": [("class", 2, True)], "train.py": []}
    assert "DEFAULT = _adampatch.patched(keras.optimizers.Adam)\n" in changed["config.py"]


def test_a_name_that_another_module_says_may_reach_compile(tmp_path):
    build = "def build(model, optimizer):\n    model.compile(optimizer=optimizer)\n"
    train = "from build import build\nbuild(None, optimizer='adam')\n"
    found, changed = found_in({"build.py": build, "train.py": train}, tmp_path / "named")
    assert found == {"build.py": [("string", 2, False)], "train.py": []}
    assert "compile(optimizer=_adampatch.patched(optimizer, strict=False))" in changed["build.py"]
    train = train.replace("'adam'", "keras.optimizers.Adam()").replace("from", "import keras\nfrom", 1)
    found, _ = found_in({"build.py": build, "train.py": train}, tmp_path / "made")
    assert found == {"build.py": [], "train.py": [("constructor", 3, True)]}


def test_of_two_modules_of_one_name_the_one_beside_is_meant(tmp_path):
    files = {}
    for folder, place in (("a", "keras.optimizers"), ("b", "people")):
        files[f"{folder}/compat.py"] = f"from {place} import Adam\n"
        files[f"{folder}/train.py"] = "from compat import Adam\nAdam(1)\n"
    found, _ = found_in(files, tmp_path)
    assert (found["a/train.py"], found["b/train.py"]) == ([("constructor", 2, True)], [])


def test_modules_that_import_each_other_end(tmp_path):
    files = {"a.py": "from b import Adam\nAdam(1)\n", "b.py": "from a import Adam\nAdam(1)\n"}
    assert found_in(files, tmp_path)[0] == {"a.py": [], "b.py": []}
