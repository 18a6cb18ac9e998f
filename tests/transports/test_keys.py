"""Keys of clients: which are good, how they may be sent, and that looking tells nothing."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from tests.transports.served import Served, with_server
from transports.keys import read_api_keys
from transports.variables import BadValueError

KEYS = ("one", "two-2", "a" * 200)
HASHED = "hashed"
DIGEST = hashlib.sha256(HASHED.encode()).hexdigest()
LIST = ",".join([*KEYS, f"sha256:{DIGEST}"])

GOOD = (
    *(f"Bearer {key}" for key in (*KEYS, HASHED)),
    *("bearer one", "BEARER one", "Bearer  one", "Bearer one "),
)
BAD = (
    *("", "one", "Bearer", "Bearer ", "Bearer one two-2", "Bearer one,two-2", "Bearer One"),
    *("Bearerone", "Bearer:one", "Bearer 'one'", 'Bearer "one"', "Bearer\tone", "Bearer on"),
    *("Bearer onee", "Bearer a", "Basic b25lOm9uZQ==", "Digest one", "Token one", "Key one"),
    *(f"Bearer {DIGEST}", f"Bearer sha256:{DIGEST}", "Bearer sha256:", "Bearer sk-123456789"),
    *("Bearer \xe9", "Bearer one\xa0", "Bearer one, Bearer two-2", "Negotiate", "Bearer null"),
)


def test_how_a_key_may_be_sent() -> None:
    async def check(served: Served) -> None:
        for authorization in GOOD:
            answer = await served.request("GET", "/v1/models", authorization=authorization)
            assert answer.status == 200, authorization
        for authorization in BAD:
            answer = await ask(served, authorization)
            assert (answer[0], answer[1]) == (401, "invalid_api_key"), authorization

    with_server(check, API_KEY=LIST)


async def ask(served: Served, authorization: str) -> tuple[int, str]:
    """Ask with a header as it is; status and code."""
    client = await served.connect()
    async with client.stream:
        head = f"GET /get/tokens HTTP/1.1\r\nhost: a\r\nauthorization: {authorization}\r\n\r\n"
        await client.send(head.encode("latin-1"))
        answer = await client.read_response()
        return answer.status, answer.error["code"]


def test_where_a_key_may_not_be_sent() -> None:
    """In no other header, and not in the address, where logs and proxies would keep it."""

    async def check(served: Served) -> None:
        for path, headers in (
            ("/v1/models?key=one&api_key=one&access_token=one", {}),
            ("/v1/models", {"x_api_key": "one"}),
            ("/v1/models", {"api_key": "one", "cookie": "key=one; authorization=one"}),
            ("/v1/models", {"proxy_authorization": "Bearer one"}),
        ):
            answer = await served.request("GET", path, authorization="", **headers)
            assert answer.status == 401

    with_server(check, API_KEY=LIST)


def test_every_known_key_is_compared_whatever_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def note(known: bytes, given: bytes) -> bool:
        compared.append((known, given))
        return compare(known, given)

    keys = read_api_keys(LIST)
    monkeypatch.setattr(hmac, "compare_digest", note)
    for given, good in (*((key, True) for key in (*KEYS, HASHED)), ("", False), ("onf", False)):
        compared.clear()
        assert keys.accept(given) is good
        assert len(compared) == len(KEYS) + 1
        assert {len(each) for pair in compared for each in pair} == {32}  # never the keys


@pytest.mark.parametrize("text", [",", " , ", "sha256:", "sha256:1f", "sha256:" + "g" * 64, "h x"])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(BadValueError) as caught:
        read_api_keys(text)
    for word in ("1f", "ggg", "h x"):
        assert word not in str(caught.value)
