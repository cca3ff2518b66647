"""The worker process from outside: crashes, hangs, broken installations, played by small programs."""

import json
import stat
import subprocess
import sys

import pytest

from adampatch.cli import main
from adampatch.errors import AdampatchError
from adampatch.verify import lanes, report, session
from adampatch.verify.cases import Case, Optimizer
from adampatch.verify.judge import Verdict
from adampatch.verify.plan import planned
from adampatch.verify.process import Worker, WorkerFailed
from adampatch.verify.session import Result


@pytest.fixture
def playing(tmp_path):
    """A worker whose executable runs the given lines for each request, `request` being a dict."""

    def make(*lines):
        program = tmp_path / "python"
        body = "\n    ".join(lines)
        program.write_text(
            f"#!{sys.executable}\nimport json, os, sys, time\n"
            "def answer(**what): print(json.dumps(what), flush=True)\n"
            f"for line in sys.stdin:\n    request = json.loads(line)\n    {body}\n"
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        folder = tmp_path / "work"
        folder.mkdir(exist_ok=True)
        return Worker(folder, str(program))

    return make


def test_an_answer(playing):
    with playing("answer(echo=request['x'])") as worker:
        assert worker.ask({"x": 1}, 30) == {"echo": 1}
        assert worker.ask({"x": 2}, 30) == {"echo": 2}


def test_a_worker_that_dies_says_how_and_is_started_again(playing):
    with playing(
        "if request['x']: print('out of memory', file=sys.stderr, flush=True); os._exit(7)",
        "answer(pid=os.getpid())",
    ) as worker:
        first = worker.ask({"x": 0}, 30)
        with pytest.raises(WorkerFailed, match=r"exit code 7: out of memory"):
            worker.ask({"x": 1}, 30)
        assert worker.ask({"x": 0}, 30)["pid"] != first["pid"]


def test_a_worker_killed_by_a_signal(playing):
    with playing("os.kill(os.getpid(), 9)") as worker, pytest.raises(WorkerFailed, match="signal 9"):
        worker.ask({"x": 1}, 30)


def test_a_worker_that_hangs_is_ended(playing):
    with playing("if request['x']: time.sleep(600)", "answer(pid=os.getpid())") as worker:
        worker.ask({"x": 0}, 30)
        with pytest.raises(WorkerFailed, match="no answer within 1 s"):
            worker.ask({"x": 1}, 1)
        worker.ask({"x": 0}, 30)


def test_our_settings_do_not_reach_the_worker(playing, monkeypatch):
    monkeypatch.setenv("ADAMPATCH_EMIT", "off")
    monkeypatch.setenv("SOMETHING", "else")
    with playing("answer(emit=os.environ.get('ADAMPATCH_EMIT'), other=os.environ['SOMETHING'])") as worker:
        assert worker.ask({}, 30) == {"emit": None, "other": "else"}


def test_the_worker_does_not_import_from_where_the_user_stands(playing, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with playing("answer(cwd=os.getcwd())") as worker:
        assert worker.ask({}, 30) == {"cwd": str((tmp_path / "work").resolve())}


def playing_session(monkeypatch, playing, *lines):
    worker = playing(*lines)
    monkeypatch.setattr(session, "Worker", lambda *_: Worker(worker.folder, worker.executable))


def test_where_tensorflow_cannot_be_imported(monkeypatch, playing, capsys):
    playing_session(
        monkeypatch, playing, "answer(error=\"ModuleNotFoundError: No module named 'tensorflow'\")"
    )
    with pytest.raises(SystemExit) as stop:
        main(["verify"])
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert "No module named 'tensorflow'" in said.err and "pip install 'adampatch[tensorflow]'" in said.err
    assert not said.out


def test_a_case_that_kills_the_worker_is_an_error_and_the_others_still_run(monkeypatch, playing, capsys):
    playing_session(
        monkeypatch,
        playing,
        "if request['do'] == 'describe': answer(versions={}, devices=['CPU:0'])",
        "elif request['do'] == 'discover':",
        "    row = dict(family='keras3', name='Adam', reason=None)",
        "    answer(optimizers=[dict(row, path=path) for path in ('a.Adam', 'b.Adam')], unknown=[])",
        "elif request['do'] == 'calibrate': answer(error='no')",
        "elif request['case']['optimizer']['path'] == 'a.Adam': os._exit(3)",
        "else: answer(not_run='stock itself: no')",
    )
    with pytest.raises(SystemExit) as stop:
        main(["verify", "--quick", "--format", "json"])
    assert stop.value.code == 5
    document = json.loads(capsys.readouterr().out)
    verdicts = {row["optimizer"]: row["verdict"] for row in document["cases"]}
    assert verdicts == {"a.Adam": "ERROR", "b.Adam": "NOT_RUN"}
    assert {"what": "b.Adam in 4 cases", "reason": "stock itself: no"} in document["not_verified"]


@pytest.mark.parametrize("executable", ["/no/such/python", "{folder}", "{folder}/program"])
def test_what_is_no_python_is_named(executable, tmp_path, capsys):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho hello; cat > /dev/null\n")
    program.chmod(0o755)
    executable = executable.format(folder=tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["verify", "--python", executable])
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert f"error: {executable}: " in said.err and "--python" in said.err
    assert "Traceback" not in said.err and not said.out


def test_a_python_without_tensorflow_is_named(tmp_path, capsys):
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    with pytest.raises(SystemExit) as stop:
        main(["verify", "--python", str(bare / "bin" / "python")])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "No module named 'numpy'" in said or "No module named 'tensorflow'" in said
    assert "name another one with --python" in said


def test_an_error_under_a_rule_is_not_that_of_the_case_without(monkeypatch, playing, capsys):
    playing_session(
        monkeypatch,
        playing,
        "if request['do'] == 'describe': answer(versions={}, devices=['CPU:0'])",
        "elif request['do'] == 'discover':",
        "    answer(optimizers=[dict(family='keras3', name='Adam', path='a.Adam', reason=None)], unknown=[])",
        "elif request['do'] == 'calibrate': answer(error='no')",
        "elif request['case']['bounds']: answer(error='only under a rule')",
        "else: answer(not_run='no')",
    )
    with pytest.raises(SystemExit) as stop:
        main(["verify", "--quick", "--case", "a.Adam/*", "--format", "json"])
    assert stop.value.code == 5
    rows = json.loads(capsys.readouterr().out)["cases"]
    assert [(row["id"], row["verdict"], row["reason"]) for row in rows] == [
        ("a.Adam/float32/eager", "NOT_RUN", "no"),
        ("a.Adam/float32/eager/clamped", "ERROR", "only under a rule"),
    ]


def test_a_case_and_the_same_under_a_rule_share_a_run():
    every = planned([Optimizer("keras.optimizers.Adam", "keras3", "Adam")])
    cases = [case for case in every if not case.drawn]
    groups = lanes.shared_runs(cases)
    assert [case for group in groups for case in group] == cases
    pairs = [group for group in groups if len(group) == 2]
    assert len(pairs) == 8 and all(clamped.id == f"{plain.id}/clamped" for plain, clamped in pairs)
    assert all(group[0].bounds is None for group in groups)


def rows(*verdicts):
    case = Case("id", Optimizer("keras.optimizers.Adam", "keras3", "Adam"), {}, "float32", "eager")
    return Result({"versions": {}}, [(case, Verdict(verdict)) for verdict in verdicts])


GREEN = ["PASS_BITWISE"] * 30


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([*GREEN, "PASS_BOUND"], 0),
        ([*GREEN, "NOT_RUN"], 0),
        ([*GREEN, "FAIL"], 1),
        ([*GREEN, "MODEL_INVALID"], 4),
        ([*GREEN, "MODEL_INVALID", "FAIL"], 1),
        ([*GREEN, "ERROR", "FAIL"], 5),
        ([*GREEN, "INCONCLUSIVE"], 0),
        ([*GREEN, "INCONCLUSIVE", "INCONCLUSIVE"], 6),
        ([], 5),
    ],
)
def test_exit_codes(verdicts, code):
    assert report.exit_code(rows(*verdicts)) == code


def test_a_required_device_that_is_not_there():
    result = rows(*GREEN)
    result.missing_device = True
    assert report.exit_code(result) == 3
    assert report.exit_code(Result({}, missing_device=True)) == 3
    result.rows += rows("MODEL_INVALID").rows
    assert report.exit_code(result) == 4


def test_devices_are_named_one_by_one_too():
    result = Result({})
    request = session.Request(devices=frozenset({"cpu:1", "gpu:1"}))
    assert session.devices_of(result, request, ["CPU:0", "CPU:1", "GPU:0"]) == ["CPU:1"]
    assert result.missing_device
    (missing,) = [item for item in result.not_verified if item["what"] == "GPU:1"]
    assert missing["reason"] == "there is none; visible: CPU:0, CPU:1, GPU:0"


def test_numbers_that_are_not_finite_are_words_in_json():
    result = rows("FAIL")
    result.rows[0][1].error = float("inf")
    result.rows[0][1].divergence = {"expected": float("nan"), "element": [1]}
    document = report.as_document(result)
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text)["cases"][0]["first_divergence"] == {"expected": "nan", "element": [1]}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--device", "tpu"], "use cpu, gpu or all"),
        (["--device", "gpu:x"], "use cpu, gpu or all"),
        (["--seed", "-1"], "use 0 or more"),
        (["--max-inconclusive", "2"], "max-inconclusive"),
    ],
)
def test_bad_usage(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["verify", *arguments])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_errors_of_a_session_name_the_python(monkeypatch, playing):
    playing_session(monkeypatch, playing, "os._exit(1)")
    with pytest.raises(AdampatchError, match="exit code 1; nothing was verified"):
        session.verify()


def test_lanes_give_answers_in_order_each_worker_its_own_cases(playing, tmp_path):
    """Every case is answered once and in the plan's order; a file is not written again before its record
    was looked at; and which process runs which case does not depend on how long they take."""
    lines = (
        "import time, random",
        "time.sleep(random.random() / 20)",
        "number = request['case']['seed']",
        "open(request['out'], 'w').write(str(number))",
        "answer(number=number, process=os.getpid())",
    )
    with playing(*lines) as worker, lanes.Lanes(worker, 3, 30) as several:
        adam = Optimizer("keras.optimizers.Adam", "keras3", "Adam")
        groups = [(Case(str(k), adam, {}, "float32", "eager", seed=k),) for k in range(40)]
        seen, processes = [], []
        for _, answer, out in several.ran(groups, lambda case: {}):
            assert out.read_text() == str(answer["number"])
            seen.append(answer["number"])
            processes.append(answer["process"])
    assert seen == list(range(40))
    assert len(set(processes)) == 3 and all(processes[k] == processes[k % 3] for k in range(40))


def test_lanes_that_are_left_early_leave_no_process_behind(playing):
    with playing("import time; time.sleep(0.2); answer(process=os.getpid())") as worker:
        adam = Optimizer("keras.optimizers.Adam", "keras3", "Adam")
        groups = [(Case(str(k), adam, {}, "float32", "eager"),) for k in range(20)]
        with pytest.raises(RuntimeError, match="enough"), lanes.Lanes(worker, 2, 30) as several:
            for _ in several.ran(groups, lambda case: {}):
                raise RuntimeError("enough")
        workers = several._workers
        assert all(found._process is None for found in workers)


@pytest.mark.parametrize("devices, most", [(["CPU:0"], 4), (["CPU:0", "GPU:0"], 1)])
def test_a_gpu_is_for_one_worker(devices, most):
    assert 1 <= lanes.how_many(devices) <= most
