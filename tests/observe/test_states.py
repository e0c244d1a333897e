"""What is looked up at each dump: limits and how near they are, backends, and what becomes of several processes'."""

from dataclasses import replace

from router.access.overload import Marks, Usage
from router.observe.exposition import Families, Sheet, merged
from router.observe.states import MAX_MODELS, Vitals, add_backends, add_vitals
from tests.observe.counted import VITALS, backend, busy_backend


def vital(vitals: Vitals, *, places: tuple[int | None, ...] = (), in_flight: int = 0) -> Families:
    """Return the families of one process; `places`: the limit of each backend."""
    sheet = Sheet()
    backends = [backend(f"b:{number}", max_connections=limit) for number, limit in enumerate(places)]
    for each in backends:
        each.in_flight = in_flight
    add_vitals(sheet, vitals, [each.status(1.0) for each in backends])
    return sheet.families


def test_each_limit_has_its_part_in_use() -> None:
    told = vital(VITALS, places=(4, 4), in_flight=3)

    assert told["router_saturation_ratio"].samples == {
        'resource="connections"': 0.25,
        'resource="queue"': 0.3,
        'resource="memory"': 0.4,
        'resource="descriptors"': 0.25,
        'resource="backends"': 0.75,
    }


def test_what_has_no_limit_is_never_nearly_full() -> None:
    vitals = replace(VITALS, max_connections=None, queue_size=0, marks=Marks())
    told = vital(vitals, places=(4, None), in_flight=3)

    assert told["router_saturation_ratio"].samples == {}
    assert not {"router_connections_limit", "router_memory_limit_bytes", "router_descriptors_limit"} & told.keys()
    assert told["router_memory_used_bytes"].samples == {"": 400}


def test_a_backend_that_gets_nothing_counts_for_no_place() -> None:
    sheet = Sheet()
    up, drained = backend("up:1"), backend("drained:1")
    up.in_flight, drained.drained = 4, True
    add_vitals(sheet, VITALS, [up.status(1.0), drained.status(1.0)])

    assert sheet.families["router_saturation_ratio"].samples['resource="backends"'] == 0.5


def test_sessions_are_told_where_they_are_on() -> None:
    off = vital(replace(VITALS, sessions=None))
    both = merged([vital(VITALS), vital(VITALS), off])

    assert not [name for name in off if "session" in name or "affinity" in name]
    assert both["router_sessions_active"].samples == {"": 6}
    assert both["router_session_ttl_seconds"].samples == {"": 60.0}
    assert both["router_affinity"].samples['result="kept"'] == 34


def test_of_several_processes_the_one_in_need_is_told() -> None:
    """A worker that is nearly full would not be seen in a sum with idle ones."""
    other = replace(VITALS, is_ready=False, usage=Usage(900, 10), marks=Marks(2000, 100), config_hash="other")
    both = merged([vital(VITALS), vital(other)])

    assert both["router_memory_used_bytes"].samples == {"": 900}
    assert both["router_memory_limit_bytes"].samples == {"": 1000}
    assert both["router_descriptors_used"].samples == {"": 30}
    assert both["router_descriptors_limit"].samples == {"": 100}
    assert both["router_saturation_ratio"].samples['resource="memory"'] == 0.45
    assert both["router_ready"].samples == {"": 1}
    assert both["router_config_info"].samples == {'hash="0123456789ab"': 1, 'hash="other"': 1}
    assert both["router_connections"].samples == {"": 10}
    assert both["router_streams_in_flight"].samples == {"": 4}


def test_what_a_server_tells_of_itself_is_told_where_it_does() -> None:
    sheet = Sheet()
    add_backends(sheet, [busy_backend("a:1").status(1.0), backend("b:1", max_connections=None).status(1.0)])
    told = sheet.families

    assert told["router_backend_reported_running"].samples == {'backend="a:1"': 4}
    assert told["router_backend_reported_waiting"].samples == {'backend="a:1"': 1}
    assert told["router_backend_reported_kv_usage_ratio"].samples == {'backend="a:1"': 0.25}
    assert told["router_backend_in_flight_limit"].samples == {'backend="a:1"': 8}
    assert told["router_backend_share_ratio"].samples == {'backend="a:1"': 1.0, 'backend="b:1"': 1.0}


def test_who_can_still_serve_a_model_is_told() -> None:
    sheet = Sheet()
    one, other, drained = backend("a:1", models=("m", "n")), backend("b:1"), backend("c:1", models=("n", "o"))
    drained.drained = True
    add_backends(sheet, [each.status(1.0) for each in (one, other, drained)])

    usable = sheet.families["router_model_backends_usable"].samples
    assert usable == {'model="m"': 2, 'model="n"': 1, 'model="o"': 0}


def test_lists_of_models_without_end_are_cut() -> None:
    sheet = Sheet()
    names = tuple(f"model-{number}" for number in range(MAX_MODELS + 50))
    add_backends(sheet, [backend("a:1", models=names).status(1.0)])
    usable = sheet.families["router_model_backends_usable"].samples

    assert len(usable) == MAX_MODELS + 1
    assert usable['model="other"'] == 50
