"""Target side, a script of its own: loads a graph into the TensorFlow that is here, and says how that went.

Standard library and TensorFlow only; nothing of adampatch is imported.
"""

import json
import sys


def load(tf, request):
    """Loads the graph into a new tf.Graph; raises what TensorFlow raises."""
    v1 = tf.compat.v1
    with tf.Graph().as_default():
        if request["kind"] == "SavedModel":
            from tensorflow.core.protobuf import saved_model_pb2

            saved = saved_model_pb2.SavedModel()
            with open(request["path"] + "/saved_model.pb", "rb") as stream:
                saved.ParseFromString(stream.read())
            for meta in saved.meta_graphs:
                with tf.Graph().as_default():
                    tf.import_graph_def(meta.graph_def, name="")
            return
        message = v1.MetaGraphDef() if request["kind"] == "MetaGraphDef" else v1.GraphDef()
        with open(request["path"], "rb") as stream:
            data = stream.read()
        message.ParseFromString(data)
        if request["kind"] == "MetaGraphDef":
            v1.train.import_meta_graph(message)
        else:
            tf.import_graph_def(message, name="")


def main():
    import tensorflow as tf

    if hasattr(tf.compat.v1, "disable_eager_execution"):
        tf.compat.v1.disable_eager_execution()
    error = None
    try:
        load(tf, json.loads(sys.argv[1]))
    except Exception as caught:
        error = f"{type(caught).__name__}: {str(caught).strip().splitlines()[0][:500]}"
    sys.stdout.write("\n" + json.dumps({"tensorflow": tf.__version__, "error": error}) + "\n")


if __name__ == "__main__":
    main()
