"""What a new worker is told of earlier orders."""

from router.orders import Order, OrderKind
from router.process.remember import remembered

ADD = Order(OrderKind.ADD, fields={"url": "http://c:1"})
DRAIN, UNDRAIN = Order(OrderKind.DRAIN, "a:1"), Order(OrderKind.UNDRAIN, "a:1")


def after(*orders: tuple[Order, str | None]) -> tuple[Order, ...]:
    found: tuple[Order, ...] = ()
    for order, name in orders:
        found = remembered(found, order, name)
    return found


def test_an_added_backend_keeps_the_name_that_it_was_given() -> None:
    (order,) = after((ADD, "c:1"))

    assert order.fields == {"url": "http://c:1", "name": "c:1"}


def test_what_was_undone_is_forgotten() -> None:
    assert after((DRAIN, "a:1"), (UNDRAIN, "a:1")) == ()
    assert after((ADD, "c:1"), (Order(OrderKind.REMOVE, "c:1"), "c:1")) == ()


def test_a_repeated_order_is_told_once() -> None:
    assert after((DRAIN, "a:1"), (DRAIN, "a:1")) == (DRAIN,)


def test_of_orders_on_the_log_the_latest_word_on_each_key_is_told_until_a_reload() -> None:
    first, second = (Order(OrderKind.LOG, fields=each) for each in ({"level": "debug", "sample": 1}, {"level": "info"}))
    kept = after((first, None), (ADD, "c:1"), (second, None))

    assert [order.fields for order in kept if order.kind is OrderKind.LOG] == [{"level": "info", "sample": 1}]
    assert len(kept) == 2
    assert remembered(kept, Order(OrderKind.RELOAD), None) == ()


def test_a_removed_backend_of_the_configuration_stays_removed() -> None:
    remove = Order(OrderKind.REMOVE, "a:1")

    assert after((DRAIN, "a:1"), (remove, "a:1")) == (remove,)


def test_a_reload_drops_what_was_added_and_removed_but_drains_stay() -> None:
    removed = Order(OrderKind.REMOVE, "b:1")

    assert after((ADD, "c:1"), (DRAIN, "a:1"), (removed, "b:1"), (Order(OrderKind.RELOAD), None)) == (DRAIN,)
