"""Where the backends come from."""

import pytest

from router.config.backend_sources import listener
from router.config.document import parse_document
from router.config.sources import Given, Report, lay_over
from router.config.tree import plain

LISTED = "backends:\n  - url: http://a:8000\n    api_key: own\n"
TWO = "backends:\n  - url: http://a\n    api_key: k1\n  - url: http://b\n    api_key: k2\n"


def backends(
    text: str = "", flags: dict[str, list[str]] | None = None, **environ: str
) -> tuple[list[dict[str, str]], Report]:
    tree, report = parse_document(text, "f.yaml"), Report()
    lay_over(tree, Given(flags or {}, environ, own_names=frozenset({"gate"})), report)
    found = plain(tree).get("backends", [])  # type: ignore[attr-defined]
    return found, report


@pytest.mark.parametrize("name", ["VLLM_BASE", "OPENAI_BASE_URL", "LLM_BASE_URL"])
def test_one_url_of_the_environment_is_the_default_backend(name: str) -> None:
    assert backends(**{name: "http://a:8000"})[0] == [{"url": "http://a:8000", "name": "default"}]


def test_a_comma_list_gives_several_backends() -> None:
    found, _ = backends(VLLM_BASE="http://a:8000, http://b:8000,")

    assert found == [{"url": "http://a:8000"}, {"url": "http://b:8000"}]


def test_two_sources_that_differ_are_a_fault_that_names_both() -> None:
    for text, environ in (
        (LISTED, {"VLLM_BASE": "http://b:8000"}),
        ("llm: {base_url: 'http://a:8000'}", {"LLM_BASE_URL": "http://b:8000"}),
        ("", {"VLLM_BASE": "http://a:8000", "OPENAI_BASE_URL": "http://b:8000/v1"}),
        (LISTED + "llm: {base_url: 'http://b:8000'}", {}),
    ):
        (fault,) = backends(text, **environ)[1].faults
        assert fault.path == "backends"
        assert "http://a:8000/v1" in fault.message
        assert "http://b:8000/v1" in fault.message
        assert "--base-url" in str(fault.hint)


def test_two_sources_that_name_the_same_servers_are_fine() -> None:
    found, report = backends(LISTED, VLLM_BASE="http://A:8000/", OPENAI_BASE_URL="http://a:8000/v1")

    assert not report.faults
    assert found == [{"url": "http://a:8000", "api_key": "own"}], "the list has the say, as it knows more"


def test_two_prefixes_of_one_server_are_not_the_same() -> None:
    text = "backends: [{url: 'http://a:8000', api_prefix: /x}]"

    assert backends(text, VLLM_BASE="http://a:8000")[1].faults
    assert not backends(text, VLLM_BASE="http://a:8000/x")[1].faults


def test_a_conflict_shows_no_password() -> None:
    (fault,) = backends(LISTED, VLLM_BASE="http://u:canary@b")[1].faults

    assert "canary" not in str(fault)


def test_a_flag_wins_over_every_other_source() -> None:
    found, report = backends(LISTED, {"--base-url": ["http://x", "http://y"]}, VLLM_BASE="http://z")

    assert not report.faults
    assert found == [{"url": "http://x"}, {"url": "http://y"}]


def test_the_sdk_variable_that_points_at_this_router_is_passed_over_beside_other_backends() -> None:
    found, report = backends(LISTED, OPENAI_BASE_URL="http://localhost:9000/v1")

    assert not report.faults
    assert found[0]["url"] == "http://a:8000"
    assert "points at this router itself" in report.notices[0]
    assert not backends(OPENAI_BASE_URL="http://gate:9000/v1", VLLM_BASE="http://a")[1].faults
    assert backends(OPENAI_BASE_URL="http://gate:9000/v1")[0], "alone it stays, to be refused as a loop"


def test_key_and_type_belong_to_the_backend_given_by_url() -> None:
    found, _ = backends(LLM_BASE_URL="http://a", LLM_TYPE="openai", LLM_API_KEY="k")
    assert found == [{"url": "http://a", "name": "default", "dialect": "openai", "api_key": "k"}]

    flags = {"--base-url": ["http://x"], "--api-key": ["f"]}
    found, _ = backends("", flags, LLM_API_KEY="e", LLM_TYPE="mistral")
    assert found == [{"url": "http://x", "name": "default", "dialect": "mistral", "api_key": "f"}]


def test_a_key_goes_to_the_only_backend_of_a_list_but_never_to_several() -> None:
    assert backends(LISTED, {"--api-key": ["f"]})[0][0]["api_key"] == "f"

    found, report = backends(TWO, {"--api-key": ["canary"]})
    assert [one["api_key"] for one in found] == ["k1", "k2"]
    assert "2 backends" in report.faults[0].message
    assert "canary" not in str(report.faults)

    found, report = backends(TWO, LLM_API_KEY="canary")
    assert [one["api_key"] for one in found] == ["k1", "k2"]
    assert not report.faults
    assert "LLM_API_KEY has no effect" in report.notices[0]
    assert "canary" not in str(report.notices)


def test_the_key_of_an_llm_block_stays_with_its_block() -> None:
    text = LISTED + "llm: {base_url: 'http://a:8000', api_key: other}\n"

    assert backends(text)[0] == [{"url": "http://a:8000", "api_key": "own"}]


def test_our_own_listener_is_read_as_far_as_it_can_be() -> None:
    assert listener(parse_document("server: {host: '[::1]', port: 1}", "f")) == ("::1", 1)
    assert listener(parse_document("", "f")) == ("0.0.0.0", 9000)
    assert listener(parse_document("server: {port: x}", "f")) == ("0.0.0.0", 9000)
