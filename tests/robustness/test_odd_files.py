"""One odd file beside a healthy one: the odd one is patched or named, never damaged, and never in the way.

Each case goes through `apply`, a second `apply` and `revert` of the command line.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from running import PATCHED, WarmCommand, snapshot

FORK = b"""\
import keras
from keras import ops


class Fork(keras.optimizers.Optimizer):
    def update_step(self, gradient, variable, learning_rate):
        m = self.m[self._get_variable_index(variable)]
        v = self.v[self._get_variable_index(variable)]
        self.assign_add(m, (gradient - m) * 0.1)
        self.assign_add(v, (ops.square(gradient) - v) * 0.001)
        self.assign_sub(variable, learning_rate * m / (ops.sqrt(v) + 1e-7))


opt = keras.Model().compile(optimizer="adam")
"""
TAIL = b'import keras\nkeras.Model().compile(optimizer="adam")\n'


@dataclass(frozen=True)
class Odd:
    """``data``: the file; ``reason``: what the report says of a file that is left alone, None of one that is
    patched; ``name``: what it is called."""

    data: bytes
    reason: str | None = None
    name: bytes = b"odd.py"


def terms(count: int) -> bytes:
    return b"total = " + b" + ".join([b"1"] * count) + b"\n"


NEWER = sys.version_info
ODD = {
    "syntax error": Odd(FORK + b"def broken(:\n", r"does not parse as Python 3: .* \(line 15\)"),
    "print statement": Odd(TAIL + b"print 'adam'\n", "does not parse as Python 3: Missing parentheses"),
    "except with a comma": Odd(TAIL + b"try:\n    x\nexcept E, e:\n    raise\n", "does not parse")
    if NEWER < (3, 14)
    else Odd(TAIL + b"exec 'x'\n", "does not parse"),
    "BOM": Odd(b"\xef\xbb\xbf" + FORK),
    "CRLF": Odd(FORK.replace(b"\n", b"\r\n")),
    "lone CR": Odd(FORK.replace(b"\n", b"\r")),
    "BOM, CRLF, no last newline": Odd(b"\xef\xbb\xbf" + FORK.replace(b"\n", b"\r\n").rstrip()),
    "mixed newlines, mostly LF": Odd(FORK.replace(b"\n", b"\r\n", 3) + b"x = 1\r\n"),
    "mixed newlines, mostly CRLF": Odd(FORK.replace(b"\n", b"\r\n").replace(b"\r\n", b"\n", 3)),
    "mixed newlines, all three": Odd(
        b"".join(line + (b"\n", b"\r\n", b"\r")[i % 3] for i, line in enumerate(FORK.split(b"\n")))
    ),
    "latin-1": Odd(b"# -*- coding: latin-1 -*-\n# \xe9t\xe9\n" + FORK + b"name = '\xe9'\n"),
    "latin-1 before the site on its line": Odd(
        b"# coding: latin-1\nimport keras\nkeras.Model('\xe9\xe9\xe9').compile(optimizer=\"adam\")\n"
    ),
    "UTF-8 before the site on its line": Odd(
        "import keras\nkeras.Model('é漢😀').compile(optimizer=\"adam\")\n".encode()
    ),
    "cp1252 cookie in line 2": Odd(
        b"#!/usr/bin/env python\n# vim: set fileencoding=cp1252 :\n# \x80\n" + TAIL
    ),
    "unknown cookie": Odd(b"# coding: klingon\n" + TAIL, 'names an unknown encoding "klingon"'),
    "wrong cookie": Odd(b"# coding: ascii\n# \xe9\n" + TAIL, "byte 0xe9 is not ascii"),
    "no cookie, latin-1 bytes": Odd(b"# \xe9\n" + TAIL, "byte 0xe9 is not utf-8"),
    "cookie against the BOM": Odd(b"\xef\xbb\xbf# coding: latin-1\n" + TAIL, "has a UTF-8 BOM"),
    "UTF-16": Odd(TAIL.decode().encode("utf-16"), "UTF-16"),
    "UTF-16 without a BOM": Odd(TAIL.decode().encode("utf-16-be"), "NUL byte"),
    "UTF-32": Odd(TAIL.decode().encode("utf-32"), "UTF-32"),
    "NUL bytes": Odd(TAIL + b"x = '\0'\n", "NUL byte"),
    "NUL bytes at the end": Odd(TAIL + b"\0" * 512, "NUL byte"),
    "form feed between functions": Odd(FORK.replace(b"\n\n\n", b"\n\n\x0c\n")),
    "form feed at the start of a line": Odd(FORK.replace(b"\nclass", b"\n\x0cclass")),
    "form feed first of all": Odd(b"\x0c" + FORK),
    "separators that are no newlines": Odd(
        b"# \x0b \x1c \x1d \xc2\x85 \xe2\x80\xa8\ns = '\x1c\xe2\x80\xa9'\n" + FORK
    ),
    "no newline at the end": Odd(FORK.rstrip()),
    "comment without a newline at the end": Odd(FORK + b"# adam"),
    "trailing spaces and blank lines": Odd(FORK.replace(b":\n", b":  \n") + b"   \n\n\t\n"),
    "tabs": Odd(FORK.replace(b"    ", b"\t")),
    "tabs and spaces": Odd(FORK.replace(b"        ", b"    \t")),
    "backslash at the end of a line": Odd(FORK.replace(b"m / (", b"m / \\\n    (") + b"y = 1 + \\\n  2\n"),
    "backslash at the end of the file": Odd(FORK + b"\\", "does not parse as Python 3"),
    "backslash and newline at the end": Odd(FORK + b"\\\n", "does not parse as Python 3"),
    "long line": Odd(FORK + b"x = '" + b"y" * 300_000 + b"'; z = [" + b"0, " * 1000 + b"]\n"),
    "5 MB on one line": Odd(TAIL + b"DATA = '" + b"x" * 5_000_000 + b"'\n"),
    "5 MB of functions": Odd(
        TAIL + b"".join(b"def f%d():\n    ' %s '\n\n\n" % (i, b"text " * 1000) for i in range(1000))
    ),
    "3000 nested parentheses": Odd(TAIL + b"x = " + b"(" * 3000 + b"1" + b")" * 3000 + b"\n", "nested"),
    "a sum of 5000 terms": Odd(TAIL + terms(5000), "nested too deeply"),
    "a sum of 1000 terms": Odd(TAIL + terms(1000), "nested too deeply"),
    # 3.12 takes fewer frames for a level
    "a sum of 250 terms": Odd(TAIL + terms(250), None if NEWER >= (3, 12) else "nested too deeply"),
    "a deep sum in an optimizer": Odd(
        FORK.replace(b"* 0.1)", b"* (" + b" + ".join([b"0.1"] * 250) + b"))"),
        None if NEWER >= (3, 12) else "nested too deeply",
    ),
    "a character that only an escape can write": Odd(
        b"# coding: ascii\n"
        + FORK.replace(b"learning_rate * m", b"self.rate['\\u03b2'] * learning_rate * m"),
        "AP232: .* which ascii lacks",
    ),
    "type statement": Odd(TAIL + b"type X = int\n", None if NEWER >= (3, 12) else "does not parse"),
    "type parameters": Odd(TAIL + b"def f[T](x: T) -> T: ...\n", None if NEWER >= (3, 12) else "does not"),
    "f-string in an f-string": Odd(
        TAIL + b'x = f"{f"{1}"}"\n', None if NEWER >= (3, 12) else "does not parse|f-string"
    ),
    "a module that raises": Odd(TAIL + b"raise SystemExit('imported')\n"),
    "a module that leaves a mark": Odd(TAIL + b"open('MARK', 'w').close()\nopen(__file__ + '.m', 'w')\n"),
    "name with a space": Odd(TAIL, name=b"odd file.py"),
    "name with a newline": Odd(TAIL, name=b"odd\nfile.py"),
    "name with quotes and a backslash": Odd(TAIL, name=b"odd\\'\"\x1b[31m.py"),
    "name that is no UTF-8": Odd(TAIL, name=b"odd\xff\xe9.py"),
    "long name": Odd(TAIL, name="漢".encode() * 80 + b".py"),
    "name that starts with a dash": Odd(TAIL, name=b"--strict.py"),
    "name like a temporary file's": Odd(TAIL, name=b".x.adampatch-tmp.py"),
}


def lines(data: bytes) -> list[bytes]:
    return re.split(rb"(?<=\n)|(?<=\r)(?!\n)", data)


def only_ours_is_new(before: bytes, after: bytes) -> None:
    """Every line is still there, in order, save those with a site; and a site is in a call of ours.

    Told from the bytes alone, by nothing that adampatch itself takes its calls out with.
    """
    assert after.count(b"\x0c") == before.count(b"\x0c")  # a decorator goes between one and its class
    rest = iter(lines(after.replace(b"\x0c", b"")))
    for line in lines(before.replace(b"\x0c", b"")):
        if re.search(rb'"adam"|assign_sub|^[ \t]*\(ops\.sqrt', line):
            continue
        assert line in rest, line
    assert after.startswith(b"\xef\xbb\xbf") == before.startswith(b"\xef\xbb\xbf")
    assert after.count(b'_adampatch.patched("adam")') == before.count(b'optimizer="adam"')
    assert after.count(b"_adampatch.step(") == before.count(b"assign_sub(")
    taken_out = after.replace(b'_adampatch.patched("adam")', b'"adam"')
    taken_out = re.sub(rb"^(?:\s*?(?:\r\n|\r|\n))?import _adampatch(\r\n|\r|\n)", b"", taken_out, flags=re.M)
    if b"assign_sub" not in before:
        assert taken_out == before


def newlines(data: bytes) -> set[bytes]:
    return set(re.findall(rb"\r\n|\r|\n", data))


@pytest.mark.parametrize("case", ODD)
def test_an_odd_file_is_patched_or_named_and_comes_back(case: str, root: Path, command: WarmCommand) -> None:
    odd = ODD[case]
    path = os.path.join(os.fsencode(root), odd.name)
    with open(path, "wb") as file:
        file.write(odd.data)
    os.chmod(path, 0o751)
    before = snapshot(root)
    name = os.fsdecode(odd.name)

    done = command("apply", root, "--format", "json")
    assert done.err == ""
    after = snapshot(root)
    assert after[b"healthy.py"][1] == PATCHED
    assert after[odd.name][0] == before[odd.name][0]
    if odd.reason is None:
        assert done.code == 0
        assert sorted(done.document["changed"]) == sorted(["_adampatch.py", "healthy.py", name])
        only_ours_is_new(odd.data, after[odd.name][1])
        assert newlines(after[odd.name][1]) == (newlines(odd.data) or {b"\n"})
    else:
        assert done.code == 1
        reported = done.skipped().get(name) or " ".join(
            str(item["reason"])
            for item in (*done.document["classes"], *done.document["uses"])
            if item["path"] == name
        )
        assert re.search(odd.reason, reported), reported
        assert after[odd.name] == before[odd.name]
        assert "internal error" not in reported
    new = {path for path in after if path not in before and not path.startswith(b".adampatch")}
    assert new == {b"_adampatch.py"}

    again = command("apply", root, "--format", "json")
    assert (again.code, again.document["changed"]) == (done.code, [])
    assert snapshot(root) == after

    back = command("revert", root)
    assert (back.code, back.err) == (0, "")
    assert snapshot(root) == before


@pytest.mark.parametrize("case", ODD)
def test_an_odd_file_is_said_in_text_too(case: str, root: Path, command: WarmCommand) -> None:
    odd = ODD[case]
    with open(os.path.join(os.fsencode(root), odd.name), "wb") as file:
        file.write(odd.data)
    before = snapshot(root)
    for words in (["scan"], ["scan", "--exit-code"], ["apply", "--diff"], ["apply", "--check", "-v"]):
        done = command(words[0], root, *words[1:])
        found = odd.reason is not None and "AP232" not in odd.reason
        assert done.code == int(words[0] == "apply" or (found and "--exit-code" in words))
        assert "Traceback" not in done.err and "internal error" not in done.err + done.out
    assert snapshot(root) == before


@pytest.mark.parametrize("count", [7_000, 58_000])
def test_a_file_of_many_functions_is_patched_and_edited_and_comes_back(
    count: int, root: Path, command: WarmCommand
) -> None:
    """Half a megabyte and five, of statements that nothing is to be done about."""
    function = b"def function_%06d(first, second):\n    total = first + second\n    return total * 2\n\n\n"
    data = TAIL + b"".join(function % number for number in range(count))
    path = root / "many.py"
    path.write_bytes(data)
    before = snapshot(root)
    done = command("apply", root, "--format", "json")
    assert (done.code, done.err) == (0, "")
    only_ours_is_new(data, path.read_bytes())
    path.write_bytes(path.read_bytes() + b"edited = True\n")
    back = command("revert", root)
    assert (back.code, back.err) == (0, "")
    assert path.read_bytes() == data + b"edited = True\n"
    path.write_bytes(data)
    assert snapshot(root) == before
