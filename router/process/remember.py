"""Which orders a worker that starts now has to carry out, to be like those that were there before it. Pure."""

from dataclasses import replace

from router.orders import Order, OrderKind


def remembered(orders: tuple[Order, ...], order: Order, name: str | None) -> tuple[Order, ...]:
    """Return the orders to be repeated, after one more has been carried out on the backend `name`.

    What it undoes is left out, so that the list stays as short as the list of backends.
    """
    if order.kind is OrderKind.RELOAD:  # what was added and removed is as configured again; draining goes on
        return tuple(each for each in orders if each.kind is OrderKind.DRAIN)
    opposite = {OrderKind.UNDRAIN: OrderKind.DRAIN, OrderKind.DRAIN: OrderKind.UNDRAIN}.get(order.kind)
    kept = [each for each in orders if not (_name(each) == name and each.kind in (order.kind, opposite))]
    if order.kind is OrderKind.UNDRAIN:
        return tuple(kept)
    if order.kind is OrderKind.REMOVE:
        was_added = any(each.kind is OrderKind.ADD and _name(each) == name for each in orders)
        kept = [each for each in kept if _name(each) != name]
        if was_added:
            return tuple(kept)
    if order.kind is OrderKind.LOG:  # the latest word on each key
        before = [each for each in orders if each.kind is OrderKind.LOG]
        order = replace(order, fields={**((before and before[0].fields) or {}), **(order.fields or {})})
    if order.kind is OrderKind.ADD:  # under the name that it was given then
        order = replace(order, fields={**(order.fields or {}), "name": name})
    return (*kept, order)


def _name(order: Order) -> str | None:
    if order.name is not None or order.fields is None:
        return order.name
    name = order.fields.get("name")
    return name if isinstance(name, str) else None
