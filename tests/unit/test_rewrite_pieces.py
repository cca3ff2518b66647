"""What is edited is only the top-level statements that hold an edit; every other byte stays as it is."""

from __future__ import annotations

import ast
import re

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from adampatch.analysis.module import Module
from adampatch.rewrite.edits import Edit, Plan
from adampatch.rewrite.source import GuardFailed, rewritten, unpatched

PATCHED = "_adampatch.patched(ADAM)"
#: statements; each ADAM is patched. The newlines in them are drawn as well.
STATEMENTS = [
    "ADAM(1)",
    "x = 1; y = ADAM(2) ;  # adam",
    "x = '\u00e9\u6f22\U0001f600'; y = ADAM('\u00e9', ADAM)",
    "class A:\n  x = ADAM(4)\n\n  # a comment\n  def f(self):\n     return ADAM\n  # at the end",
    "if x:\n\tADAM(5)\n\n\t# a comment\nelse: pass",
    "@(\n  ADAM(6)\n)\ndef f(): pass",
    "x = 1 ; \\\n  y = ADAM(7) \\\n  ",
    "try:\n    import a\nexcept ImportError:\n    a = [ADAM,  # adam\n ADAM]",
    "\x0cx = ADAM(8)",
    "with ADAM(9) as x: x; x",
    "lambda: 'a string'; ADAM",
    "async def f():\n    '''\n\x1c \u2028 '''\n    return ADAM(\n)",
    "import os",
    "import os, sys; import re  # imports",
    "from a import (\n  b,\n)",
    "'a string'",
    "x = 1",
    "x = [1,\n\x0c 2]",
    "def f():\n\x0c    return '''\n\x0c   '''",
    "\x0cclass B:\n\x0c\n    y = 1 \\\n      + 2",
    "z = 1 \\\n",
    "\\\nz = 1",
    "# a comment \x0b \x1c \x85 \u2028",
    "",
    "   ",
    "\x0c",
    "  \x0c \t",
]
OPENING = [
    "",
    "'''doc\n\x0c string'''",
    "# a header\n\n# and more",
    "from __future__ import annotations",
    "\x0c",
]


@st.composite
def texts(draw: st.DrawFn) -> str:
    parts = [draw(st.sampled_from(OPENING)), *draw(st.lists(st.sampled_from(STATEMENTS), max_size=8))]
    newlines = draw(st.sampled_from([["\n"], ["\r\n"], ["\r"], ["\n", "\r\n"], ["\n", "\r\n", "\r"]]))
    lines = "\n".join(parts).split("\n")
    text = "".join(line + draw(st.sampled_from(newlines)) for line in lines)
    text = text if draw(st.booleans()) else text.rstrip(" \t\x0c\r\n\\")
    try:
        ast.parse(text)
    except SyntaxError:  # a CR and an LF that make one newline after a backslash, not two
        reject()
    return text


def planned(text: str, line: str = "import _adampatch\n") -> Plan:
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", text)
    edits = [
        Edit("patched", (number, found.start()), (number, found.end()))
        for number, content in enumerate(lines, start=1)
        for found in re.finditer("ADAM", content)
    ]
    return Plan(Module.parse(text), tuple(edits), line if edits else "")


@given(texts())
@settings(deadline=None, max_examples=300)
def test_all_but_the_edits_stays_byte_for_byte(text: str) -> None:
    new = rewritten(text, planned(text))
    assert new.count(PATCHED) == text.count("ADAM")
    ast.parse(new)
    if "ADAM" not in text:
        assert new == text
        return
    assert new.index("import _adampatch") < new.index(PATCHED)
    without = new.replace(PATCHED, "ADAM")
    newlines = ["\n", "\r\n", "\r"]
    ways = [f"{n}import _adampatch{n}" for n in newlines] + [f"import _adampatch{n}" for n in newlines]
    assert text in [without.replace(way, "", 1) for way in ways]
    assert unpatched(new) == text


@given(texts())
@settings(deadline=None, max_examples=100)
def test_a_text_without_our_calls_stays_as_it_is(text: str) -> None:
    assert unpatched(text) == text


FIRST = "import _adampatch\n"
OWN_GROUP = "\nimport _adampatch\n"
PLACES = {
    "first of all": (FIRST, "ADAM()\n"),
    "after a header": ("# a header\n\n# more\n" + FIRST, "ADAM()\n"),
    "after the docstring": ("'doc'\n" + OWN_GROUP, "ADAM()\n"),
    "after the imports": ("'doc'\n\nimport a\n\n# c\nfrom b import (\n  c)  # c\n" + OWN_GROUP, "\nADAM()\n"),
    "after imports on one line": ("import a; import b;  # c\n" + OWN_GROUP, "x = 1\nADAM()\n"),
    "after a continued import": ("import a \\\n\n" + OWN_GROUP, "ADAM()\n"),
    "after imports from __future__": ("from __future__ import annotations\n" + OWN_GROUP, "ADAM()\n"),
    "after such with more beside them": ("from __future__ import division; x = 1\n" + OWN_GROUP, "ADAM()\n"),
    "before an import that has more beside it": (FIRST, "import a; ADAM()\nimport b\n"),
    "before imports in branches": (FIRST, "try:\n    import a\nexcept ImportError:\n    a = ADAM\n"),
    "before the page that starts with code": (FIRST, "\x0cADAM()\n"),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_import_goes(place: str) -> None:
    before, after = PLACES[place]
    text = before.removesuffix(OWN_GROUP if before.endswith("\n" + OWN_GROUP) else FIRST) + after
    new = rewritten(text, planned(text))
    assert new == before + after.replace("ADAM", PATCHED)
    assert unpatched(new) == text
    compile(new, place, "exec")


def test_an_import_goes_to_the_end_of_a_text_without_a_newline() -> None:
    text = "import a  # c"
    new = rewritten(text, Plan(Module.parse(text), (), "import _adampatch\n"))
    assert new == "import a  # c\n\nimport _adampatch"
    assert unpatched(new) == text


@pytest.mark.parametrize("text", ["'doc'; ADAM()\n", "from __future__ import division; ADAM()\n"])
def test_an_import_that_would_come_too_late_is_refused(text: str) -> None:
    with pytest.raises(GuardFailed, match=r"after its use \(line 1\); give each statement"):
        rewritten(text, planned(text))


def test_an_import_that_was_moved_goes_with_the_lines_above_it() -> None:
    text = "class A:\n    x = 1\n    # of the class\n\n# of the import\nimport _adampatch\nx = 2\n"
    assert unpatched(text) == "class A:\n    x = 1\n    # of the class\nx = 2\n"


def test_new_lines_are_laid_out_as_the_whole_file_is() -> None:
    text = "if a:\n\tb\r\nclass C:\r\n    def f(self):\r\n        self.w.assign_sub(a / b)\r\n"
    edit = Edit("step", (5, 26), (5, 31), "self", "w", (("rate", "lambda: a"),))
    new = rewritten(text, Plan(Module.parse(text), (edit,), FIRST))
    assert new == (
        "import _adampatch\nif a:\n\tb\r\nclass C:\r\n    def f(self):\r\n"
        "        self.w.assign_sub(_adampatch.step(\n"
        "        \tself,\n        \tw,\n        \tupdate=a / b,\n        \trate=lambda: a,\n        ))\r\n"
    )
    assert unpatched(new) == text


@pytest.mark.parametrize("place", [(1, 0), (1, 5), (3, 0)])
def test_an_edit_that_fits_no_node_is_refused(place: tuple[int, int]) -> None:
    text = "x = ADAM\n# ADAM\n"
    edit = Edit("patched", place, (place[0], place[1] + 4))
    with pytest.raises(GuardFailed, match=f"0 nodes match the edit at line {place[0]}"):
        rewritten(text, Plan(Module.parse(text), (edit,), FIRST))


def test_only_the_piece_that_is_edited_must_survive_printing() -> None:
    odd = "def f():\n    x = 1\n\x0c    return x\n"
    text = "import a\n" + odd + "ADAM()\n" + odd.replace("x = 1", "x = ADAM")
    with pytest.raises(GuardFailed, match="the code at line 6 does not survive parsing and printing"):
        rewritten(text, planned(text))
    spared = text[: text.rindex("def")]
    assert unpatched(rewritten(spared, planned(spared))) == spared
