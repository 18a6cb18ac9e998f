"""What is seen of an idle connection before it is used again, and of a head that is none."""

from __future__ import annotations

import ssl
from typing import Any

import httpcore
import pytest
import trustme
from h2.exceptions import StreamClosedError

from transports.upstream.checked import has_news, telling_faults
from transports.upstream.faults import tell_fault
from transports.upstream.rules import holds_more


class Memory(httpcore.AsyncNetworkStream):
    """A stream with nothing on its socket; what came of TLS is in memory."""

    def __init__(self, tls: object) -> None:
        self._tls = tls

    def get_extra_info(self, info: str) -> Any:
        return {"is_readable": False, "ssl_object": self._tls}[info]


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def ends(request: Any) -> tuple[ssl.SSLObject, ssl.SSLObject, list[ssl.MemoryBIO]]:
    """Both ends of TLS, and the way from the far one to this one."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    client.maximum_version = request.param
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    there, here = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(here, there, server_hostname="localhost")
    far = server.wrap_bio(there, here, server_side=True)
    for _ in range(3):
        for end in (near, far):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return near, far, [here]


Ends = tuple[ssl.SSLObject, ssl.SSLObject, list[ssl.MemoryBIO]]


def test_what_came_with_the_response_in_one_piece(ends: Ends) -> None:
    near, far, _ = ends
    assert not has_news(Memory(near))
    far.write(b"a response")
    assert near.read(100) == b"a response"
    assert not has_news(Memory(near))
    far.write(b"and more")
    assert has_news(Memory(near))


def test_farewell(ends: Ends) -> None:
    near, far, _ = ends
    with pytest.raises(ssl.SSLWantReadError):
        far.unwrap()
    assert has_news(Memory(near))


def test_nonsense(ends: Ends) -> None:
    near, _, (way,) = ends
    way.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert has_news(Memory(near))


def test_without_tls() -> None:
    assert not has_news(Memory(None))


def test_connection_that_does_not_let_us_look_is_not_used_again() -> None:
    assert holds_more(httpcore.AsyncConnectionInterface())


def test_fault_that_is_no_sentence_is_told_by_its_name() -> None:
    assert tell_fault(StreamClosedError(103)) == "a breach of HTTP/2: StreamClosedError"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("illegal header line: bytearray(b'Set-Cookie  canary')", "illegal header line"),
        ('illegal chunk header: bytearray(b"it\'s")', "illegal chunk header"),
        ("Illegal header value b'canary'", "Illegal header value"),
        ("peer closed connection", "peer closed connection"),
    ],
)
def test_what_the_far_end_has_sent_is_not_repeated(text: str, told: str) -> None:
    assert tell_fault(httpcore.RemoteProtocolError(text)) == told


@pytest.mark.parametrize("mistake", [ValueError("ours"), httpcore.LocalProtocolError("ours")])
def test_mistakes_of_ours_stay_what_they_are(mistake: Exception) -> None:
    with pytest.raises(type(mistake), match="ours"), telling_faults():
        raise mistake
