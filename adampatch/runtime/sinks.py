"""Where numbers go: TensorBoard event files and JSON lines, both valid after a kill.

Writes below one directory, appending; touches TensorFlow for its event format.
"""

import json
import math
import os
import socket
import threading
import time

import numpy as np

from adampatch.runtime.lazy import tf

#: the fields of a row, in the order in which they are written
ROW = ("step", "time", "optimizer", "variable", "metric", "value", "rule")
JSONL_NAME = "adampatch.jsonl"
_OPEN_LOCK = threading.RLock()
_OPEN = {}  # directory -> LogDirectory


class Batch(object):
    """The numbers of one sampled update of one optimizer.

    Attributes:
        step: number of the update, from 1; time: seconds since the epoch; optimizer: its name.
        rows: list of (variable or None, metric, value, rule or None); values are floats.
        samples: {variable: (rates, active)}, what histograms are made of.
    """

    def __init__(self, step, optimizer, rows, samples=None, now=None):
        self.step = step
        self.time = time.time() if now is None else now
        self.optimizer = optimizer
        self.rows = rows
        self.samples = samples or {}


class LogDirectory(object):
    """Both files of one directory; `write` leaves them complete."""

    def __init__(self, directory):
        self.directory = directory
        self._lock = threading.RLock()
        self._lines = JsonLines(os.path.join(directory, JSONL_NAME))
        self._events = {}  # optimizer -> EventFile
        self._written = {}  # optimizer -> the last step

    def write(self, batch, histograms=False):
        """Appends a batch; a step that the optimizer has written already is left out."""
        with self._lock:
            if self._written.get(batch.optimizer) == batch.step and not _has_alerts(batch):
                return
            self._written[batch.optimizer] = batch.step
            self._lines.write(batch)
            self._events_of(batch.optimizer).write(batch, histograms)

    def _events_of(self, optimizer):
        events = self._events.get(optimizer)
        if events is None:
            # A directory is a run to TensorBoard: the same tags of two optimizers are two curves there.
            folder = (
                self.directory if not self._events else os.path.join(self.directory, _file_name(optimizer))
            )
            events = self._events[optimizer] = EventFile(folder)
        return events


def open_directory(directory):
    """The one LogDirectory of this process for `directory`, which is made."""
    directory = os.path.abspath(os.fspath(directory))
    with _OPEN_LOCK:
        # A forked process writes files of its own.
        key = (os.getpid(), directory)
        if key not in _OPEN:
            os.makedirs(directory, exist_ok=True)
            _OPEN[key] = LogDirectory(directory)
        return _OPEN[key]


def _has_alerts(batch):
    return any(metric.startswith("alert/") for _, metric, _, _ in batch.rows)


def _file_name(words):
    return "".join(c if c.isalnum() or c in "_.-#" else "_" for c in words)


class JsonLines(object):
    """Rows as JSON objects, one a line, see `ROW`."""

    def __init__(self, path):
        self.path = path

    def write(self, batch):
        """Appends the rows of a batch in one piece."""
        data = "".join(_lines(batch)).encode("utf-8")
        # Opened each time: what a writer in another process appended stays whole.
        with open(self.path, "ab+") as stream:
            if stream.tell() and not _ends_a_line(stream):
                data = b"\n" + data  # a writer before was killed in the middle of a line
            stream.write(data)


def _ends_a_line(stream):
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) == b"\n"


def _lines(batch):
    # Names recur, and `json.dumps` of each would take longer than all the rest of a sample.
    names = {}

    def quoted(name):
        if name not in names:
            names[name] = json.dumps(name)
        return names[name]

    fields = ", ".join('"{}": {{}}'.format(name) for name in ROW)
    line = ("{{" + fields + "}}\n").format
    step, now, optimizer = json.dumps(batch.step), json.dumps(batch.time), json.dumps(batch.optimizer)
    return [
        line(step, now, optimizer, quoted(variable), quoted(metric), _json(value), quoted(rule))
        for variable, metric, value, rule in batch.rows
    ]


def _json(value):
    """JSON has no word for infinity; a number too great for a double is read as that everywhere."""
    if math.isnan(value):
        return "null"
    if math.isinf(value):
        return "1e999" if value > 0 else "-1e999"
    return repr(float(value))


class EventFile(object):
    """Records as TensorBoard reads them; tags are `metric/variable`, or `optimizer/metric`."""

    def __init__(self, folder):
        self._folder = folder
        self._writer = None

    def write(self, batch, histograms):
        """Appends one event and hands it to the system."""
        summary = tf.compat.v1.Summary()
        for variable, metric, value, rule in batch.rows:
            summary.value.add(tag=tag_of(variable, metric, rule), simple_value=value)
        if histograms:
            for variable, (rates, active) in sorted(batch.samples.items()):
                found = histogram(rates[active])
                if found is not None:
                    summary.value.add(tag="rate_log10/" + variable, histo=found)
        if self._writer is None:
            self._writer = self._opened()
        self._append(tf.compat.v1.Event(wall_time=batch.time, step=batch.step, summary=summary))

    def _opened(self):
        os.makedirs(self._folder, exist_ok=True)
        # One file a process, and a new one where a process opens twice.
        name = "events.out.tfevents.{:.6f}.{}.{}.adampatch".format(
            time.time(), socket.gethostname(), os.getpid()
        )
        self._writer = tf.io.TFRecordWriter(os.path.join(self._folder, name))
        self._append(tf.compat.v1.Event(wall_time=time.time(), file_version="brain.Event:2"))
        return self._writer

    def _append(self, event):
        self._writer.write(event.SerializeToString())
        self._writer.flush()


def tag_of(variable, metric, rule=None):
    """The tag of a number: metric first, so that TensorBoard groups the variables of one metric."""
    tag = "optimizer/" + metric if variable is None else "{}/{}".format(metric, variable)
    return tag if rule is None else "{}/{}".format(tag, rule)


def histogram(rates):
    """A HistogramProto of log10 of the rates that are positive and finite; None where none is."""
    rates = rates[np.isfinite(rates) & (rates > 0)].astype(np.float64)
    if rates.size == 0:
        return None
    logs = np.log10(rates)
    counts, edges = np.histogram(logs, bins=30)
    return tf.compat.v1.HistogramProto(
        min=logs.min(),
        max=logs.max(),
        num=logs.size,
        sum=logs.sum(),
        sum_squares=np.square(logs).sum(),
        bucket_limit=edges[1:].tolist(),
        bucket=counts.astype(np.float64).tolist(),
    )
