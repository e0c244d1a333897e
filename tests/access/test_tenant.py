"""Rules of router/access/tenant.py."""

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.access.tenant import CREDENTIALS, HASH_BYTES, credentials_of, note_tenants
from router.exchange import Exchange
from router.wire.headers import normalised

KEY = "sk-canary-0123456789"
NAMES = ["Authorization", "X-Api-Key", "Api-Key"]
# What llhttp lets through in a value.
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20)
fields = st.dictionaries(st.sampled_from([*NAMES, "X-Session-Id", "Cookie"]), st.lists(values, min_size=1, max_size=3))


def of(fields: dict[str, list[str]], client_cert: str | None = None) -> str:
    one = Exchange("a", "/", "GET", 0.0, client="10.0.0.9", client_cert=client_cert)
    one.credentials = credentials_of(fields)
    note_tenants([one])
    assert one.credentials == ""
    return one.tenant


def test_the_owner_of_a_key_is_the_same_by_whichever_header_it_comes() -> None:
    given = [{"Authorization": [f"Bearer {KEY}"]}, {"Authorization": [f"bearer  {KEY}"]}, {"Authorization": [KEY]}]
    owners = {of(each) for each in [*given, *({name: [KEY]} for name in NAMES)]}

    (owner,) = owners
    assert owner.startswith("key:")
    assert len(owner) == len("key:") + 2 * HASH_BYTES
    assert owner != of({"X-Api-Key": [KEY + "0"]})


@pytest.mark.skipif(shutil.which("b2sum") is None, reason="b2sum of the coreutils is not installed")
def test_who_has_a_key_finds_its_owner_as_the_documentation_says() -> None:
    told = subprocess.run(
        ["b2sum", "--length", str(8 * HASH_BYTES)], input=KEY.encode(), capture_output=True, check=True, timeout=60
    )

    assert of({"Authorization": [f"Bearer {KEY}"]}) == f"key:{told.stdout.split()[0].decode()}"


def test_all_credentials_count() -> None:
    """Many clients send a key that everybody has, and another one that only they have."""
    one = of({"Authorization": ["Bearer EMPTY"], "X-Api-Key": ["one"]})

    assert len({one, of({"Authorization": ["Bearer EMPTY"], "X-Api-Key": ["two"]}), of({"X-Api-Key": ["one"]})}) == 3
    assert of({"X-Api-Key": ["one", "two"]}) not in (of({"X-Api-Key": ["one"]}), of({"X-Api-Key": ["two"]}))


@pytest.mark.parametrize("value", ["", "Bearer", "bearer ", "Bearer   "])
def test_an_empty_key_is_none(value: str) -> None:
    """OpenAI's clients send `Bearer ` where no key is configured."""
    assert of({"Authorization": [value]}) == "10.0.0.9"
    assert of({"Authorization": [value], "Api-Key": [KEY]}) == of({"Api-Key": [KEY]})


def test_one_key_in_two_headers_is_one_key() -> None:
    assert of({"Authorization": [f"Bearer {KEY}"], "X-Api-Key": [KEY]}) == of({"X-Api-Key": [KEY]})


def test_a_certificate_tells_apart_who_has_the_same_key_and_a_key_who_has_the_same_certificate() -> None:
    """Clients send keys that everybody has, as EMPTY, and a proxy may show one certificate for many."""
    key = {"X-Api-Key": [KEY]}

    assert of({}, "CN=agent-1,O=Example") == "cert:CN=agent-1,O=Example"
    assert of(key, "CN=agent-1") == f"{of(key)} cert:CN=agent-1"
    assert len({of(key), of(key, "CN=a"), of(key, "CN=b"), of({"X-Api-Key": ["other"]}, "CN=a"), of({}, "CN=a")}) == 5


def test_without_either_it_is_who_has_the_address() -> None:
    assert of({"Cookie": ["a=b"]}) == "10.0.0.9"
    assert of({}, "") == "10.0.0.9", "a certificate without a subject"


def test_what_backends_do_not_get_is_what_tells_tenants_apart() -> None:
    for name in CREDENTIALS:
        assert of({normalised(name.encode()): [KEY]}) == of({"Authorization": [KEY]})


def test_of_many_each_has_its_own_and_who_was_put_down_stays() -> None:
    keys = ["", "Bearer", "one", "Bearer one", "two", "one"]
    many = [Exchange("a", "/", "GET", 0.0, client=str(number), credentials=key) for number, key in enumerate(keys)]
    note_tenants(many)
    told = [one.tenant for one in many]
    many[2].credentials = "two"
    note_tenants(many)

    one, two = of({"Api-Key": ["one"]}), of({"Api-Key": ["two"]})
    assert [each.tenant for each in many] == told == ["0", "1", one, one, two, one]


def test_credentials_do_not_show_where_an_exchange_is_shown() -> None:
    assert KEY not in repr(Exchange("a", "/", "GET", 0.0, credentials=KEY))


@given(fields, st.sampled_from([None, "CN=a", "key:0"]))
def test_no_header_can_name_another_tenant_or_show_itself(
    fields: dict[str, list[str]], client_cert: str | None
) -> None:
    owner = of(fields, client_cert)

    key, _, cert = owner.partition(" cert:") if owner.startswith("key:") else ("", "", owner.removeprefix("cert:"))
    assert cert == (client_cert or ("" if key else "10.0.0.9"))
    if key:
        assert set(key[len("key:") :]) <= set("0123456789abcdef")
        assert len(key) == len("key:") + 2 * HASH_BYTES
    else:
        assert all(value.lower().strip(" \t") in ("", "bearer") for name in NAMES for value in fields.get(name, []))
