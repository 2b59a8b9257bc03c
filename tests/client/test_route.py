"""Which node is asked."""

from __future__ import annotations

import random

import pytest

from api.client.route import BACKOFF_MAX_S, LEARNED_MAX, Route, normalise_url


@pytest.mark.parametrize("url", ["ftp://a:1", "http://", "http://a:1/path", "http://u:p@a:1", "http://a:99999", "a:b"])
def test_a_url_that_is_no_node_is_refused_with_its_text(url):
    with pytest.raises(ValueError, match=url.replace("?", ".")):
        normalise_url(url)


def test_no_urls_at_all_are_refused():
    with pytest.raises(ValueError, match="non-empty"):
        Route([], rng=random.Random(1))
    with pytest.raises(ValueError, match="sequence"):
        Route("http://a:1", rng=random.Random(1))


def test_a_client_of_https_never_follows_to_http():
    route = Route(["https://a:1", "https://b:2"], rng=random.Random(1))
    assert not route.follow("http://b:2")
    assert route.current == "https://a:1"
    assert route.follow("https://b:2")


def test_learned_urls_are_bounded():
    route = Route(["http://a:1"], rng=random.Random(1))
    for port in range(100):
        route.follow(f"http://x:{port + 1}")
    assert len(route.urls) == 1 + LEARNED_MAX
    route.next(route.current)
    assert route.current == "http://a:1"


def test_a_hint_that_is_no_url_is_ignored():
    route = Route(["http://a:1"], rng=random.Random(1))
    assert not any(route.follow(hint) for hint in (None, 7, "", "javascript:x", "http://a:1"))


def test_a_node_that_somebody_else_left_already_is_not_left_twice():
    route = Route(["http://a:1", "http://b:2", "http://c:3"], rng=random.Random(1))
    route.next("http://a:1")
    route.next("http://a:1")
    assert route.current == "http://b:2"


def test_a_caller_that_counts_its_own_failures_is_not_slowed_by_those_of_others():
    route = Route(["http://a:1", "http://b:2", "http://c:3"], rng=random.Random(1))
    for _ in range(40):
        route.pause_s()
    assert route.pause_s(failures=1) == 0.0
    assert 0.0 < route.pause_s(failures=3) <= BACKOFF_MAX_S


def test_pauses_grow_are_jittered_and_bounded():
    route = Route(["http://a:1"], rng=random.Random(1))
    pauses = [route.pause_s() for _ in range(40)]
    assert pauses[0] < pauses[5] <= BACKOFF_MAX_S
    assert len(set(pauses)) == 40
    assert max(pauses) <= BACKOFF_MAX_S
    route.good()
    assert route.pause_s() < 0.1
