"""Uses an optimizer of its own and one of its package's, here and in a spawned process."""

import json
import multiprocessing
import pickle
import sys

for _name in ("adampatch", "libcst", "beniget"):
    sys.modules[_name] = None  # the tool is elsewhere

try:
    import _adampatch
except ImportError:
    _adampatch = None
EARLY = sorted({"tensorflow", "keras"} & set(sys.modules))


def make():
    import tensorflow as tf

    return tf.compat.v1.train.AdamOptimizer(0.02)


def stepped(optimizer):
    import tensorflow as tf

    tf.compat.v1.enable_eager_execution()
    w = tf.Variable([1.0, -2.0, 3.0], name="w")
    for _ in range(3):
        optimizer.apply_gradients([(tf.constant([0.5, 0.0, -2.0]), w)])
    return w.numpy().tolist()


def asked(optimizer):
    """The weights of a training, and the rates by each copy of the run time."""
    answer = {"weights": stepped(optimizer)}
    if _adampatch is not None:
        import model._adampatch

        copies = (_adampatch, model._adampatch)
        answer["modules"] = [copy.__name__ for copy in copies]
        answer["rates"] = [
            {name: rate.tolist() for name, rate in copy.effective_rates(optimizer).items()} for copy in copies
        ]
    return answer


def in_child(data, queue):
    queue.put(asked(pickle.loads(data)))


def spawned(optimizer):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=in_child, args=(pickle.dumps(optimizer), queue))
    child.start()
    answer = queue.get(timeout=120)
    child.join(120)
    return answer


def main():
    from model import making

    answers = {"early": EARLY, "script": asked(make()), "package": asked(making.make())}
    if _adampatch is not None:
        answers["spawned"] = spawned(making.make())
    with open("answers.json", "w") as stream:
        json.dump(answers, stream)


if __name__ == "__main__":
    main()
