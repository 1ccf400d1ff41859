"""What is no update is refused for the reason that a worker gives."""

from __future__ import annotations

import json

import pytest

from presence_router.client import Client
from presence_router.wire import (
    InvalidTokenError,
    InvalidUpdateError,
    InvalidUserIDError,
    Reason,
    Subjects,
    UserID,
    UserState,
    WireError,
    decode_dead_letter,
    decode_delivery,
    decode_token,
    decode_update,
)

START = b'{"user_id":"@vic:example.com","state":"online"'
DEEP = b'"x":' + b"[" * 64 + b"]" * 64
DEEPEST = b'"x":' + b"[" * 63 + b"]" * 63

GOOD = {
    "required fields only": START + b"}",
    "nulls": START + b',"last_active_ts":null,"status_msg":null,"currently_active":null}',
    "largest time": START + b',"last_active_ts":9223372036854775807}',
    "signed zero": START + b',"last_active_ts":-0}',
    "float": START + b',"last_active_ts":1000.0}',
    "exponents": START + b',"last_active_ts":1.795378782366E+12,"last_user_sync_ts":120000e-4}',
    "largest time as a float": START + b',"last_active_ts":922337203685477580.7e1}',
    "zero with a huge exponent": START + b',"last_active_ts":-0.00e999999999999999999999}',
    "unknown fields, also twice": START + b',"x":[1,{"y":-1.5e+3}],"x":0,"State":3}',
    "escapes": b'{"\\u0075ser_id":"\\u0040vic\\u003Aexample.com","st\\u0061te":"on\\u006cine"}',
    "surrogate pair": START + b',"status_msg":"a\\ud83d\\uDE00b\\\\ud83d"}',
    "namespaced state": b'{"user_id":"@vic:example.com","state":"com.example.away"}',
    "deepest": START + b"," + DEEPEST + b"}",
    "whitespace": b' {\t"user_id" :\r\n"@vic:example.com" , "state" : "online" } \n',
}
BAD: dict[str, tuple[bytes, Reason]] = {
    "no user": (b'{"state":"online"}', Reason.INVALID_USER_ID),
    "null user": (b'{"user_id":null,"state":"online"}', Reason.INVALID_USER_ID),
    "user without a server": (b'{"user_id":"@vic","state":"online"}', Reason.INVALID_USER_ID),
    "user with NUL": (b'{"user_id":"@v\\u0000c:example.com","state":"online"}', Reason.INVALID_USER_ID),
    "long user": (b'{"user_id":"@' + b"x" * 250 + b':example.com","state":"online"}', Reason.INVALID_USER_ID),
    "bad server": (b'{"user_id":"@vic:exa_mple","state":"online"}', Reason.INVALID_USER_ID),
    "bad port": (b'{"user_id":"@vic:example.com:123456","state":"online"}', Reason.INVALID_USER_ID),
    "bad IPv6 address": (b'{"user_id":"@vic:[::1%eth0]","state":"online"}', Reason.INVALID_USER_ID),
    "no state": (b'{"user_id":"@vic:example.com"}', Reason.INVALID_STATE),
    "unknown state": (b'{"user_id":"@vic:example.com","state":"away"}', Reason.INVALID_STATE),
    "number as state": (b'{"user_id":"@vic:example.com","state":1}', Reason.INVALID_STATE),
    "another user": (b'{"user_id":"@eve:example.com","state":"online"}', Reason.SUBJECT_MISMATCH),
    "negative time": (START + b',"last_active_ts":-5}', Reason.MALFORMED),
    "fraction": (START + b',"last_active_ts":1.5}', Reason.MALFORMED),
    "small fraction": (START + b',"last_active_ts":1795378782366.0000000000000000001}', Reason.MALFORMED),
    "time above all": (START + b',"last_active_ts":9223372036854775808}', Reason.MALFORMED),
    "exponent above all": (START + b',"last_active_ts":1e19}', Reason.MALFORMED),
    "huge exponent": (START + b',"last_active_ts":1e99999999999999999999}', Reason.MALFORMED),
    "text as time": (START + b',"last_active_ts":"5"}', Reason.MALFORMED),
    "number as status": (START + b',"status_msg":5}', Reason.MALFORMED),
    "number as flag": (START + b',"currently_active":1}', Reason.MALFORMED),
    "state twice": (START + b',"\\u0073tate":"online"}', Reason.MALFORMED),
    "empty": (b"", Reason.MALFORMED),
    "array": (b"[]", Reason.MALFORMED),
    "byte order mark": (b"\xef\xbb\xbf{}", Reason.MALFORMED),
    "comma at the end": (START + b",}", Reason.MALFORMED),
    "two values": (START + b"} {}", Reason.MALFORMED),
    "NaN": (START + b',"x":NaN}', Reason.MALFORMED),
    "leading zero": (START + b',"x":01}', Reason.MALFORMED),
    "control character": (START + b',"x":"\n"}', Reason.MALFORMED),
    "no UTF-8": (START + b',"x":"\xff"}', Reason.MALFORMED),
    "half a surrogate pair": (START + b',"x":"\\ud83d-"}', Reason.MALFORMED),
    "second half first": (START + b',"x":"\\ude00\\ud83d"}', Reason.MALFORMED),
    "half a pair at the end": (START + b',"x":"\\ud83d"}', Reason.MALFORMED),
    "half a pair in a key": (START + b',"\\ud83d":1}', Reason.MALFORMED),
    "too deep": (START + b"," + DEEP + b"}", Reason.MALFORMED),
    "much too deep": (START + b',"x":' + b"[" * 30000 + b"]" * 30000 + b"}", Reason.MALFORMED),
}


@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD)
def test_update_is_taken(data: bytes) -> None:
    state = decode_update(data)
    assert state.user_id == "@vic:example.com"
    assert not state.altered


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD)
def test_update_is_refused(data: bytes, reason: Reason) -> None:
    if reason is Reason.SUBJECT_MISMATCH:
        assert decode_update(data).user_id == "@eve:example.com"
        return
    with pytest.raises(InvalidUpdateError) as refused:
        decode_update(data)
    assert refused.value.reason is reason
    assert len(str(refused.value)) < 400


def test_exact_times() -> None:
    assert decode_update(GOOD["exponents"]).last_active_ts == 1795378782366
    assert decode_update(GOOD["exponents"]).last_user_sync_ts == 12
    assert decode_update(GOOD["largest time as a float"]).last_active_ts == (1 << 63) - 1


async def test_workers_give_the_same_reasons(shared: Client) -> None:
    js = shared.nc.jetstream()
    vic = shared.subjects.update(UserID("@vic:example.com"))
    dead = await js.pull_subscribe("presence.dead.*", stream="PRESENCE_DEAD")
    before = (await dead.consumer_info()).num_pending or 0
    for data in GOOD.values():
        await js.publish(vic, data)
    for data, _ in BAD.values():
        await js.publish(vic, data)
    wanted = [(reason, data) for data, reason in BAD.values()]
    found: list[tuple[Reason, bytes]] = []
    while len(found) < before + len(wanted):
        for message in await dead.fetch(1, timeout=30):
            letter = decode_dead_letter(message.data)
            found.append((letter.reason, letter.payload))
            await message.ack()
    assert found[before:] == wanted


@pytest.mark.parametrize("text", ["", "bob", "@bob", "bob:example.com", "@b:", "@b:[", "@b:[1.2.3.4]", "@\ud83d:b.c"])
def test_user_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidUserIDError, match="want @localpart:server"):
        UserID(text)


def test_user_id_has_parts() -> None:
    user = UserID("@:[2001:db8::1]:8448")
    assert (user.localpart, user.server) == ("", "[2001:db8::1]:8448")


@pytest.mark.parametrize("token", ["", "a.b", "%2e", "%61", "a%", "%2", "%FF", "é", "%%"])
def test_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidTokenError):
        decode_token(token)


def test_empty_token() -> None:
    assert decode_token("%") == ""


@pytest.mark.parametrize(
    ("subject", "says"),
    [
        ("presence.update.example%2Ecom", "<server>.<localpart>"),
        ("presence.update.a.b.c", "<server>.<localpart>"),
        ("presence.update.a.b%3Ac", "colon"),
        ("other.update.a.b", "want presence.update."),
    ],
)
def test_subject_is_refused(subject: str, says: str) -> None:
    with pytest.raises(WireError, match=says):
        Subjects().parse_update(subject)


@pytest.mark.parametrize("field", ["recipient", "epoch", "sequences", "states"])
def test_delivery_without_a_field_is_refused(field: str) -> None:
    delivery = {"recipient": "@a:b", "epoch": 1, "sequences": [], "states": []}
    assert decode_delivery(json.dumps(delivery).encode()).epoch == 1
    del delivery[field]
    with pytest.raises(WireError, match=f"{field} is missing"):
        decode_delivery(json.dumps(delivery).encode())


def test_made_up_state_is_checked() -> None:
    with pytest.raises(InvalidUpdateError, match="last_active_ts is -1, want an integer from 0"):
        UserState(UserID("@a:b"), "online", last_active_ts=-1)
