from __future__ import annotations

import pytest

from fairway.cluster.kubeconfig import Access, access_of, anchored, is_empty, merged, single, without
from fairway.values.errors import ConfigError

OURS = Access({"server": "https://127.0.0.1:6443"}, {"token": "t"})
USERS = {
    "apiVersion": "v1",
    "kind": "Config",
    "preferences": {"colors": True},
    "clusters": [{"name": "work", "cluster": {"server": "https://work"}}],
    "users": [{"name": "me", "user": {"token": "secret"}}],
    "contexts": [{"name": "work", "context": {"cluster": "work", "user": "me"}}],
    "current-context": "work",
}


def test_a_cluster_is_added_and_made_current_and_the_rest_stays() -> None:
    tree = merged(USERS, "fairway", OURS)
    assert tree["current-context"] == "fairway"
    assert access_of(tree) == OURS
    assert access_of(tree, "work") == Access({"server": "https://work"}, {"token": "secret"})
    assert tree["preferences"] == {"colors": True}


def test_a_cluster_of_the_same_name_is_replaced() -> None:
    newer = OURS._replace(user={"token": "newer"})
    tree = merged(merged(USERS, "fairway", OURS), "fairway", newer)
    assert [one["name"] for one in tree["users"]] == ["me", "fairway"]
    assert access_of(tree) == newer


def test_taking_it_out_gives_back_what_was_there_but_for_the_current_context() -> None:
    assert without(merged(USERS, "fairway", OURS), "fairway") == {**USERS, "current-context": ""}
    assert without(USERS, "fairway") == USERS
    assert is_empty(without(single("fairway", OURS), "fairway"))
    assert not is_empty(USERS)


def test_the_users_tree_is_not_changed_in_place() -> None:
    before = repr(USERS)
    merged(USERS, "work", OURS)
    without(USERS, "work")
    assert repr(USERS) == before


def test_files_are_found_from_another_folder() -> None:
    cluster = {"certificate-authority": "pki/ca.crt", "server": "https://x"}
    given = Access(cluster, {"client-key": "/abs.key", "token": "t"})
    assert anchored(given, "/home/me/.kube") == Access(
        {"certificate-authority": "/home/me/.kube/pki/ca.crt", "server": "https://x"},
        {"client-key": "/abs.key", "token": "t"},
    )


def test_a_tree_that_is_no_kubeconfig_is_refused() -> None:
    with pytest.raises(ConfigError, match="clusters: a list of named entries"):
        merged({"clusters": {"work": {}}}, "fairway", OURS)
    with pytest.raises(ConfigError, match="users: 'me' is not defined"):
        access_of({**USERS, "users": []})
    with pytest.raises(ConfigError, match="contexts: '' is not defined"):
        access_of({})
