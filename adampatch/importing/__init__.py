"""install() and uninstall(): stock optimizer classes patched in place, and modules as they are imported.

Touches classes of stock modules and sys.meta_path; imports neither TensorFlow nor, until a
module of the project needs it, the tool side.
"""

import threading

from adampatch.importing import finding, swapping
from adampatch.runtime import bind, settings

_LOCK = threading.RLock()
_current = None


class Installation(object):
    """What `install` did; also a context manager, whose end takes back what it did itself.

    Attributes:
        binding: what the patched code calls.
        modules: the globs of the project's modules, a tuple.
        swapped: {class: what it had} of stock classes patched in place.
        stays: {class: why it stays stock}.
        rewriter: what rewrites modules of the project; None where none were asked for.
    """

    def __init__(self, binding, rules, rewriter):
        self.binding = binding
        self.rules = rules
        self.modules = ()
        self.swapped = {}
        self.stays = {}
        self.rewriter = rewriter
        self.finder = finding.Finder(self)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        with _LOCK:
            if _current is self:
                uninstall()

    def swap(self, module):
        """Patches the stock classes that a module defines."""
        with _LOCK:
            if _current is self:
                swapping.swap_module(module, self.binding, self.swapped, self.stays)


class _Again(object):
    """What a second `install` gives: its end takes nothing back."""

    def __init__(self, installation):
        self.installation = installation

    def __getattr__(self, name):
        return getattr(self.installation, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def install(rules=None, modules=(), rewriter=None):
    """Patches stock optimizers in place, now or as they are imported, and modules of the project.

    `keras.optimizers.Adam` itself is then the patched class, whoever names it: strings,
    configurations, subclasses and pickles need nothing special. Instances made before are patched
    as well; functions that were traced before are not.

    Args:
        rules: a rules file, a preset, the normal form or an `adampatch.Rules`.
        modules: globs of module names, such as "myproject.*" (which takes "myproject" too):
            they are rewritten as they are imported, where they hold update sites of their own;
            files stay as they are.
        stays: {class: why it stays stock}.
        rewriter: what rewrites them; made here when there are `modules` (the tool side of
            adampatch has to be installed).

    Returns an object that is also a context manager. Idempotent: a second call adds its `modules`.

    Raises:
        ValueError: rules that cannot be obeyed, or other rules than those installed.
        RuntimeError: `modules` without the tool side.
    """
    global _current
    if isinstance(modules, str):
        modules = (modules,)
    given = None if rules is None else settings.load_rules(rules)[0]
    with _LOCK:
        if _current is not None:
            if given != _current.rules:
                raise ValueError(
                    "adampatch: install(): other rules are installed already; call "
                    "adampatch.uninstall() first"
                )
            _take_modules(_current, modules)
            return _Again(_current)
        binding = bind(None, "adampatch").derive({"rules": given})
        installation = Installation(binding, given, rewriter)
        _take_modules(installation, modules)
        _current = installation
        try:
            finding.add(installation.finder)
            for module in finding.loaded_stock_modules():
                swapping.swap_module(module, binding, installation.swapped, installation.stays)
        except BaseException:
            uninstall()
            raise
        return installation


def uninstall():
    """Puts stock classes back as they were, and rewrites no further module; what was rewritten
    stays so until it is imported anew. Nothing happens where nothing is installed."""
    global _current
    with _LOCK:
        installation, _current = _current, None
        if installation is not None:
            finding.remove(installation.finder)
            swapping.put_back(installation.swapped)


def current():
    """The Installation in force, or None."""
    return _current


def _take_modules(installation, modules):
    installation.modules = tuple(dict.fromkeys(installation.modules + tuple(modules)))
    if installation.modules and installation.rewriter is None:
        try:
            from adampatch.project.importing import Rewriter
        except ImportError as error:
            raise RuntimeError(
                "adampatch: install(modules=...): rewriting a project's modules needs the tool side here "
                "({}); `pip install adampatch` (Python >= 3.10), or patch the files with `adampatch "
                "apply`".format(error)
            )
        installation.rewriter = Rewriter()
