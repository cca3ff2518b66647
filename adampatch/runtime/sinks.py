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
_BINS = 30
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
        self._template = None, ()

    def write(self, batch):
        """Appends the rows of a batch in one piece."""
        data = "".join(self._lines(batch)).encode("utf-8")
        # Opened each time: what a writer in another process appended stays whole.
        with open(self.path, "ab+") as stream:
            if stream.tell() and not _ends_a_line(stream):
                data = b"\n" + data  # a writer before was killed in the middle of a line
            stream.write(data)

    def _lines(self, batch):
        # What a row says beside its value is said again by every sample, and quoting it would take
        # longer than all the rest.
        keys = [(batch.optimizer, variable, metric, rule) for variable, metric, _, rule in batch.rows]
        if self._template[0] != keys:
            self._template = keys, [_around(*key) for key in keys]
        head = '{{"step": {}, "time": {}'.format(json.dumps(batch.step), json.dumps(batch.time))
        return [
            head + before + _json(row[2]) + after
            for (before, after), row in zip(self._template[1], batch.rows)
        ]


def _around(optimizer, variable, metric, rule):
    """What a line says between the time and the value, and behind it; in the order of `ROW`."""
    before = ', "optimizer": {}, "variable": {}, "metric": {}, "value": '
    return (
        before.format(json.dumps(optimizer), json.dumps(variable), json.dumps(metric)),
        ', "rule": {}}}\n'.format(json.dumps(rule)),
    )


def _ends_a_line(stream):
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) == b"\n"


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
        self._scalars = None, None

    def write(self, batch, histograms):
        """Appends one event and hands it to the system."""
        event = tf.compat.v1.Event(wall_time=batch.time, step=batch.step)
        event.summary.CopyFrom(self._summary(batch.rows))
        if histograms:
            for variable, (rates, active) in sorted(batch.samples.items()):
                found = histogram(rates[active])
                if found is not None:
                    event.summary.value.add(tag="rate_log10/" + variable, histo=found)
        if self._writer is None:
            self._writer = self._opened()
        self._append(event)

    def _summary(self, rows):
        """The rows as a Summary: that of the batch before with other values, where the tags are the same."""
        keys = [(variable, metric, rule) for variable, metric, _, rule in rows]
        if self._scalars[0] != keys:
            made = tf.compat.v1.Summary()
            for key in keys:
                made.value.add(tag=tag_of(*key))
            self._scalars = keys, made
        summary = self._scalars[1]
        for value, row in zip(summary.value, rows):
            value.simple_value = row[2]
        return summary

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
    # `np.histogram` with 30 bins, in a fifth of the time: it looks for unsorted, weighted and uneven ones
    low, high = logs.min(), logs.max()
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    places = np.minimum(((logs - low) * (_BINS / (high - low))).astype(np.intp), _BINS - 1)
    counts = np.bincount(places, minlength=_BINS)
    return tf.compat.v1.HistogramProto(
        min=logs.min(),
        max=logs.max(),
        num=logs.size,
        sum=logs.sum(),
        sum_squares=np.square(logs).sum(),
        bucket_limit=edges[1:].tolist(),
        bucket=counts.astype(np.float64).tolist(),
    )
