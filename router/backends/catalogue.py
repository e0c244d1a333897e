"""Who serves what: the pools of backends by model, and what is known of models.

A model that was listed once stays known, though nobody may serve it any more: asking for it is told 503, not 404. What
a backend cannot know of itself is told here: whether others of each of its pools could do its work.
"""

from collections.abc import Iterable, Sequence
from typing import TypeGuard

from router.backends.backend import Backend, Change, ChangeKind, Listing, ModelObject, Reason, Standing, Unavailable
from router.backends.policy import RETRY_SOON, Pool

MAX_MODELS = 1000  # of one backend's list: vLLM lists its names and adapters, a few
MAX_KNOWN_MODELS = 10_000  # ever seen: a backend that lists other names each time must not fill memory
MAX_MODEL_NAME = 512  # characters: a path of a checkpoint fits


class Catalogue:
    """The pools, and the models that they are for."""

    def __init__(self) -> None:
        """Know no backend and no model."""
        self.pools: dict[str | None, Pool] = {None: Pool()}  # by model; None: any backend
        self._unlisted: set[Backend] = set()  # those that have not told their models

    def add(self, backend: Backend, standing: Standing) -> None:
        """Take a backend in; what is configured to be served by it is known at once."""
        backend.placed = standing
        self.pools[None].place(backend, standing)
        if backend.spec.models:
            self._serve(backend, {name: _plain_model(name) for name in backend.spec.models})
            backend.listing = Listing.LISTED
        else:
            self._unlisted.add(backend)

    def place(self, backend: Backend, standing: Standing) -> None:
        """Move a backend to another standing in each of its pools; no effect where it has it."""
        if standing is not backend.placed:
            backend.placed = standing
            for model in (None, *backend.models):
                self.pools[model].place(backend, standing)

    def restride(self, backend: Backend, before: int) -> None:
        """Take in that a backend's stride has changed from `before`."""
        for model in (None, *backend.models):
            self.pools[model].restride(backend, before)

    def remove(self, backend: Backend) -> None:
        """Take a backend out for good; its models stay known."""
        for model in (None, *backend.models):
            self.pools[model].remove(backend)
        backend.placed, backend.models = None, {}
        self._unlisted.discard(backend)

    def reconfigured(self, backend: Backend) -> None:
        """Take in that other models are configured to be served by a backend; with none, its last list stays good."""
        if backend.spec.models:
            self._unlisted.discard(backend)
            known = backend.models
            self._serve(backend, {name: known.get(name, _plain_model(name)) for name in backend.spec.models})
            backend.listing = Listing.LISTED

    def listed(self, backend: Backend, models: Sequence[object] | None) -> list[Change]:
        """Take in the objects of a backend's list; None where it could not be had: the last one stays good."""
        before, was = ",".join(backend.models), backend.listing
        self._unlisted.discard(backend)
        if models is not None:
            backend.listing = Listing.LISTED
            found = {each["id"]: each for each in models[:MAX_MODELS] if _is_model(each)}
            if backend.spec.models:
                found = {name: found.get(name, _plain_model(name)) for name in backend.spec.models}
            self._serve(backend, found)
        elif was is Listing.PENDING:
            backend.listing = Listing.FAILED
        after = ",".join(backend.models)
        if after == before and backend.listing is was:
            return []
        return [Change(backend.spec.name, ChangeKind.MODELS, before, after, backend.listing.value)]

    def others_work(self, backend: Backend, now: float) -> bool:
        """Return whether each pool of a backend has another one that works and does not rest."""
        return all(
            any(
                other.is_working and other.resting_until <= now
                for other in self.pools[model].members()
                if other is not backend
            )
            for model in (None, *backend.models)
        )

    def is_known(self, model: str) -> bool:
        """Return whether some backend has ever listed it, or has it configured."""
        return model in self.pools

    def known_models(self) -> list[str]:
        """Return the names of all models ever listed or configured, in the order in which they came."""
        return [model for model in self.pools if model is not None]

    def sole_model(self) -> str | None:
        """Return the name of the one model that backends serve, None where there is not exactly one."""
        served = [name for name, pool in self.pools.items() if name is not None and pool.members()]
        return served[0] if len(served) == 1 else None

    def unknown(self) -> Unavailable:
        """Return why nobody serves a name that no backend has ever listed.

        One that is down does not keep a mistyped name from being told as one, unless nobody has told anything.
        """
        if len(self.pools) == 1 or any(not backend.is_down for backend in self._unlisted):
            return Unavailable(Reason.NOT_LISTED_YET, RETRY_SOON)
        return Unavailable(Reason.UNKNOWN_MODEL, 0.0)

    def _serve(self, backend: Backend, models: dict[str, ModelObject]) -> None:
        """Make `models` what a backend serves."""
        for name in backend.models.keys() - models.keys():
            self.pools[name].remove(backend)  # the pool stays, maybe empty: the model is known
        backend.models = {}
        for name, each in models.items():
            if name not in self.pools:
                if len(self.pools) > MAX_KNOWN_MODELS:
                    continue
                self.pools[name] = Pool(self._offset())
            backend.models[name] = each
            if backend.placed is not None:
                self.pools[name].place(backend, backend.placed)

    def _offset(self) -> int:
        """Return the index of the backend with which a new pool begins: not the same for all."""
        indexes = [backend.index for backend in self.pools[None].members()]
        return indexes[len(self.pools) % len(indexes)] if indexes else 0


def union_of(backends: Iterable[Backend], now: float) -> list[ModelObject]:
    """Return the objects of all models that backends have listed last, those of usable backends first."""
    union: dict[str, ModelObject] = {}
    for backend in sorted(backends, key=lambda backend: not backend.is_usable(now)):
        for name, each in backend.models.items():
            union.setdefault(name, each)
    return list(union.values())


def _is_model(candidate: object) -> TypeGuard[ModelObject]:
    """Return whether an entry of a list of models is one."""
    name = candidate.get("id") if isinstance(candidate, dict) else None
    return isinstance(name, str) and 0 < len(name) <= MAX_MODEL_NAME


def _plain_model(name: str) -> ModelObject:
    """Return the object of a configured model that its backend has not listed."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "router"}
