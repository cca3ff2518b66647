"""Reads the arrays of a checkpoint: `python worker.py CHECKPOINT OUT.npz`, where TensorFlow or h5py is.

Needs nothing of ours, and is valid on Python 3.7. OUT.npz holds the arrays as a0, a1, ... and "meta", JSON
as bytes: {"order": their names, "names": {name: full name}, "config": the optimizer's or null}.
"""

import io
import json
import sys
import zipfile

import numpy as np


def from_hdf5(path):
    """(arrays, meta) of .keras, .weights.h5 and .h5 files; raises OSError for what is none."""
    import h5py

    config = None
    opened = path
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            opened = io.BytesIO(archive.read("model.weights.h5"))
            model = json.loads(archive.read("config.json").decode("utf-8"))
        config = ((model.get("compile_config") or {}).get("optimizer")) or None
    arrays = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and "optimizer" in name.split("/")[0]:
            arrays[name] = np.asarray(item)

    with h5py.File(opened, "r") as file:
        file.visititems(visit)
        training = file.attrs.get("training_config")
        if training is not None:
            training = training.decode("utf-8") if isinstance(training, bytes) else training
            config = json.loads(training).get("optimizer_config")
    return arrays, {"names": {}, "config": config}


def from_tensorflow(path):
    """(arrays, meta) of a TensorFlow checkpoint: a prefix, or a directory of checkpoints."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(path)
    arrays, names = {}, {}
    for name in sorted(reader.get_variable_to_shape_map()):
        value = reader.get_tensor(name)
        if name == "_CHECKPOINTABLE_OBJECT_GRAPH":
            names = _full_names(value)
        elif getattr(value, "dtype", None) is not None and value.dtype.kind in "iuf":
            arrays[name] = value
        elif str(getattr(value, "dtype", "")) == "bfloat16":
            arrays[name] = value.astype(np.float32)
    return arrays, {"names": names, "config": None}


def _full_names(serialized):
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(serialized)
    return {a.checkpoint_key: a.full_name for node in graph.nodes for a in node.attributes if a.full_name}


def main(path, out):
    """Writes what `path` holds to `out`."""
    is_hdf5 = path.endswith((".keras", ".h5", ".hdf5"))
    arrays, meta = from_hdf5(path) if is_hdf5 else from_tensorflow(path)
    names = sorted(arrays)
    packed = {"a%d" % index: arrays[name] for index, name in enumerate(names)}
    packed["meta"] = np.frombuffer(json.dumps(dict(meta, order=names)).encode("utf-8"), np.uint8)
    np.savez(out, **packed)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except Exception as error:
        sys.exit("{}: {}".format(type(error).__name__, str(error).strip().split("\n")[0]))
