"""A training script run as `python SCRIPT` or `python -m MODULE` runs it, rewritten on the way.

Touches sys.argv, sys.path and sys.modules["__main__"]; never the files.
"""

import builtins
import importlib.machinery
import importlib.util
import os
import runpy
import sys
import types

from adampatch.importing import finding

INTERRUPTED = 130


class NotFound(Exception):
    """No such script or module; `where` and `what` in words."""

    def __init__(self, where, what):
        super(NotFound, self).__init__(where, what)
        self.where = where
        self.what = what


class Program(object):
    """What is to be run: `arguments` are the script, or the module, and its own arguments."""

    def __init__(self, arguments, as_module):
        self.arguments = list(arguments)
        self.as_module = as_module
        self.name = self.arguments[0]
        self.spec = None
        if as_module:
            self.folder = os.getcwd()
            self.path = None
            return
        path = os.path.abspath(self.name)
        if not os.path.exists(path):
            raise NotFound(self.name, "there is no such script; name a Python file, or a module after -m")
        inner = os.path.join(path, "__main__.py")
        if os.path.isdir(path):
            if not os.path.isfile(inner):
                raise NotFound(self.name, "is a directory without __main__.py; name the script in it")
            self.folder, self.path = path, inner
        else:
            self.folder, self.path = os.path.dirname(os.path.realpath(path)), path

    def prepare(self):
        """Sets sys.argv and sys.path; finds the module, importing the packages around it."""
        if getattr(sys.flags, "safe_path", False):
            sys.path.insert(0, self.folder)
        else:
            sys.path[0] = self.folder
        sys.argv = list(self.arguments)
        if self.as_module:
            sys.argv[0] = "-m"  # what `python -m` shows while it imports the packages
            self.spec = self._found()
            self.path = self.spec.origin
            sys.argv[0] = self.path

    def _found(self):
        where = "-m " + self.name
        name = self.name
        for _ in range(2):
            try:
                spec = importlib.util.find_spec(name)
            except ModuleNotFoundError as error:
                if error.name is not None and (name + ".").startswith(error.name + "."):
                    raise NotFound(where, "there is no module {}; name one that can be imported".format(name))
                raise
            except ValueError:  # imported already, without a spec
                spec = None
            if spec is None:
                raise NotFound(where, "there is no module {}; name one that can be imported".format(name))
            if spec.submodule_search_locations is None:
                break
            name += ".__main__"
        if spec.origin is None or not os.path.isfile(spec.origin):
            raise NotFound(where, "{} is no Python file that can be run".format(name))
        if isinstance(spec.loader, finding.Rewriting):
            spec.loader = importlib.machinery.SourceFileLoader(spec.name, spec.origin)
        return spec

    def run(self, installation):
        """Runs it; returns its exit code, where it does not raise SystemExit.

        Its traceback, if it ends in one, is shown without our frames.
        """
        try:
            self.prepare()
            self._execute(installation)
        except (SystemExit, NotFound):
            raise
        except BaseException as error:
            _show(error)
            return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
        return 0

    def _execute(self, installation):
        with open(self.path, "rb") as stream:
            start = stream.read(4)
        if start[:2] == b"PK" or self.path.endswith(".pyc"):
            runpy.run_path(self.path, run_name="__main__")
            return
        found = installation.rewriter.rewritten(self.path)
        if found is None:
            with open(self.path, "rb") as stream:
                code = compile(stream.read(), self.path, "exec", dont_inherit=True)
        else:
            code = finding.code_of(found, self.path)
        main = types.ModuleType("__main__")
        main.__file__ = self.path
        main.__builtins__ = builtins
        main.__loader__ = None
        if self.spec is None:
            main.__loader__ = importlib.machinery.SourceFileLoader("__main__", self.path)
        else:
            main.__spec__ = self.spec
            main.__loader__ = self.spec.loader
            main.__package__ = self.spec.parent
        main.__cached__ = None
        main._adampatch = installation.binding
        sys.modules["__main__"] = main
        exec(code, main.__dict__)


def _show(error):
    """As Python shows what nobody caught, from the script's first frame on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and trace is None:
        error.__traceback__ = None
    sys.stdout.flush()
    sys.excepthook(type(error), error.with_traceback(trace), trace)
