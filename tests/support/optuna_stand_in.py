"""What the search uses of optuna, where that is not installed: random values, the median pruner, trials in a file."""

import pickle
import random
from enum import Enum
from pathlib import Path
from statistics import median
from types import SimpleNamespace

logging = SimpleNamespace(WARNING=30, set_verbosity=lambda level: None)


class TrialState(Enum):
    RUNNING = 0
    COMPLETE = 1
    PRUNED = 2
    FAIL = 3
    WAITING = 4

    def is_finished(self):
        return self not in (TrialState.RUNNING, TrialState.WAITING)


trial = SimpleNamespace(TrialState=TrialState)


class MedianPruner:
    def __init__(self, n_startup_trials=5):
        self.least = n_startup_trials


class TPESampler:
    def __init__(self, seed=None):
        self.random = random.Random(seed)


pruners, samplers = SimpleNamespace(MedianPruner=MedianPruner), SimpleNamespace(TPESampler=TPESampler)


class Trial:
    def __init__(self, number, params=(), user_attrs=(), state=TrialState.RUNNING):
        self.number, self.state, self.value = number, state, None
        self.fixed, self.params, self.user_attrs, self.intermediate = dict(params), {}, dict(user_attrs), {}

    def _suggest(self, name, drawn):
        self.params[name] = self.fixed.get(name, drawn)
        self.study.save()
        return self.params[name]

    def suggest_float(self, name, low, high, *, log=False):
        share = self.study.sampler.random.random()
        return self._suggest(name, low * (high / low) ** share if log else low + share * (high - low))

    def suggest_int(self, name, low, high):
        return self._suggest(name, self.study.sampler.random.randint(low, high))

    def suggest_categorical(self, name, choices):
        return self._suggest(name, self.study.sampler.random.choice(choices))

    def set_user_attr(self, name, value):
        self.user_attrs[name] = value
        self.study.save()

    def report(self, value, step):
        self.intermediate[step] = value

    def should_prune(self):
        step, value = max(self.intermediate.items())
        whole = [other for other in self.study.trials if other.state is TrialState.COMPLETE]
        seen = [min(v for s, v in o.intermediate.items() if s <= step) for o in whole if min(o.intermediate) <= step]
        return len(whole) >= max(self.study.pruner.least, 1) and bool(seen) and value > median(seen)


class Study:
    def __init__(self, path, pruner):
        self.path, self.pruner, self.sampler = path, pruner, TPESampler()
        self.trials, self.attributes = pickle.loads(path.read_bytes()) if path.is_file() else ([], {})
        for one in self.trials:
            one.study = self

    @property
    def user_attrs(self):
        return dict(self.attributes)

    def save(self):
        bare = []
        for one in self.trials:
            copy = Trial(one.number)
            copy.__dict__ = {name: value for name, value in one.__dict__.items() if name != "study"}
            bare.append(copy)
        self.path.write_bytes(pickle.dumps((bare, self.attributes)))

    def set_user_attr(self, name, value):
        self.attributes[name] = value
        self.save()

    def _new(self, *how, **kwargs):
        one = Trial(len(self.trials), *how, **kwargs)
        one.study = self
        self.trials.append(one)
        self.save()
        return one

    def enqueue_trial(self, params, user_attrs=None):
        self._new(params, user_attrs or {}, TrialState.WAITING)

    def ask(self):
        waiting = [one for one in self.trials if one.state is TrialState.WAITING]
        found = waiting[0] if waiting else self._new()
        found.state = TrialState.RUNNING
        self.save()
        return found

    def tell(self, one, value=None, state=None):
        one = self.trials[one] if isinstance(one, int) else one
        one.state, one.value = state or TrialState.COMPLETE, value
        if state is TrialState.PRUNED:
            one.value = one.intermediate[max(one.intermediate)]
        self.save()

    @property
    def best_trial(self):
        return min((one for one in self.trials if one.state is TrialState.COMPLETE), key=lambda one: one.value)

    @property
    def best_value(self):
        return self.best_trial.value

    @property
    def best_params(self):
        return self.best_trial.params


def create_study(*, study_name, storage, direction, pruner, load_if_exists):
    assert direction == "minimize"
    assert load_if_exists
    return Study(Path(storage.removeprefix("sqlite:///")), pruner)
