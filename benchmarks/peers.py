"""What an Adam step costs elsewhere: TensorFlow's families, optax, torch, and memory itself.

A peer that is not installed is None, and is said as missing. Every step updates float32 variables of
the sizes given, with gradients that stay as they are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.pairs import Step

Sizes = Sequence[int | tuple[int, ...]]
#: bytes that one element's step has to move: four numbers read, three written
FLOOR_BYTES = 28


def arrays(sizes: Sizes) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """Gradients or weights, one array of each size; the same for each size in one run."""
    random = np.random.default_rng(0)
    return [random.standard_normal(size, dtype=np.float32) for size in sizes]


def keras3(make: Callable[[], Any], sizes: Sizes, eager: bool = False) -> Step:
    """One step of a Keras 3 optimizer, in a ``tf.function`` unless eager."""
    import keras
    import tensorflow as tf

    optimizer = make()
    variables = [keras.Variable(x) for x in arrays(sizes)]
    gradients = [tf.constant(x) for x in arrays(sizes)]
    optimizer.build(variables)

    def step() -> None:
        optimizer.apply(gradients, variables)

    run = step if eager else tf.function(step)
    return lambda: run() and None


def older(make: Callable[[], Any], sizes: Sizes) -> Step:
    """One step of an optimizer that has ``apply_gradients`` alone (V1, OptimizerV2, Keras 2), in a
    ``tf.function``."""
    import tensorflow as tf

    optimizer = make()
    variables = [tf.Variable(x, name=f"w{i}") for i, x in enumerate(arrays(sizes))]
    gradients = [tf.constant(x) for x in arrays(sizes)]

    @tf.function
    def run() -> None:
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    return lambda: run() and None


def session(make: Callable[[], Any], sizes: Sizes) -> Step:
    """One step of a ``tf.compat.v1.train`` optimizer in a graph and a session."""
    import tensorflow as tf

    v1 = tf.compat.v1
    graph = tf.Graph()
    with graph.as_default():
        variables = [
            v1.get_variable(f"w{i}", initializer=x, use_resource=True) for i, x in enumerate(arrays(sizes))
        ]
        gradients = [
            v1.get_variable(f"g{i}", initializer=x, use_resource=True) for i, x in enumerate(arrays(sizes))
        ]
        pairs = [(g.read_value(), w) for g, w in zip(gradients, variables, strict=True)]
        train = make().apply_gradients(pairs)
        initial = v1.global_variables_initializer()
    running = v1.Session(graph=graph)
    running.run(initial)
    step = running.make_callable(train)
    return lambda: step() and None


def optax(sizes: Sizes, ceiling: float | None = None, device: str = "cpu") -> Step | None:
    """``optax.adam`` in one ``jax.jit`` that may take its arguments' memory; with the rate bounded by hand
    where a ceiling is given. None where it or its device ("cpu", "cuda") is missing."""
    if not (find_spec("jax") and find_spec("optax")):
        return None
    import jax
    import jax.numpy as jnp
    import optax as library

    try:
        place = jax.devices(device)[0]
    except RuntimeError:
        return None
    adam = library.adam(1e-3)
    gradients = [jax.device_put(x, place) for x in arrays(sizes)]
    weights = [jax.device_put(x, place) for x in arrays(sizes)]
    state = adam.init(weights)

    def plain(weights: Any, state: Any, gradients: Any) -> Any:
        updates, state = adam.update(gradients, state, weights)
        return library.apply_updates(weights, updates), state

    def bounded(weights: Any, state: Any, gradients: Any) -> Any:
        _, state = adam.update(gradients, state, weights)
        first = state[0]
        c1, c2 = 1 - 0.9**first.count, 1 - 0.999**first.count

        def moved(w: Any, m: Any, v: Any) -> Any:
            return w - jnp.minimum(1e-3 / c1 / (jnp.sqrt(v / c2) + 1e-8), ceiling) * m

        return jax.tree.map(moved, weights, first.mu, first.nu), state

    run = jax.jit(plain if ceiling is None else bounded, donate_argnums=(0, 1))
    held = [weights, state]

    def step() -> None:
        held[0], held[1] = run(held[0], held[1], gradients)
        jax.block_until_ready(held[0])

    return step


def torch(sizes: Sizes, device: str = "cpu") -> Step | None:
    """``torch.optim.Adam(fused=True)``; None where it or its device ("cpu", "cuda") is missing."""
    if not find_spec("torch"):
        return None
    import torch as library

    if device == "cuda" and not library.cuda.is_available():
        return None
    weights = [library.tensor(x, device=device, requires_grad=True) for x in arrays(sizes)]
    for weight, x in zip(weights, arrays(sizes), strict=True):
        weight.grad = library.tensor(x, device=device)
    optimizer = library.optim.Adam(weights, fused=True)
    if device == "cpu":
        return optimizer.step

    def step() -> None:
        optimizer.step()
        library.cuda.synchronize()

    return step


def memory_floor(elements: int, threads: int = 2) -> Step:
    """Moves as many bytes as a step has to: half of them read, half of them written, by plain copies."""
    half = FLOOR_BYTES // 2
    source = np.ones(elements * half, np.uint8)
    target = np.zeros_like(source)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))

    def step() -> None:
        workers = [threading.Thread(target=np.copyto, args=(into, out)) for out, into in parts]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return step
