"""The import hook: which modules it takes, and what it does when one is executed.

Touches sys.meta_path and the specs of modules that are being imported.
"""

import fnmatch
import importlib.machinery
import linecache
import sys
import types

from adampatch.importing import swapping
from adampatch.runtime import draining


def add(finder):
    """Puts a finder first, where it sees every import."""
    if finder not in sys.meta_path:
        sys.meta_path.insert(0, finder)


def remove(finder):
    """Takes it out again."""
    if finder in sys.meta_path:
        sys.meta_path.remove(finder)


def loaded_stock_modules():
    """Modules imported already in which stock optimizers may be defined."""
    # Lazy modules import what they stand for when they are asked for anything.
    found = [(name, module) for name, module in list(sys.modules.items()) if swapping.is_stock(name)]
    return [module for name, module in found if getattr(module, "__name__", None) == name]


class Finder(object):
    """Finds modules as the finders after it do, and has those it is for loaded in its own way."""

    def __init__(self, installation):
        self.installation = installation

    def find_spec(self, name, path=None, target=None):
        """See importlib.abc.MetaPathFinder."""
        draining.prepare()
        stock = swapping.is_stock(name)
        if not stock and not self.installation.modules and self.installation.rewriter is None:
            return None
        if not stock and not self._may_take(name):
            return None
        spec = self._found(name, path, target)
        if spec is None or not hasattr(spec.loader, "exec_module"):
            return spec
        if stock:
            spec.loader = _Swapping(spec.loader, self.installation)
        elif type(spec.loader) is importlib.machinery.SourceFileLoader and self._takes(name, spec.origin):
            spec.loader = Rewriting(name, spec.loader.path, self.installation)
        return spec

    def invalidate_caches(self):
        """The others' caches are the others'."""

    def _found(self, name, path, target):
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if finder is not self and find is not None:
                spec = find(name, path, target)
                if spec is not None:
                    return spec
        return None

    def _may_take(self, name):
        return named(name, self.installation.modules) or getattr(self.installation.rewriter, "roots", ())

    def _takes(self, name, origin):
        if named(name, self.installation.modules):
            return True
        return origin is not None and self.installation.rewriter.is_of_project(origin)


def named(name, globs):
    """Whether a module's name matches one of `globs`; "a.*" takes "a" too."""
    return any(
        fnmatch.fnmatchcase(name, glob) or (glob.endswith(".*") and name == glob[:-2]) for glob in globs
    )


class _Swapping(object):
    """Executes a stock module as its own loader does, then patches its classes."""

    def __init__(self, loader, installation):
        self._loader = loader
        self._installation = installation

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        """See importlib.abc.Loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module):
        """See importlib.abc.Loader."""
        # Whoever asks the module later (inspect, pkgutil, reload) meets its own loader.
        module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._installation.swap(module)


class Rewriting(importlib.machinery.SourceFileLoader):
    """Loads a module of the project from its text as rewritten in memory.

    Nothing is written, and no .pyc is read or written for a module that changes.
    """

    def __init__(self, name, path, installation):
        super(Rewriting, self).__init__(name, path)
        self.installation = installation

    def get_code(self, fullname):
        """The code of the rewritten text, else of the file, as ever."""
        found = self.installation.rewriter.rewritten(self.path)
        if found is None:
            return super(Rewriting, self).get_code(fullname)
        return code_of(found, self.path)

    def create_module(self, spec):
        """See importlib.abc.Loader. `exec_module` stays importlib's own, which tracebacks leave out."""
        module = types.ModuleType(spec.name)
        module._adampatch = self.installation.binding
        return module

    def __reduce__(self):
        # `importlib.reload` of a copy elsewhere finds the file by itself
        return importlib.machinery.SourceFileLoader, (self.name, self.path)


def code_of(found, path):
    """The code object of a rewritten module; tracebacks, debuggers and AutoGraph are shown its text."""
    # Without a time of change: checkcache would else read the file again.
    linecache.cache[path] = (len(found.text), None, found.text.splitlines(True), path)
    return found.code
