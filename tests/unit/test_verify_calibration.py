"""Measured accuracy of operations, on answers that NumPy makes."""

import math

import numpy as np
import pytest

from adampatch.verify import calibration
from adampatch.verify.ball import EXACT
from adampatch.verify.formats import FORMATS


def answers(dtype, sqrt=np.sqrt):
    form = FORMATS[dtype]
    given = calibration.operands(dtype)

    def bits(value):
        rounded = np.asarray(form.rounded(value))
        if dtype == "bfloat16":
            return (rounded.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        return rounded.astype(dtype).view(f"u{form.bits // 8}")

    wide = {name: value.astype(form.wide) for name, value in given.items()}
    return given, {
        "divide": bits(wide["x"] / wide["y"]),
        "sqrt": bits(sqrt(wide["x"])),
        "power": bits(wide["base"] ** wide["exponent"]),
    }


@pytest.mark.parametrize("dtype", FORMATS)
def test_correctly_rounded_operations_are_exact(dtype):
    assert calibration.measured(dtype, *answers(dtype)) == EXACT


def test_an_approximate_root_widens_the_root_alone():
    given, bits = answers("float32", sqrt=lambda x: np.sqrt(x) * (1 + 3 * 2.0**-24))
    found = calibration.measured("float32", given, bits)
    assert 3 <= found.sqrt <= 4.01 * 1.25
    assert (found.divide, found.power) == (EXACT.divide, EXACT.power)


def test_a_root_that_is_not_a_number_bounds_nothing():
    given, bits = answers("float32", sqrt=lambda x: np.where(x > 3.99, np.nan, np.sqrt(x)))
    assert calibration.measured("float32", given, bits).sqrt == math.inf


def test_all_roots_are_all_mantissas_of_two_exponents():
    x = calibration.all_roots()
    assert x.size == 2**24 and x[0] == 1 and x[-1] < 4 and np.all(np.diff(x) > 0)
    assert calibration.measured_roots(np.sqrt(x).view(np.uint32)) <= 1
