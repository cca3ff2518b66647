"""`adampatch graph scan|apply` on files: GraphDef and MetaGraphDef, binary and text, good and bad."""

from __future__ import annotations

import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from google.protobuf import text_format
from graphs import batches, graph_of, same_bits, serialized, trained, v1, v1_adam

from adampatch.cli import cli, main
from adampatch.graph import documents, files
from adampatch.graph.textformat import parse, printed

pytestmark = pytest.mark.tensorflow
RULES = 'version = 1\n[[rule]]\nid = "c"\nmatch = ["dense/*"]\nquantity = "rate"\nmax = 0.02\n'


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with one graph as graph.pb, graph.pbtxt, model.meta and its checkpoint."""
    folder = tmp_path_factory.mktemp("saved")
    graph = graph_of(v1_adam(sparse=True))
    with graph.as_default(), v1.Session(graph=graph) as session:
        session.run("init")
        v1.train.Saver().save(session, str(folder / "model"))
    v1.train.write_graph(graph, str(folder), "graph.pb", as_text=False)
    v1.train.write_graph(graph, str(folder), "graph.pbtxt")
    (folder / "rules.toml").write_text(RULES)
    return folder


def run(*arguments, command="graph"):
    """(exit code, stdout, stderr) of the command, errors as users see them."""
    out, err = (TextIOWrapper(BytesIO(), encoding="utf-8") for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main([command, *map(str, arguments)])
    for stream in (out, err):
        stream.seek(0)
    return ended.value.code, out.read(), err.read()


def resumed(meta, checkpoint, rates=True):
    graph = tf.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        saver = v1.train.import_meta_graph(str(meta))
        saver.restore(session, str(checkpoint))
        fetched = v1.get_collection("adampatch/rate") + v1.get_collection("adampatch/clamped")
        for x in batches(20):
            shown = session.run([v1.get_collection("train_op")[0], *fetched], {"x:0": x})[1:]
        return {v.name: session.run(v) for v in v1.global_variables()}, shown


def test_a_meta_graph_trains_on_from_its_checkpoint_to_stock_s_bits(saved, tmp_path):
    expected, none = resumed(saved / "model.meta", saved / "model")
    assert none == []
    code, out, _ = run("apply", saved / "model.meta", tmp_path / "observed.meta")
    assert code == 0 and "3 patched" in out
    found, shown = resumed(tmp_path / "observed.meta", saved / "model")
    assert same_bits(expected, found)
    assert len(shown) == 6 and not any(mask.any() for mask in shown[3:])
    code, _, _ = run("apply", saved / "model.meta", tmp_path / "bound.meta", "--rules", saved / "rules.toml")
    assert code == 0
    found, shown = resumed(tmp_path / "bound.meta", saved / "model")
    assert not same_bits(expected, found)
    kernel, bias, table = shown[:3]
    assert max(kernel.max(), bias.max()) == np.float32(0.02) and table.max() > 0.02


def test_the_saver_and_the_collections_of_a_meta_graph_are_kept(saved, tmp_path):
    run("apply", saved / "model.meta", tmp_path / "out.meta")
    before = v1.MetaGraphDef.FromString((saved / "model.meta").read_bytes())
    after = v1.MetaGraphDef.FromString((tmp_path / "out.meta").read_bytes())
    assert after.saver_def == before.saver_def and after.meta_info_def == before.meta_info_def
    for key, collection in before.collection_def.items():
        assert after.collection_def[key] == collection
    added = set(after.collection_def) - set(before.collection_def)
    assert added == {f"adampatch/{q}" for q in ("rate", "alpha", "update", "clamped")}
    assert after.collection_def["adampatch/rate"].node_list.value[0] == (
        "Adam/update_dense/kernel/ResourceApplyAdam/adampatch/rate:0"
    )


def test_text_and_binary_say_the_same(saved, tmp_path):
    for name in ("graph.pb", "graph.pbtxt"):
        assert run("apply", saved / name, tmp_path / name, "--rules", saved / "rules.toml")[0] == 0
    binary = v1.GraphDef.FromString((tmp_path / "graph.pb").read_bytes())
    text = text_format.Parse((tmp_path / "graph.pbtxt").read_text(), v1.GraphDef())
    assert binary == text
    assert same_bits(trained((tmp_path / "graph.pb").read_bytes())[0], trained(text.SerializeToString())[0])


def test_the_text_form_is_read_and_written_as_tensorflow_does(saved):
    text = (saved / "graph.pbtxt").read_bytes()
    message = text_format.Parse(text.decode(), v1.GraphDef())
    wire = parse(text, "GraphDef")
    assert v1.GraphDef.FromString(wire) == message
    assert text_format.Parse(printed(wire, "GraphDef"), v1.GraphDef()) == message
    meta = v1.MetaGraphDef.FromString((saved / "model.meta").read_bytes())
    wire = parse(text_format.MessageToString(meta).encode(), "MetaGraphDef")
    assert v1.MetaGraphDef.FromString(wire) == meta
    assert text_format.Parse(printed(meta.SerializeToString(), "MetaGraphDef"), v1.MetaGraphDef()) == meta


def test_odd_spellings_of_the_text_form():
    text = """# a comment
    node < name: 'a' "b" op: "Const" attr { key: "value" value { tensor { dtype: DT_FLOAT
      tensor_shape { } float_val: [1.5, -2e3, inf] string_val: "\\001\\xff\\n\\"" } } };
      attr: { key: "n", value: { i: -0x10 } } >
    versions { producer: 27 }"""
    message = text_format.Parse(text, v1.GraphDef())
    assert v1.GraphDef.FromString(parse(text.encode(), "GraphDef")) == message


def test_what_is_not_patched_keeps_its_bytes(saved):
    for name in ("graph.pb", "model.meta"):
        document, data = files.read(files.located(str(saved / name)))
        assert document.serialized() == data


def test_scan_reports_and_changes_nothing(saved):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    code, out, _ = run("scan", saved / "model.meta", "--format", "json", "--exit-code")
    report = json.loads(out)
    assert code == 0 and report["schema"] == "adampatch/graph/1" and report["format"] == "MetaGraphDef"
    assert report["summary"] == {"sites": 3, "patchable": 3, "patched": 0, "refused": 0, "already": 0}
    first = report["sites"][0]
    assert first["variable"] == "dense/kernel" and first["kind"] == "fused" and first["dtype"] == "float32"
    assert first["rate"] == "lr*sqrt(1-beta2_power) / (1-beta1_power) / (sqrt(v)+epsilon)"
    assert report["sites"][2]["kind"] == "open"
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_in_place_keeps_the_original_for_revert(saved, tmp_path):
    original = (saved / "graph.pb").read_bytes()
    target = tmp_path / "graph.pb"
    target.write_bytes(original)
    assert run("apply", target)[0] == 2
    assert run("apply", target, target)[0] == 2
    assert target.read_bytes() == original
    assert run("apply", target, "--in-place")[0] == 0
    assert target.read_bytes() != original
    patched = target.read_bytes()
    assert run("apply", target, "--in-place")[0] == 0
    assert target.read_bytes() == patched
    done = CliRunner().invoke(cli, ["revert", str(tmp_path)])
    assert done.exit_code == 0 and target.read_bytes() == original
    assert not (tmp_path / ".adampatch").exists()


def test_a_graph_without_an_optimizer_of_the_family_is_copied_as_it_is(saved, tmp_path):
    graph = tf.Graph()
    with graph.as_default():
        tf.constant(1.0)
    data = serialized(graph)
    (tmp_path / "in.pb").write_bytes(data)
    code, out, _ = run("apply", tmp_path / "in.pb", tmp_path / "out.pb")
    assert code == 0 and "Nothing was patched" in out
    assert (tmp_path / "out.pb").read_bytes() == data


def _large(path):
    with open(path, "wb") as stream:
        stream.truncate(2**31)


BAD = {
    "nothing": ("x.pb", b"", "is empty"),
    "truncated": ("x.pb", None, "is no GraphDef, or is damaged"),
    "an image": ("x.pb", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "is no GraphDef, or is damaged"),
    "a meta graph of noise": ("x.meta", bytes(range(1, 200)) * 3, "is no graph in text form"),
    "prose": ("x.pbtxt", b"Dear reader,\n", "x.pbtxt:1: is no"),
    "half a text": ("x.pbtxt", b'node {\n name: "a"\n op: "b"\n', "is not closed"),
    "a wrong value": ("x.pbtxt", b"node {\n name: 3\n}\n", "x.pbtxt:2"),
    "a wrong field": ("x.pbtxt", b'node {\n  nam: "a"\n}\n', "nam is no field of a NodeDef"),
    "two nodes of one name": ("x.pbtxt", b'node { name: "a" op: "NoOp" }\n' * 2, "two nodes are called 'a'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_end_with_a_clear_error(case, saved, tmp_path):
    name, content, words = BAD[case]
    if content is None:
        content = (saved / "graph.pb").read_bytes()[:-7]
    (tmp_path / name).write_bytes(content)
    for arguments in (["scan", tmp_path / name], ["apply", tmp_path / name, tmp_path / "out.pb"]):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ") and words in err and "internal error" not in err
    assert (tmp_path / name).read_bytes() == content and not (tmp_path / "out.pb").exists()


def test_more_than_two_gib_is_told_before_it_is_read(tmp_path):
    _large(tmp_path / "x.pb")
    code, _, err = run("scan", tmp_path / "x.pb")
    assert code == 2 and "2.0 GiB" in err


def test_every_truncation_is_an_error_or_a_smaller_graph(saved, tmp_path):
    data = (saved / "model.meta").read_bytes()
    random = np.random.RandomState(1)
    for length in sorted(random.randint(0, len(data), 60)):
        (tmp_path / "x.meta").write_bytes(data[:length])
        code, _, err = run("scan", tmp_path / "x.meta")
        assert code in (0, 2) and "internal error" not in err, (length, err)
    for _ in range(60):
        broken = bytearray(data)
        for place in random.randint(0, len(data), 3):
            broken[place] ^= 1 << random.randint(8)
        (tmp_path / "x.meta").write_bytes(bytes(broken))
        code, _, err = run("scan", tmp_path / "x.meta")
        assert code in (0, 2) and "internal error" not in err, err


def test_rules_that_graphs_cannot_hold_are_said(saved, tmp_path):
    (tmp_path / "rules.toml").write_text(RULES.replace("max = 0.02", 'max = 0.02\nquantity_ = "x"'))
    assert run("apply", saved / "graph.pb", tmp_path / "o.pb", "--rules", tmp_path / "rules.toml")[0] == 2
    (tmp_path / "rules.toml").write_text(RULES.replace("dense/*", "encoder/*"))
    code, _, err = run("apply", saved / "graph.pb", tmp_path / "o.pb", "--rules", tmp_path / "rules.toml")
    assert code == 2 and "'encoder/*' matches no variable" in err and "dense/kernel" in err
    assert not (tmp_path / "o.pb").exists()


def test_python_has_a_tensorflow_load_the_result_first(saved, tmp_path):
    done = run("apply", saved / "model.meta", tmp_path / "out.meta", "--python", sys.executable)
    assert done[0] == 0
    code, _, err = run("apply", saved / "model.meta", tmp_path / "no.meta", "--python", os.devnull)
    assert code == 2 and "/dev/null" in err and not (tmp_path / "no.meta").exists()


def test_the_result_of_a_patch_is_never_over_two_gib(saved, monkeypatch, tmp_path):
    monkeypatch.setattr(documents, "LARGEST", 1000)
    code, _, err = run("apply", saved / "graph.pb", tmp_path / "out.pb")
    assert code == 2 and "2 GiB when patched" in err and not (tmp_path / "out.pb").exists()
