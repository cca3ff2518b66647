"""What was logged, as readers see it."""

import json


def rows(directory):
    """The rows of a directory's JSON lines."""
    return [json.loads(line) for line in (directory / "adampatch.jsonl").read_text().splitlines()]


def series(directory, metric, variable=None):
    """{step: value} of one metric of the first optimizer."""
    found = rows(directory)
    return {
        row["step"]: row["value"]
        for row in found
        if (row["metric"], row["variable"], row["optimizer"]) == (metric, variable, found[0]["optimizer"])
    }


def events(directory):
    """{tag: {step: value}} of a directory's event files, and the tags of its histograms."""
    import tensorflow as tf

    scalars, histograms = {}, set()
    for path in sorted(directory.glob("events.out.tfevents.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.HasField("histo"):
                    histograms.add(value.tag)
                else:
                    scalars.setdefault(value.tag, {})[event.step] = value.simple_value
    return scalars, histograms


def tensorboard(directory):
    """The same as TensorBoard's own reader has it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    accumulator.Reload()
    tags = accumulator.Tags()
    scalars = {tag: {e.step: e.value for e in accumulator.Scalars(tag)} for tag in tags["scalars"]}
    return scalars, set(tags["histograms"])
