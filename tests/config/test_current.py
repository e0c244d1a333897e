"""Rules of router/config/current.py: orders hold until the configuration is read again, and the lines tell which."""

from router.config.current import Current
from router.config.schema import BackendConfig, Config


def of(*names: str, **sections: object) -> Config:
    backends = [{"url": f"http://{name}:1", "name": name} for name in names]
    return Config.model_validate({"backends": backends, **sections})


ORIGINS = {"backends.0.url": "r.yaml:2", "backends.1.url": "r.yaml:3", "retry.budget": "env X"}


def test_backends_that_come_go_and_change_are_told_by_name() -> None:
    current = Current(of("a", "b", "c"), {})
    other = of("d", "c", "b")
    changed = other.model_copy(
        update={"backends": (*other.backends[:2], other.backends[2].model_copy(update={"weight": 4}))}
    )

    assert current.told(changed, {"a": 1}) == [
        "backend a removed, 1 request finishes there",
        "backend b: weight: 1 -> 4",
        "backend d added",
    ]
    assert current.told(of("b", "c"), {"a": 3}) == ["backend a removed, 3 requests finish there"]
    assert current.told(of("c", "b", "a"), {}) == [], "another order is no difference"


def test_another_url_is_told_as_such() -> None:
    current = Current(of("a"), {})
    moved = Config.model_validate({"backends": [{"url": "http://z:1", "name": "a"}]})

    assert current.told(moved, {"a": 2}) == ["backend a: url: http://a:1 -> http://z:1, 2 requests finish there"]


def test_what_orders_have_changed_ends_with_the_next_reading_and_that_is_told() -> None:
    read = of("a", "b")
    current = Current(read, ORIGINS)
    current.config = current.with_one_more(BackendConfig.model_validate({"url": "http://n:1"}))
    current.config = current.without("a")

    assert current.told(read, {}, is_read=True) == [
        "backend a added (it was removed by order)",
        "backend n:1 removed (it was added by order)",
    ]
    current.read(read, ORIGINS)
    assert current.told(of("a"), {}, is_read=True) == ["backend b removed"]


def test_the_lines_show_where_each_value_came_from_also_after_orders() -> None:
    current = Current(of("a", "b"), ORIGINS)
    current.config = current.without("a")
    current.config = current.with_one_more(BackendConfig.model_validate({"url": "http://n:1", "weight": 2}))
    lines = [entry.line() for entry in current.entries()]

    assert "backends.0.url = http://b:1  (r.yaml:3)" in lines
    assert "backends.1.url = http://n:1  (order)" in lines
    assert "backends.1.weight = 2  (order)" in lines
    assert "retry.budget = 20%  (env X)" in lines
