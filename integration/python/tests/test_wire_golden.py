"""The golden files of the Go package stream/wire, so that both languages write the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from presence_router.wire import (
    CurrentStatesAnswer,
    CurrentStatesRequest,
    Delivery,
    InterestedUsersAnswer,
    InterestedUsersRequest,
    Reason,
    Scope,
    SendOnlinePresenceAnswer,
    SendOnlinePresenceRequest,
    Subjects,
    UserID,
    UsersForStatesAnswer,
    UsersForStatesRequest,
    UserState,
    decode_dead_letter,
    decode_delivery,
    decode_update,
    encode_delivery,
    encode_state,
    encode_token,
    partition,
    shard,
)

GOLDEN = Path(__file__).parents[3] / "stream" / "wire" / "testdata"
BOB = UserID("@bob:example.com")


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes().removesuffix(b"\n")


AGAIN: dict[str, Callable[[bytes], bytes]] = {
    "delivery_": lambda data: encode_delivery(decode_delivery(data)),
    "state_": lambda data: encode_state(decode_update(data)),
    "query/interested_users_request": lambda data: InterestedUsersRequest.decode(data).encode(),
    "query/interested_users_answer": lambda data: InterestedUsersAnswer.decode(data).encode(),
    "query/users_for_states_request": lambda data: UsersForStatesRequest.decode(data).encode(),
    "query/users_for_states_answer": lambda data: UsersForStatesAnswer.decode(data).encode(),
    "query/send_online_presence_request": lambda data: SendOnlinePresenceRequest.decode(data).encode(),
    "query/send_online_presence_answer": lambda data: SendOnlinePresenceAnswer.decode(data).encode(),
    "query/current_states_request": lambda data: CurrentStatesRequest.decode(data).encode(),
    "query/current_states_answer": lambda data: CurrentStatesAnswer.decode(data).encode(),
}
# Checkpoints are the workers' own; the others have a test of their own below.
OTHERS = ("checkpoint", "dead_letter", "partitions.json", "presence-capture.ndjson")
NAMES = sorted(
    name for path in GOLDEN.rglob("*.*") if not (name := path.relative_to(GOLDEN).as_posix()).startswith(OTHERS)
)


@pytest.mark.parametrize("name", NAMES)
def test_golden_file_decodes_and_encodes_again(name: str) -> None:
    again = [function for prefix, function in AGAIN.items() if name.startswith(prefix)]
    assert len(again) == 1, f"{name} has no test: Python does not know what Go writes"
    data = golden(name)
    assert again[0](data) == data


def test_golden_files_are_there() -> None:
    assert len(NAMES) >= 25


def without_update(state: UserState) -> UserState:
    return replace(state, published=None)


@pytest.mark.parametrize("name", ["state_altered.json", "state_empty_status.json", "state_without_status.json"])
def test_state_is_written_field_by_field(name: str) -> None:
    state = without_update(decode_update(golden(name)))
    assert encode_state(state) == golden(name)


def test_state_with_every_escape() -> None:
    text = '"quoted" \\ \0\x1f\b\f\n\r\t\x7f </script> & ☕😀 \u2028\u2029 \udcff'
    state = UserState(BOB, "busy", 1795378782366, 1, 9223372036854775807, text, True)
    assert encode_state(state) == golden("state_made_up.json")


def test_delivery_of_states_as_published_altered_and_made_up() -> None:
    published = decode_update(golden("delivery_one.json").partition(b'"states":[')[2].removesuffix(b"]}"), sequence=17)
    joann = decode_update(b'{"user_id":"@jo.ann:somewhere.org","state":"online","x":1}', sequence=42)
    states = (
        published,
        replace(joann, status_msg="away"),
        UserState(UserID("@system:example.com"), "online"),
    )
    delivery = Delivery(UserID("@alice:example.com"), 1795370000000, states)
    assert encode_delivery(delivery) == golden("delivery_mixed.json")
    assert encode_delivery(replace(delivery, states=states[:1])) == golden("delivery_one.json")
    assert encode_delivery(Delivery(UserID('@a"☕:b'), 0)) == golden("delivery_empty.json")


def test_decoded_delivery_has_its_sequences_and_its_states_as_published() -> None:
    delivery = decode_delivery(golden("delivery_mixed.json"))
    assert delivery.sequences == (17, 42, 0)
    assert [state.altered for state in delivery.states] == [False] * 3
    assert delivery.states[0].status_msg == "lunch ☕"


def test_partitions_and_shards() -> None:
    for vector in json.loads(golden("partitions.json")):
        user = UserID(vector["user_id"])
        assert encode_token(user.server) + encode_token(user.localpart) == vector["hashed"]
        assert partition(user, 16) == vector["partition_of_16"]
        assert shard(Scope.LOCAL, user, 16) == vector["local_shard_of_16"]
        assert shard(Scope.REMOTE, user, 16) == vector["remote_shard_of_16"]
        assert Subjects().parse_update(Subjects().update(user)) == user


def test_dead_letters() -> None:
    letter = decode_dead_letter(golden("dead_letter.json"))
    assert letter.reason is Reason.ROUTER_FAILED
    assert letter.router == "static"
    assert letter.headers["A"] == ["1", "2"]
    assert decode_update(letter.payload).user_id == BOB
    assert decode_dead_letter(golden("dead_letter_truncated.json")).truncated
    assert decode_dead_letter(golden("dead_letter_smallest.json")).payload == b""


def test_captured_updates_are_kept_byte_for_byte() -> None:
    lines = golden("presence-capture.ndjson").split(b"\n")
    assert len(lines) == 670
    for line in lines:
        state = decode_update(line)
        assert encode_state(state) == line
        assert decode_update(encode_state(without_update(state))) == state
