"""What users are told: snapshots where Keras wraps the step, and errors that name the real reason."""

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")


def fitted(opt, **compiling):
    x = np.random.RandomState(0).randn(32, 4).astype("f")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(opt, "mse", **compiling)
    model.fit(x, x[:, :1], batch_size=8, epochs=2, shuffle=False, verbose=0)
    return [v.numpy() for v in model.variables + opt.variables]


def test_several_steps_per_execution_under_jit_are_sampled():
    """The branch of Keras's loop is outside of the compiled step and costs no bits."""
    from adampatch import patched, snapshot

    stock = fitted(keras.optimizers.Adam(0.01), jit_compile=True, steps_per_execution=3)
    ours = patched(keras.optimizers.Adam(0.01), every=2)
    end = fitted(ours, jit_compile=True, steps_per_execution=3)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(stock, end, strict=True))
    assert snapshot(ours)["step"] == 7


def test_no_snapshot_of_a_compiled_branch_names_the_reason():
    from adampatch import NotYetAvailable, patched, snapshot

    ours = patched(keras.optimizers.Adam(0.01, gradient_accumulation_steps=2))
    fitted(ours, jit_compile=True)
    with pytest.raises(NotYetAvailable, match=r'gradient accumulation.* jit_compile .*emit="tensor"'):
        snapshot(ours)


def test_a_stock_optimizer_is_said_to_be_stock():
    from adampatch import NotYetAvailable, effective_rates, patched, snapshot

    stock = keras.optimizers.Adam(0.01)
    fitted(stock)
    for read in (effective_rates, snapshot):
        with pytest.raises(NotYetAvailable, match="of Adam: it is no patched optimizer"):
            read(stock)
        with pytest.raises(NotYetAvailable, match="one update"):
            read(patched(keras.optimizers.Adam(0.01), emit="tensor"))


@pytest.mark.parametrize("name", ["nosuch.json", "nosuch.toml"])
def test_a_bad_rules_file_of_the_environment_names_the_setting(name, monkeypatch):
    from adampatch.runtime import settings

    with pytest.raises(ValueError, match=name + ".*named by ADAMPATCH_RULES"):
        settings.resolve(None, {}, {"ADAMPATCH_RULES": name})


def test_a_pattern_of_another_optimizer_says_what_to_do(rules):
    from adampatch import patched

    ours = patched(keras.optimizers.Adam(0.01), rules=rules(high=1.0, match=["generator/**"]))
    with pytest.raises(ValueError, match=r"another optimizer.*patched\(optimizer, rules=\.\.\.\)"):
        fitted(ours)


def test_patching_under_a_trained_model_says_to_compile_again():
    """Keras keeps the stock step that it traced; nothing of ours is in it."""
    from adampatch import NotYetAvailable, patched, snapshot

    x = np.ones((8, 3), "f")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile("adam", "mse")
    model.fit(x, x, verbose=0)
    patched(model.optimizer)
    model.fit(x, x, verbose=0)
    with pytest.raises(NotYetAvailable, match=r"trained before .* model.compile again"):
        snapshot(model.optimizer)
    model.compile(model.optimizer, "mse")
    model.fit(x, x, verbose=0)
    assert snapshot(model.optimizer)["step"] == 3
