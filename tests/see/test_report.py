"""`adampatch report`: one well-formed page that tells what was logged, and needs nothing else."""

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
from scripts import adampatch

from adampatch.report import curves
from adampatch.report.page import as_html
from adampatch.report.reading import read_log


def write(directory, number=200, updates=range(1, 1002, 100), optimizer="Adam"):
    directory.mkdir(parents=True, exist_ok=True)
    lines = []

    def row(step, variable, metric, value, rule=None):
        fields = ("step", "time", "optimizer", "variable", "metric", "value", "rule")
        values = (step, 0.0, optimizer, variable, metric, value, rule)
        lines.append(json.dumps(dict(zip(fields, values, strict=True))))

    for step in updates:
        row(step, None, "lr", 1e-3)
        row(step, None, "alpha", 1e-3 * (1 - 0.999**step) ** 0.5)
        for index in range(number):
            variable = f"layer_{index:03}/<kernel> & more"
            for part, factor in (("p05", 0.1), ("p50", 1.0), ("p95", 9.0 + index)):
                row(step, variable, f"rate_{part}", 0.01 * factor)
                row(step, variable, f"rate_{part}_active", 0.01 * factor)
            row(step, variable, "clamped_frac", 0.25 if index == 3 else 0.0)
            row(step, variable, "clamped_frac_active", 0.5 if index == 3 else 0.0)
            row(step, variable, "nonfinite", float(index == 7))
            row(step, variable, "update_rms", None)
        row(step, "layer_003/<kernel> & more", "max", 0.05, "ceiling")
    row(101, "layer_007/<kernel> & more", "alert/rate_not_finite", 1.0)
    with (directory / "adampatch.jsonl").open("a") as stream:
        stream.write("\n".join(lines) + "\n")


def parsed(page):
    head, _, body = page.partition("\n")
    assert head == "<!DOCTYPE html>"
    return ElementTree.fromstring(body)


def test_a_page_of_two_hundred_variables_is_well_formed_and_whole(tmp_path):
    write(tmp_path / "runs" / "a")
    done = adampatch("report", "runs/a", "-o", "a.html", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "a.html: 1 optimizer, 200 variables\n"), done.stderr
    page = (tmp_path / "a.html").read_text()
    tree = parsed(page)
    rows = tree.findall(".//tr")
    assert len(rows) == 201
    names = [row.find("td/code").text for row in rows[1:]]
    # what is broken first, then what is clamped, then by spread
    assert names[:3] == [f"layer_{i:03}/<kernel> & more" for i in (7, 3, 199)]
    assert len(tree.findall(".//figure")) == 12
    assert not tree.findall(".//script")
    assert not re.findall(r"(?:src|href|url\(|@import|https?://(?!www\.w3\.org/2000/svg))", page)
    assert "rate not finite of" in page
    assert len(page) < 1_000_000


def test_bounds_are_lines_and_shares_are_drawn(tmp_path):
    write(tmp_path, number=5)
    tree = parsed(as_html(read_log(tmp_path), "title"))
    namespace = "{http://www.w3.org/2000/svg}"
    bound = tree.findall(f".//{namespace}polyline[@class='bound']")
    assert [line.find(f"{namespace}title").text for line in bound] == ["ceiling: max"]
    heights = {point.split(",")[1] for point in bound[0].get("points").split()}
    assert len(heights) == 1
    assert tree.findall(f".//{namespace}polyline[@class='clamped']")


def test_optimizers_have_a_section_each_and_one_sample_is_a_point(tmp_path):
    write(tmp_path, number=1, updates=[1])
    write(tmp_path, number=1, updates=[1], optimizer="Adam#2")
    tree = parsed(as_html(read_log(tmp_path), "title"))
    assert [heading.text for heading in tree.findall(".//h2")] == ["Adam", "Adam#2"]
    assert tree.findall(".//{http://www.w3.org/2000/svg}circle")


def test_a_line_that_is_cut_off_is_left_out(tmp_path):
    write(tmp_path, number=1, updates=[1])
    with (tmp_path / "adampatch.jsonl").open("a") as stream:
        stream.write('{"step": 2, "optim')
    assert read_log(tmp_path)[0].last_step == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing",), "missing: does not exist"),
        (("empty",), "empty: has no adampatch.jsonl; train under `adampatch run --log empty`"),
        (("void",), "holds no numbers"),
        (("runs", "-o", "nowhere/a.html"), "nowhere/a.html: cannot be written"),
    ],
)
def test_bad_usage_is_said_in_a_line(tmp_path, arguments, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "void").mkdir()
    (tmp_path / "void" / "adampatch.jsonl").write_text("{}\nwords\n")
    write(tmp_path / "runs", number=1, updates=[1])
    done = adampatch("report", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr and done.stderr.startswith("error: ")


def test_the_page_lies_in_the_log_directory_by_default(tmp_path):
    write(tmp_path / "runs", number=1)
    assert adampatch("report", "runs", "-q", cwd=tmp_path).stdout == ""
    assert (tmp_path / "runs" / "report.html").is_file()


def test_ticks_are_round_numbers_within_the_bounds():
    assert curves._ticks(0, 1000, False) == [0, 200, 400, 600, 800, 1000]
    assert curves._ticks(-3.2, 2.1, True) == [-3, -2, -1, 0, 1, 2]
    assert all(0.9 <= t <= 1.1 for t in curves._ticks(0.9, 1.1, True))
