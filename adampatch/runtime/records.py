"""What is remembered per optimizer: settings, names, rules, samples waiting, our variables.

Touches no TensorFlow itself; the side table here is the only place an optimizer is tied to our state.
"""

import threading
import warnings
import weakref

from adampatch.runtime import matching, rule_state, settings, worlds

_LOCK = threading.RLock()
_TABLE = {}  # id(optimizer) -> _Entry
_WARNED = set()


def warn_once(key, message):
    """Warns, once per process and key; observation never stops training."""
    with _LOCK:
        if key in _WARNED:
            return
        _WARNED.add(key)
    warnings.warn("adampatch: " + message, RuntimeWarning, stacklevel=3)


class _Entry(object):
    def __init__(self, reference):
        self.reference = reference
        self.given = {}
        self.group = None
        self.records = {}  # id(binding) -> Record; bindings live as long as the process


def _entry(optimizer, create):
    # Not a WeakKeyDictionary: an optimizer may define __eq__ and then has no hash.
    key = id(optimizer)
    with _LOCK:
        entry = _TABLE.get(key)
        if entry is not None and entry.reference() is optimizer:
            return entry
        if not create:
            return None

        def forget(reference, key=key):
            with _LOCK:
                found = _TABLE.get(key)
                if found is not None and found.reference is reference:
                    del _TABLE[key]

        entry = _TABLE[key] = _Entry(weakref.ref(optimizer, forget))
        return entry


def give(optimizer, given):
    """Sets what `patched(instance, rules=, emit=, every=)` said; validates it at once."""
    given = {k: v for k, v in given.items() if v is not None}
    if not given:
        return
    settings.resolve(None, given, {})
    with _LOCK:
        entry = _entry(optimizer, create=True)
        entry.given = dict(entry.given, **given)
        entry.records.clear()


def join(optimizers):
    """Makes optimizers patched together one Group; a lone one stays as it is."""
    if len(optimizers) < 2:
        return
    group = Group(len(optimizers))
    with _LOCK:
        for optimizer in optimizers:
            entry = _entry(optimizer, create=True)
            entry.group = group
            for record in entry.records.values():
                record.group = group


def given(optimizer):
    """What `give` was told for this optimizer, a copy."""
    entry = _entry(optimizer, create=False)
    return dict(entry.given) if entry is not None else {}


def find(optimizer):
    """The records of one optimizer, one per binding whose code it runs."""
    entry = _entry(optimizer, create=False)
    return list(entry.records.values()) if entry is not None else []


def record_of(optimizer, binding):
    """The Record of `optimizer` for the code of `binding`, made (and settings resolved) on first use."""
    entry = _entry(optimizer, create=True)
    record = entry.records.get(id(binding))
    if record is None:
        with _LOCK:
            record = entry.records.get(id(binding))
            if record is None:
                merged = dict(binding.given, **entry.given)
                record = Record(type(optimizer).__name__, settings.resolve(binding.rules, merged))
                record.group = entry.group
                entry.records[id(binding)] = record
    return record


class Group(object):
    """Optimizers patched by one `patched(wrapper, rules=...)`: they share the rules' patterns."""

    def __init__(self, size):
        self.size = size
        self.joined = weakref.WeakKeyDictionary()

    def join(self, record, paths):
        """All paths once every optimizer told its own, None before that."""
        with _LOCK:
            self.joined[record] = list(paths)
            if len(self.joined) < self.size:
                return None
            return sorted(set(path for found in self.joined.values() for path in found))


class Record(object):
    """State of one optimizer under one binding.

    Attributes:
        settings: the resolved Settings.
        lock: guards everything below.
        checked: whether the rules' patterns were checked against the variables.
        keys: {identity: key}, the key being the path, or path#2 for a second of that path.
        pending: {graph id: (weak reference to the graph or None, {identity: Sample})}.
        carried: what the update under way published from a branch, see `graph_tensors.publish`.
        updates: int64 variable, the optimizer updates flushed so far; None before the first.
        stores: {identity: Store}, the variables samples are written to.
        scalars: variables (float64 [2]: lr, alpha; int64 []: step) or None.
        due: in eager, whether the update now running is sampled; None between updates.
        state: what the rules remember; numbers: {replica: variable}, the rules' numbers.
        moments: {place: Moment} of the update under way.
        unsampled: words saying why updates ran that cannot be sampled, or None.
        reached: whether a patched site of this optimizer was ever come to.
        group: the Group of optimizers patched together, or None.
        sizes: {shape: elements of all variables of that shape}, None where they are not known yet.
        refused: {variable: words saying why its update is not compiled}; islands: compiled functions of
            eager code. See `islands`.
    """

    MAX_GRAPHS = 4

    def __init__(self, optimizer_name, resolved):
        self.optimizer_name = optimizer_name
        self.settings = resolved
        self.lock = threading.RLock()
        self.local = threading.local()
        self.checked = False
        self.keys = {}
        self._rules = {}
        self.state = rule_state.RuleState()
        self.moments = {}
        self.numbers = {}
        self.pending = {}
        self.carried = []
        self.updates = None
        self.stores = {}
        self.scalars = None
        self.due = None
        self.unsampled = None
        self.reached = False
        self.group = None
        self.sizes = None
        self.refused = {}
        self.islands = {}
        self._open = []

    def key(self, identity, path):
        """Name under which a variable is reported, stable from its first use."""
        with self.lock:
            key = self.keys.get(identity)
            if key is None:
                taken = set(self.keys.values())
                key, n = path, 1
                while key in taken:
                    n += 1
                    key = "{}#{}".format(path, n)
                self.keys[identity] = key
            return key

    def kept_as(self, key):
        """What the state of the variable that is reported as `key` is called in a checkpoint: in v1 graphs
        its path; elsewhere its place among the variables, since Keras counts its layers' names on."""
        if worlds.world() == worlds.GRAPH:
            return key
        with self.lock:
            return str(list(self.keys.values()).index(key))

    def check(self, paths):
        """Checks once that every pattern of every rule matches one of `paths`.

        Of optimizers patched together a pattern has to match a variable of one of them, which
        the last to come can tell.
        """
        if self.checked or not self.settings.rules:
            return
        known = list(paths) if self.group is None else self.group.join(self, paths)
        if known is not None:
            matching.check_patterns(self.settings.rules, known, self.optimizer_name, self.settings.source)
        for path in paths:
            self.rules_for(path)
        self.checked = True

    def rules_for(self, path):
        """The rules that hold for one variable, in their order; a list, empty where none does."""
        if not self.settings.rules:
            return []
        found = self._rules.get(path)
        if found is None:
            found = matching.rules_of(self.settings.rules, path, self.optimizer_name, self.settings.source)
            self._rules[path] = found
        return found

    def update_numbers(self, form):
        """Puts the numbers of a normal form of rules in place of those in use, without a new trace.

        Raises ValueError where more than numbers differs.
        """
        rules = settings.check_form(form, "the new rules")[1]
        if [rule.shape for rule in rules] != [rule.shape for rule in self.settings.rules]:
            raise ValueError(
                "adampatch: the new rules differ from those of {} in more than numbers; pass them to "
                "patched(optimizer, rules=...) before training".format(self.optimizer_name)
            )
        with self.lock:
            self.settings.rules = rules
            self._rules.clear()
            for variable in self.numbers.values():
                variable.assign([x for rule in rules for x in rule.numbers])

    def variables(self):
        """Every variable of ours for this optimizer."""
        with self.lock:
            own = [] if self.updates is None else [self.updates] + list(self.scalars)
            own += list(self.numbers.values())
            shared = {id(v): v for store in self.stores.values() for v in store.variables()}
            own += list(shared.values())
            own += list(self.state.names.values())
        return own

    @property
    def silent(self):
        """Whether nothing is observed."""
        return self.settings.emit == "off"

    # -- samples waiting for the end of the update -------------------------------------------

    def queue(self, graph, identity, sample):
        """Keeps `sample` until the flush in the same graph; a second of one variable replaces it."""
        with self.lock:
            slot = self.pending.get(id(graph))
            if slot is None or (slot[0] is not None and slot[0]() is not graph):
                slot = (weakref.ref(graph) if graph is not None else None, {})
                # A graph whose flush never came (an abandoned trace) must not pile up.
                while len(self.pending) >= self.MAX_GRAPHS:
                    del self.pending[next(iter(self.pending))]
                self.pending[id(graph)] = slot
            slot[1].pop(identity, None)
            slot[1][identity] = sample

    def take(self, graph):
        """Removes and returns the samples queued in `graph`, a dict by identity."""
        with self.lock:
            slot = self.pending.pop(id(graph), None)
        if slot is None or (slot[0] is not None and slot[0]() is not graph):
            return {}
        return slot[1]

    def abandon(self):
        """Forgets what was queued by an update that failed."""
        with self.lock:
            self.pending.clear()
            self.carried = []
            self.moments.clear()
            self.due = None

    def carry(self, found, carriers):
        """Keeps what was carried out of a branch until the update ends that is under way, if one is."""
        with self.lock:
            if self._open:
                self.carried.append((found, carriers))

    def take_carried(self):
        """Removes and returns what the update carried out of branches."""
        with self.lock:
            carried, self.carried = self.carried, []
        return carried

    # -- nesting of observed classes ----------------------------------------------------------

    def enter(self, graph):
        """An observed method begins in `graph` (None when eager)."""
        self.local.depth = getattr(self.local, "depth", 0) + 1
        with self.lock:
            self._open.append((graph, worlds.branch_of(graph)))

    def leave(self, graph):
        """True when the outermost observed method of this thread ends."""
        with self.lock:
            last = max(i for i, (found, _) in enumerate(self._open) if found is graph)
            del self._open[last]
            if not self._open:
                self.moments.clear()
        self.local.depth -= 1
        return self.local.depth == 0

    def will_flush(self, graph):
        """Whether an observed method is under way in `graph`, in whichever thread.

        Not so where a wrapper calls the update methods of an optimizer itself, or where each
        variable is updated in a compiled function of its own.
        """
        with self.lock:
            return any(found is graph for found, _ in self._open)

    def moment(self, key, make):
        """The Moment of the update under way, made by `make(key or None)` for its first site.

        Of a site that no observed method is around, or that is in a branch of its own in a v1 graph, the
        variable `key` counts its updates itself.
        """
        graph = worlds.current_graph()
        branch = worlds.branch_of(graph)
        with self.lock:
            shared = any(found is graph and at is branch for found, at in self._open)
            place = (id(graph), id(branch), worlds.replica(), None if shared else key)
            found = self.moments.get(place)
            if found is None:
                found = make(None if shared else key)
                if self._open:
                    self.moments[place] = found
            return found

    def numbers_here(self, given):
        """The variable of this replica that holds the rules' numbers, float64 [n], made of `given`."""
        with self.lock:
            index = worlds.replica()
            found = self.numbers.get(index)
            if found is None:
                found = self.numbers[index] = worlds.hidden_variable(given, "float64", "numbers")
            return found
