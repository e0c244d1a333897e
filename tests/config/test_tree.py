"""Trees of values with their origins."""

from router.config.tree import Branch, Leaf, dotted, find, leaves, nearest, origins, plain, put, take


def leaf(value: object, origin: str = "x") -> Leaf:
    return Leaf(value, origin)


def sample() -> Branch:
    backend = Branch({"url": leaf("http://a", "f:4")}, "f:4", 4)
    prefixes = Branch([leaf("/v1", "f:2"), leaf("/", "f:3")], "f:2", 2)
    return Branch({"server": Branch({"path_prefixes": prefixes}), "backends": Branch([backend]), "retry": leaf("")})


def test_paths_lead_through_sections_and_lists() -> None:
    tree = sample()

    assert find(tree, ("backends", 0, "url")) == leaf("http://a", "f:4")
    assert find(tree, ("backends", 1, "url")) is None
    assert find(tree, ("server", "port")) is None
    assert find(tree, ("retry", "budget")) is None
    assert dotted(("backends", 0, "url")) == "backends.0.url"


def test_the_nearest_node_gives_a_line_where_the_key_itself_is_missing() -> None:
    assert nearest(sample(), ("backends", 0, "name")).line == 4


def test_a_value_can_be_put_below_sections_that_are_missing_or_empty() -> None:
    tree = sample()

    put(tree, ("pool", "keepalive"), leaf("1"))
    put(tree, ("retry", "budget"), leaf("2"))
    put(tree, ("backends", 0, "name"), leaf("n"))

    assert plain(tree)["pool"] == {"keepalive": "1"}  # type: ignore[index]
    assert plain(tree)["retry"] == {"budget": "2"}  # type: ignore[index]
    assert find(tree, ("backends", 0, "name")) == leaf("n")


def test_a_value_where_a_section_belongs_is_kept_to_be_reported() -> None:
    tree = Branch({"server": leaf("oops")})

    put(tree, ("server", "port"), leaf("1"))

    assert plain(tree) == {"server": "oops"}


def test_a_taken_node_is_gone() -> None:
    tree = sample()

    assert take(tree, ("backends",)) is not None
    assert take(tree, ("backends",)) is None
    assert take(tree, ("retry", "budget", "x")) is None


def test_every_value_tells_its_origin_and_a_list_of_texts_is_one_value() -> None:
    tree = sample()

    assert dict(origins(tree)) == {
        ("server", "path_prefixes"): "f:2",
        ("backends", 0, "url"): "f:4",
        ("retry",): "x",
    }
    assert [dotted(path) for path, _ in leaves(tree)] == [
        "server.path_prefixes.0",
        "server.path_prefixes.1",
        "backends.0.url",
        "retry",
    ]
