"""Processes that a running script starts with multiprocessing: what is installed goes along.

A forked process has it anyway; one that is spawned gets it with what it is told before its work.
"""

import multiprocessing.spawn

from adampatch.importing import install


class _Luggage(object):
    """Installs, in the process where it is unpickled, what is installed here."""

    def __init__(self, rules, modules, roots):
        self.arguments = (rules, modules, roots)

    def __reduce__(self):
        return _unpack, self.arguments


def _unpack(rules, modules, roots):
    rewriter = None
    if roots:
        from adampatch.project.importing import Rewriter

        rewriter = Rewriter(roots)
    install(rules, modules, rewriter)


def follow(installation):
    """Has processes that are spawned from now on start with the same installation."""
    stock = multiprocessing.spawn.get_preparation_data

    def get_preparation_data(name):
        data = stock(name)
        roots = getattr(installation.rewriter, "roots", ())
        data["adampatch"] = _Luggage(installation.rules, installation.modules, roots)
        return data

    multiprocessing.spawn.get_preparation_data = get_preparation_data
