"""`adampatch run`: the script meets what `python SCRIPT` gives it, in all but its optimizers."""

import json
import signal
import subprocess
import sys
import time

import pytest
from scripts import adampatch, contents, environment, python

TELLING = """\
import json, os, sys
module = sys.modules[__name__]
print(json.dumps({
    "name": __name__, "file": __file__, "argv": sys.argv, "first": sys.path[0], "doc": __doc__,
    "main": sys.modules["__main__"] is module, "package": __package__, "spec": str(type(__spec__)),
    "builtins": type(__builtins__).__name__, "loader": type(__loader__).__name__,
    "same": globals() is vars(module),
}))
"""

# An optimizer without TensorFlow: what matters here is where its text goes, not what it computes.
OWN = '''\
"""An optimizer of the project's own."""
from __future__ import annotations

from base import Optimizer


class Mine(Optimizer):
    def update_step(self, gradient, variable, learning_rate):
        m, v = self._m[variable], self._v[variable]
        m.assign(0.9 * m + 0.1 * gradient)
        v.assign(0.99 * v + 0.01 * gradient * gradient)
        variable.assign_sub(
            learning_rate * m  # the first moment
            / (v ** 0.5 + 1e-8)
        )
        raise ValueError("after the step")  # line 16
'''
BASE = """\
class Optimizer:
    def apply_gradients(self, pairs):
        pass
"""


def told(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_script_is_told_what_python_tells_it(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "train.py").write_text('"""Words."""\n' + TELLING)
    arguments = ("sub/train.py", "--epochs", "3", "-m", "--log", "x", "--", "-v")
    assert told(adampatch("run", *arguments, cwd=tmp_path)) == told(python(*arguments, cwd=tmp_path))


def test_a_module_is_told_what_python_tells_it(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "train.py").write_text("from . import other\n" + TELLING)
    (package / "other.py").write_text("")
    (package / "__main__.py").write_text(TELLING)
    for name in ("package.train", "package"):
        arguments = ("-m", name, "--rules", "none", "-q")
        assert told(adampatch("run", *arguments, cwd=tmp_path)) == told(python(*arguments, cwd=tmp_path))


def test_a_folder_and_a_symbolic_link_run_as_python_runs_them(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "__main__.py").write_text("import beside\nprint(beside.__name__, __file__[-11:])\n")
    (folder / "beside.py").write_text("")
    link = tmp_path / "elsewhere.py"
    link.symlink_to(folder / "__main__.py")
    for name in ("folder", "elsewhere.py"):
        ours, stock = adampatch("run", name, cwd=tmp_path), python(name, cwd=tmp_path)
        assert (ours.returncode, ours.stdout) == (stock.returncode, stock.stdout)
        assert ours.returncode == 0


@pytest.mark.parametrize(
    "ending",
    ["sys.exit(3)", "sys.exit()", "sys.exit('words')", "raise SystemExit(4)", "1 / 0", "sys.exit(True)", ""],
)
def test_the_exit_code_and_the_last_words_are_the_scripts(tmp_path, ending):
    (tmp_path / "train.py").write_text(
        f"import sys\nprint('out')\n\ndef train():\n    {ending or 'pass'}\n\ntrain()\n"
    )
    ours, stock = adampatch("run", "train.py", cwd=tmp_path), python("train.py", cwd=tmp_path)
    assert (ours.returncode, ours.stdout, ours.stderr) == (stock.returncode, stock.stdout, stock.stderr)


def test_a_script_that_does_not_parse_says_so_as_python_does(tmp_path):
    (tmp_path / "train.py").write_text("x = 1\nclass Adam(:\n    pass\n")
    ours, stock = adampatch("run", "train.py", cwd=tmp_path), python("train.py", cwd=tmp_path)
    assert (ours.returncode, ours.stderr) == (stock.returncode, stock.stderr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.py",), "missing.py: there is no such script"),
        (("-m", "missing"), "-m missing: there is no module missing"),
        (("-m", "os.missing"), "-m os.missing: there is no module os.missing"),
        (("folder",), "folder: is a directory without __main__.py"),
        (("--rules", "missing", "train.py"), "missing"),
        (("--every", "0", "train.py"), "--every"),
        (("--log", "train.py/x", "train.py"), "train.py/x: cannot be written"),
        ((), "SCRIPT"),
        (("--unknown", "train.py"), "--unknown"),
    ],
)
def test_bad_usage_is_said_in_a_line(tmp_path, arguments, words):
    (tmp_path / "train.py").write_text("print('ran')\n")
    (tmp_path / "folder").mkdir()
    done = adampatch("run", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_modules_of_the_project_are_rewritten_in_memory_only(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "plain.py").write_text("x = 1\n")
    (tmp_path / "train.py").write_text(
        "import inspect, own, plain\n"
        "print('_adampatch.step(' in inspect.getsource(own.Mine.update_step))\n"
        "print(own.Mine.__adampatch_observed__, own.__file__, own.__cached__ is not None)\n"
    )
    before = contents(tmp_path)
    done = adampatch("run", "train.py", cwd=tmp_path)
    assert done.stdout.splitlines() == ["True", f"True {tmp_path / 'own.py'} True"], done.stderr
    after = contents(tmp_path)
    cached = {path.split("/")[-1].split(".")[0] for path in after.keys() - before.keys()}
    assert cached <= {"plain", "base"}  # a module that is not changed may be cached as ever
    assert {path: after[path] for path in before} == before
    assert "patched 1 site in 1 module" in done.stderr


def test_no_pyc_of_a_patched_module_is_read(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "train.py").write_text("import own\nprint(hasattr(own.Mine, '__adampatch_observed__'))\n")
    assert python("train.py", cwd=tmp_path).stdout == "False\n"
    cached = contents(tmp_path / "__pycache__")
    assert len(cached) == 2
    assert adampatch("run", "train.py", cwd=tmp_path).stdout == "True\n"
    assert contents(tmp_path / "__pycache__") == cached
    assert python("train.py", cwd=tmp_path).stdout == "False\n"


@pytest.mark.parametrize("in_script", [False, True])
def test_tracebacks_name_the_lines_of_the_file(tmp_path, in_script):
    (tmp_path / "base.py").write_text(BASE)
    use = (
        "class Cell(float):\n    assign = assign_sub = lambda self, value: None\n"
        "mine, cell = Mine(), Cell(1.0)\nmine._m = mine._v = {cell: cell}\n"
        "mine.update_step(1.0, cell, 1e-3)\n"
    )
    if in_script:
        (tmp_path / "train.py").write_text(OWN + "\n\n" + use)
    else:
        (tmp_path / "own.py").write_text(OWN)
        (tmp_path / "train.py").write_text("from own import Mine\n" + use)
    # without TensorFlow the step itself is what fails: a stub of ours stands in its place
    (tmp_path / "stub.py").write_text(
        "from adampatch.runtime import observing, stepping\n"
        "observing._compile_updates = lambda binding, cls: None\n"
        "stepping.stepped = lambda binding, optimizer, variable, update, *rest: update\n"
    )
    text = (tmp_path / "train.py").read_text()
    (tmp_path / "train.py").write_text(text.replace("import Optimizer\n", "import Optimizer; import stub\n"))
    if not in_script:
        (tmp_path / "own.py").write_text(OWN.replace("import Optimizer\n", "import Optimizer; import stub\n"))
    ours, stock = adampatch("run", "-q", "train.py", cwd=tmp_path), python("train.py", cwd=tmp_path)
    assert stock.returncode == ours.returncode == 1
    assert 'line 16, in update_step\n    raise ValueError("after the step")' in stock.stderr
    assert ours.stderr == stock.stderr


def test_a_class_that_cannot_be_patched_is_named(tmp_path):
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "own.py").write_text(OWN.replace("assign_sub(", "assign_sub(abs(variable) * "))
    (tmp_path / "train.py").write_text("import own\nprint(hasattr(own.Mine, '__adampatch_observed__'))\n")
    done = adampatch("run", "train.py", cwd=tmp_path)
    assert done.stdout == "False\n"
    assert "own.py:7: Mine stays as it is: AP2" in done.stderr


def test_what_a_comment_or_a_setting_leaves_out_is_left_out(tmp_path):
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "first.py").write_text("# adampatch: skip\n" + OWN)
    (tmp_path / "second.py").write_text(OWN)
    (tmp_path / "pyproject.toml").write_text('[tool.adampatch]\nexclude = ["second.py"]\n')
    (tmp_path / "train.py").write_text(
        "import first, second\nprint([hasattr(m.Mine, '__adampatch_observed__') for m in (first, second)])\n"
    )
    assert adampatch("run", "train.py", cwd=tmp_path).stdout == "[False, False]\n"


def test_an_interrupt_ends_the_script_as_it_ends_any(tmp_path):
    (tmp_path / "train.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "adampatch", "run", "train.py"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "KeyboardInterrupt"


def test_spawned_processes_are_patched_too(tmp_path):
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "train.py").write_text(
        "import multiprocessing\n\n"
        "def work(queue):\n"
        "    import own\n"
        "    queue.put(hasattr(own.Mine, '__adampatch_observed__'))\n\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    queue = context.Queue()\n"
        "    process = context.Process(target=work, args=(queue,))\n"
        "    process.start()\n"
        "    print(queue.get(timeout=60))\n"
        "    process.join()\n"
    )
    done = adampatch("run", "train.py", cwd=tmp_path)
    assert done.stdout == "True\n", done.stderr
