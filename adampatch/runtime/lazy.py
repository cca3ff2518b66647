"""Modules that are imported when they are first needed: patched code is often imported before the
script has set what TensorFlow reads at its own import (CUDA_VISIBLE_DEVICES, KERAS_BACKEND).
"""

import importlib
import types


class Lazy(types.ModuleType):
    """Stands for the module `name`; keeps what it was asked for."""

    def __getattr__(self, attribute):
        value = getattr(importlib.import_module(self.__name__), attribute)
        self.__dict__[attribute] = value
        return value


tf = Lazy("tensorflow")
