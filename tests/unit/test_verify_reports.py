"""Reports as files, and verifications carried in a file from one machine to another."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from adampatch.errors import AdampatchError
from adampatch.verify import carrying, rendering, report
from adampatch.verify.cases import Case, Optimizer, Rule, numbers
from adampatch.verify.judge import Verdict
from adampatch.verify.plan import planned
from adampatch.verify.session import Request, Result

ADAM = Optimizer("keras.optimizers.Adam", "keras3", "Adam")
DIVERGENCE = {"run": "cross", "step": 3, "quantity": "v", "expected": 1.0, "observed": float("nan")}


def case(name, dtype="float32", mode="eager"):
    return Case(name, ADAM, {}, dtype, mode)


@pytest.fixture
def document():
    rows = [
        (case("a/<green>"), Verdict("PASS_BITWISE", error=0.96)),
        (case("b", mode="xla"), Verdict("FAIL", error=float("inf"), divergence=DIVERGENCE)),
        (case("c", "bfloat16"), Verdict("INCONCLUSIVE", reason="stock | does not\nmove")),
        (case("d", "float64"), Verdict("NOT_RUN", reason="stock itself: \x1b[31mno")),
        (case("e", "float64", "function"), Verdict("ERROR", reason="signal 9")),
    ]
    result = Result({"versions": {"tensorflow": "2.21.0"}}, rows, [{"what": "GPU", "reason": "none visible"}])
    return report.as_document(result)


def test_json_is_the_document(document, tmp_path):
    rendering.write(tmp_path / "r.json", document)
    assert json.loads((tmp_path / "r.json").read_text()) == document


def test_a_report_names_the_gpus_it_is_of(document):
    document["environment"]["accelerators"] = {
        "GPU:0": "NVIDIA H200, compute capability 9.0",
        "driver": "550.54",
    }
    for text in (rendering.as_markdown(document), rendering.as_html(document)):
        assert "tensorflow 2.21.0; GPU:0 NVIDIA H200, compute capability 9.0; driver 550.54." in text


def test_junit_counts_what_it_holds(document):
    suite = ElementTree.fromstring(rendering.as_junit(document)).find("testsuite")
    counts = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": 5, "failures": 1, "errors": 1, "skipped": 2}
    by_name = {test.get("name"): test for test in suite}
    assert by_name["a/<green>"].get("classname") == "keras.optimizers.Adam"
    assert list(by_name["a/<green>"]) == []
    assert "quantity v" in by_name["b"].find("failure").text
    assert by_name["e"].find("error").get("message") == "signal 9"
    assert by_name["d"].find("skipped").get("message") == "stock itself: [31mno"


def test_markdown_keeps_its_tables_whole(document):
    text = rendering.as_markdown(document)
    assert "| c | INCONCLUSIVE | stock \\| does not move |" in text
    assert "| b | FAIL | run cross, step 3, quantity v" in text
    assert "| keras.optimizers.Adam | 4 | 1 | 1 | inf |" in text
    assert "| GPU | none visible |" in text


def test_html_is_one_page_with_a_map_and_no_scripts(document):
    text = rendering.as_html(document)
    assert not re.search(r"<script|<link|src=|https?:|url\(", text)
    assert "<green>" not in text and text.count("<h2>") == 4
    table = re.search(r'<table class="map">.*?</table>', text).group()
    assert re.findall(r"<th>(\w+)</th>", table) == [
        "eager", "function", "xla", "bfloat16", "float32", "float64",
    ]  # fmt: skip
    row = re.search(r"<th>float32</th>(.*?)</tr>", table).group(1)
    assert "0.96<br><small>1 of 1" in row and 'class="wrong"' in row
    assert 'class="open"' in re.search(r"<th>bfloat16</th>(.*?)</tr>", table).group(1)
    assert "not run" in re.search(r"<th>float64</th>(.*?)</tr>", table).group(1)


@pytest.mark.parametrize(("name", "words"), [("r.txt", "end it in .json, .md"), ("no/r.md", "that is there")])
def test_a_report_that_cannot_be_written_is_refused_before_anything_runs(tmp_path, name, words):
    with pytest.raises(AdampatchError, match=words):
        rendering.check(tmp_path / name)


def test_cases_come_back_with_their_numbers_and_verdicts(tmp_path):
    cases = planned([ADAM], quick=True, seed=5, rules=[Rule("ceiling", (None, 0.1))])
    rows = [(c, Verdict("PASS_BOUND", error=0.5, divergence=None)) for c in cases]
    carrying.export(tmp_path / "cases.npz", rows, {"versions": {"tensorflow": "2.21.0"}})
    found = carrying.replay(tmp_path / "cases.npz")
    assert found.rows == rows
    assert found.environment["versions"]["tensorflow"] == "2.21.0"
    for again in found.on(["CPU:0", "GPU:0"]):
        original = next(c for c in cases if again.id in (c.id, f"{c.id}/GPU:0"))
        assert (again.device == "GPU:0") == again.id.endswith("/GPU:0")
        for name, array in numbers(original).items():
            np.testing.assert_array_equal(found.numbers_of(again)[name], array)


@pytest.mark.parametrize("content", [b"", b"not a zip", None], ids=["empty", "text", "another npz"])
def test_a_file_that_carries_nothing_is_named(tmp_path, content):
    path = tmp_path / "other.npz"
    if content is None:
        np.savez(path, x=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(AdampatchError, match=r"other\.npz: .*--export"):
        carrying.replay(path)


def test_rules_take_the_place_of_our_own_bounds():
    rules = [Rule("ceiling", (None, 0.1)), Rule("floor", (1e-4, None))]
    cases = planned([ADAM], quick=True, rules=rules)
    assert [(c.id.rpartition("/")[2], c.bounds) for c in cases if c.bounds] == [
        ("clamped:ceiling", (None, 0.1)), ("clamped:floor", (1e-4, None)),
    ] * 2  # fmt: skip
    assert sum(c.bounds is None for c in cases) == 2


def test_the_plan_is_said_in_one_line():
    words = report.plan_in_words(planned([ADAM], quick=True), 3)
    assert words.startswith("plan: 4 cases of 1 optimizer; float32; eager; dense; 2 under a rule; CPU:0")
    assert words.endswith("seed 3; 1 worker, about 1 s")
    assert "minutes" in report.plan_in_words(planned([ADAM], full=True), 0)
    assert report.plan_in_words([], 0) == "plan: no case"


def test_what_is_intended_is_said_before_anything_is_imported():
    words = report.outlook_in_words(Request(quick=True, executable="python"), {"tensorflow": "2.21.0"})
    assert words.startswith("verify: two cases of each optimizer; tensorflow 2.21.0 of python;")
    assert "all triples; no TensorFlow seen" in report.outlook_in_words(Request(full=True), {})
    assert "uses of src;" in report.outlook_in_words(Request(), {}, "src")


def test_degenerate_formats_are_no_reason_for_doubt():
    radam = Optimizer("tensorflow_addons.optimizers.RectifiedAdam", "v2", "RectifiedAdam")
    doubtful = [(Case("x", radam, {}, dtype, "eager"), Verdict("INCONCLUSIVE")) for dtype in ("float16",) * 9]
    assert report.exit_code(Result({}, doubtful)) == 0
    plain = [(Case("x", radam, {}, "float32", "eager"), Verdict("INCONCLUSIVE"))]
    assert report.exit_code(Result({}, plain)) == 6
