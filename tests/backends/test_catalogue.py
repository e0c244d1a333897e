"""Rules of who serves what; most are held in test_registry.py, through what a registry answers."""

from router.backends.backend import Backend, BackendSpec, Reason, Standing
from router.backends.breaker import BreakerRules
from router.backends.catalogue import MAX_KNOWN_MODELS, MAX_MODELS, Catalogue, union_of
from router.backends.health import HealthRules, Seen


def make(count: int, **fields: object) -> tuple[Catalogue, list[Backend]]:
    catalogue, backends = Catalogue(), []
    for number in range(count):
        spec = BackendSpec(f"b{number}", f"http://b{number}:1", **fields)  # type: ignore[arg-type]
        backend = Backend(spec, number, health_rules=HealthRules(), breaker_rules=BreakerRules())
        backend.health.observe(Seen.PASSED)
        catalogue.add(backend, Standing.READY)
        backends.append(backend)
    return catalogue, backends


def test_names_without_end_do_not_fill_memory() -> None:
    catalogue, (backend,) = make(1)
    for start in range(0, MAX_KNOWN_MODELS + 3 * MAX_MODELS, MAX_MODELS):
        catalogue.listed(backend, [{"id": f"m{number}"} for number in range(start, start + MAX_MODELS)])

    assert len(catalogue.known_models()) == MAX_KNOWN_MODELS
    assert len(backend.models) == 0  # the last ones found no room


def test_others_work_only_where_each_model_of_a_backend_has_another_one() -> None:
    catalogue, (a, b) = make(2)
    for backend in (a, b):
        catalogue.listed(backend, [{"id": "m"}])
    assert catalogue.others_work(a, 0)
    b.rest(0, retry_after=5)
    assert not catalogue.others_work(a, 4)
    assert catalogue.others_work(a, 5)
    b.drained = True
    assert not catalogue.others_work(a, 5)
    b.drained = False
    catalogue.listed(a, [{"id": "m"}, {"id": "own"}])

    assert not catalogue.others_work(a, 5)


def test_who_is_removed_leaves_its_models_known_and_nothing_else() -> None:
    catalogue, (a, b) = make(2)
    catalogue.listed(a, [{"id": "own"}])
    catalogue.remove(a)
    catalogue.remove(b)

    assert catalogue.known_models() == ["own"]
    assert [list(pool.members()) for pool in catalogue.pools.values()] == [[], []]
    assert catalogue.sole_model() is None
    assert catalogue.unknown().reason is Reason.UNKNOWN_MODEL


def test_a_model_is_described_by_a_usable_backend_where_there_is_one() -> None:
    catalogue, (a, b) = make(2)
    for backend in (a, b):
        catalogue.listed(backend, [{"id": "m", "from": backend.spec.name}])
    a.drained = True

    assert union_of([a, b], 0) == [{"id": "m", "from": "b1"}]
