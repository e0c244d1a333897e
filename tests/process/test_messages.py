"""What parent and workers say to each other survives the way."""

from pathlib import Path

from router import __version__
from router.config import load
from router.exchange import AttemptOutcome
from router.orders import Order, OrderKind
from router.process.messages import Fact, Start, pack, pack_facts, unpack, unpack_facts
from router.process.sockets import Listening, Passed


def test_a_worker_gets_the_configuration_as_it_was_read_keys_included(tmp_path: Path) -> None:
    file = tmp_path / "router.yaml"
    file.write_text("backends: [{url: http://h:1, api_key: secret-of-h}]\nadmin: {token: secret-of-operators}\n")
    loaded = load(file)
    start = Start(
        version=__version__,
        loaded=loaded,
        listening=Listening.of(loaded.config, loaded.origins),
        sockets=(Passed(3, "public", "h:1"),),
        slot=1,
        counts=5,
        places={"h:1": 0},
        orders=(Order(OrderKind.DRAIN, "h:1"),),
        settle=0.5,
        earlier=(17,),
    )
    found = unpack(pack(start))

    assert found == start
    assert isinstance(found, Start)
    key = found.loaded.config.backends[0].api_key
    assert key is not None
    assert key.get_secret_value() == "secret-of-h"


def test_facts_keep_their_outcome() -> None:
    facts = [Fact("h:1", AttemptOutcome.OVERLOADED, 2.5, 3)]
    (found,) = unpack_facts(pack_facts(facts))

    assert found == facts[0]
    assert found.outcome is AttemptOutcome.OVERLOADED
