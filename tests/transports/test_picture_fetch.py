"""`transports.pictures.fetch`, over real sockets, with a resolver and a route of the test's own."""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Any

import attrs
import httpcore
import pytest
import trio
import trio.testing
import trustme

from grokproto.images.guard import Address, Fault, is_public
from transports.pictures.fetch import (
    FetchLimits,
    FetchNetwork,
    Picture,
    PictureFetchError,
    fetch_picture,
)
from transports.pictures.guard import resolve_name

PATIENCE = 10.0
"""Seconds after which a test has hung."""
PNG = b"\x89PNG\r\n\x1a\n" + b"png and so on"
PUBLIC = "93.184.215.14"
LIMITS = FetchLimits(max_bytes=1000, seconds=PATIENCE)
SHORT = FetchLimits(max_bytes=1000, seconds=0.1)

Handler = Callable[[trio.abc.Stream, str], Awaitable[None]]
"""Answers one request on a connection, which is closed then; gets the request's head."""


@attrs.define
class FarEnd:
    """A server on 127.0.0.1, and what it was asked."""

    port: int
    heads: list[str] = attrs.field(factory=list)
    connections: int = 0
    closed: trio.Event = attrs.field(factory=trio.Event)
    """A client has closed its connection, or the server has sent into a closed one."""


@attrs.define
class Route(httpcore.AsyncNetworkBackend):
    """Leads from any address to the far end, and writes down what was asked for."""

    port: int
    asked: list[str] = attrs.field(factory=list)
    dead: Sequence[str] = ()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.asked.append(host)
        if host in self.dead:
            raise httpcore.ConnectError("dead")
        return await httpcore.TrioBackend().connect_tcp("127.0.0.1", self.port, timeout)


@attrs.define
class Names:
    """A resolver: each look-up of a name gives the next of its answers, the last for ever."""

    answers: dict[str, list[list[str]]]
    asked: list[str] = attrs.field(factory=list)

    async def resolve(self, host: str, port: int) -> list[str]:
        await trio.lowlevel.checkpoint()
        self.asked.append(host)
        answers = self.answers.get(host)
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return answers.pop(0) if len(answers) > 1 else answers[0]


def answer(body: bytes = PNG, status: int = 200, **headers: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    fields = {"content-length": str(len(body))} | named
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body


def saying(*responses: bytes) -> Handler:
    """One response after the other, the last for ever."""
    left = list(responses)

    async def handle(stream: trio.abc.Stream, head: str) -> None:
        await stream.send_all(left.pop(0) if len(left) > 1 else left[0])

    return handle


def redirect(location: str, status: int = 302) -> bytes:
    return answer(b"over there", status, location=location)


async def wait_for_ever(stream: trio.abc.Stream, head: str) -> None:
    while await stream.receive_some():
        pass


Test = Callable[[FarEnd, Route], Awaitable[None]]


def with_far_end(test: Test, handler: Handler, context: ssl.SSLContext | None = None) -> None:
    """Run a test beside a server."""

    async def main() -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        far_end = FarEnd(listeners[0].socket.getsockname()[1])

        async def serve(raw: trio.SocketStream) -> None:
            far_end.connections += 1
            stream: trio.abc.Stream = raw
            if context is not None:
                stream = trio.SSLStream(raw, context, server_side=True, https_compatible=True)
            head = b""
            with contextlib.suppress(trio.BrokenResourceError):
                async with stream:
                    while b"\r\n\r\n" not in head and (data := await stream.receive_some()):
                        head += data
                    if head:
                        far_end.heads.append(head.decode())
                        await handler(stream, head.decode())
            far_end.closed.set()

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, serve, listeners)
                await test(far_end, Route(far_end.port))
                nursery.cancel_scope.cancel()

    trio.run(main)


def names(*addresses: str, **others: list[list[str]]) -> Names:
    return Names({"a.test": [list(addresses or [PUBLIC])], **others})


def anywhere(address: Address, port: int) -> bool:
    return True


def public(address: Address, port: int) -> bool:
    """The guard's own rule, less that of the ports."""
    return is_public(address)


async def fetch(
    route: Route,
    url: str = "http://a.test/x",
    resolver: Names | None = None,
    limits: FetchLimits = LIMITS,
    **network: Any,
) -> Picture:
    resolver = resolver or names()
    used = FetchNetwork(resolver.resolve, backend=route, **{"allowed": public, **network})
    return await fetch_picture(url, limits=limits, network=used)


async def refuse(route: Route, reason: str, *args: Any, **kwargs: Any) -> Fault:
    """Fetch what cannot be had; whose fault it is."""
    with pytest.raises(PictureFetchError, match=reason) as caught:
        await fetch(route, *args, **kwargs)
    return caught.value.fault


# Pictures


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0 and so on, and so on", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 and so on", "image/webp"),
        (b"GIF89a and so on, and so on", "image/gif"),
        (b"GIF87a", "image/gif"),
    ],
)
def test_pictures_are_what_they_are(data: bytes, media_type: str) -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        assert await fetch(route) == Picture(media_type, data)

    with_far_end(test, saying(answer(data, content_type="text/plain")))


def test_nothing_of_anybodys_is_sent_along() -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        await fetch(route, "http://a.test:8080/x%20y?z=1&w#v")
        (head,) = far_end.heads
        assert head == (
            "GET /x%20y?z=1&w HTTP/1.1\r\n"
            "host: a.test:8080\r\n"
            "accept: image/png, image/jpeg, image/webp, image/gif\r\n"
            "accept-encoding: identity\r\n"
            "user-agent: grokproto\r\n"
            "connection: close\r\n\r\n"
        )

    with_far_end(test, saying(answer(set_cookie="a=b")))


def test_cookies_are_not_kept_for_the_next_step() -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        await fetch(route)
        assert len(far_end.heads) == 2
        assert "cookie" not in far_end.heads[1].lower()
        assert "referer" not in far_end.heads[1].lower()

    with_far_end(test, saying(answer(b"", 302, location="/", set_cookie="a=b"), answer()))


def test_over_a_socket_without_a_route() -> None:
    async def test(far_end: FarEnd, _: Route) -> None:
        network = FetchNetwork(allowed=anywhere)
        url = f"http://127.0.0.1:{far_end.port}/"
        assert await fetch_picture(url, limits=LIMITS, network=network) == Picture("image/png", PNG)
        assert f"host: 127.0.0.1:{far_end.port}\r\n" in far_end.heads[0]

    with_far_end(test, saying(answer()))


def test_chunked_and_byte_by_byte() -> None:
    async def handle(stream: trio.abc.Stream, head: str) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for byte in PNG:
            await stream.send_all(b"1\r\n%c\r\n" % byte)
        await stream.send_all(b"0\r\n\r\n")

    async def test(far_end: FarEnd, route: Route) -> None:
        assert (await fetch(route)).data == PNG

    with_far_end(test, handle)


def test_the_host_of_an_address_with_colons() -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        await fetch(route, "http://[2a00:0::1]:8080/")
        assert "host: [2a00::1]:8080\r\n" in far_end.heads[0]
        assert route.asked == ["2a00::1"]

    with_far_end(test, saying(answer()))


# Where nobody may go


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["169.254.169.254"],
        ["64:ff9b::7f00:1"],
        ["fe80::1%lo"],
        [PUBLIC, "10.0.0.1"],
        ["10.0.0.1", PUBLIC],
        ["what is this"],
        [],
    ],
)
def test_names_that_lead_inside_are_not_gone_to(addresses: list[str]) -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        resolver = Names({"a.test": [addresses]})
        assert await refuse(route, "no public address", resolver=resolver) is Fault.CLIENT
        assert await refuse(route, "no public address", "http://nowhere.test/") is Fault.CLIENT
        assert route.asked == []

    with_far_end(test, saying(answer()))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:7f00:1]", "169.254.169.254"])
def test_addresses_inside_are_not_gone_to(host: str) -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        resolver = names()
        await refuse(route, "no public address", f"http://{host}/", resolver)
        assert (route.asked, resolver.asked) == ([], [])

    with_far_end(test, saying(answer()))


def test_without_anything_set_loopback_is_closed() -> None:
    async def test(far_end: FarEnd, _: Route) -> None:
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(PictureFetchError, match="no public address"):
                await fetch_picture(f"http://{host}:{far_end.port}/", limits=LIMITS)
        assert far_end.connections == 0

    with_far_end(test, saying(answer()))


def test_ports_of_other_services_are_not_gone_to() -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        resolver = names()
        network = FetchNetwork(resolver.resolve, backend=route)
        with pytest.raises(PictureFetchError, match="port"):
            await fetch_picture("http://a.test:6379/", limits=LIMITS, network=network)
        assert (await fetch_picture("http://a.test/", limits=LIMITS, network=network)).data == PNG
        assert route.asked == [PUBLIC]

    with_far_end(test, saying(answer()))


def test_a_name_that_changes_its_mind_is_held_to_its_word() -> None:
    """The look-up that is judged is the only one: what comes after it is not asked for."""

    async def test(far_end: FarEnd, route: Route) -> None:
        resolver = Names({"a.test": [[PUBLIC], ["127.0.0.1"]]})
        assert (await fetch(route, resolver=resolver)).data == PNG
        assert resolver.asked == ["a.test"]
        assert route.asked == [PUBLIC]

    with_far_end(test, saying(answer()))


def test_a_name_that_changes_its_mind_between_two_steps() -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        resolver = Names({"a.test": [[PUBLIC], ["127.0.0.1"]]})
        await refuse(route, "no public address", resolver=resolver)
        assert resolver.asked == ["a.test", "a.test"]
        assert route.asked == [PUBLIC]
        assert far_end.connections == 1

    with_far_end(test, saying(redirect("/again"), answer()))


def test_the_next_address_where_one_is_dead() -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        route.dead = ["2a00::1"]
        assert (await fetch(route, resolver=names("2a00::1", PUBLIC))).data == PNG
        assert route.asked == ["2a00::1", PUBLIC]
        fault = await refuse(route, "could not be reached", resolver=names("2a00::1"))
        assert fault is Fault.FAR_END

    with_far_end(test, saying(answer()))


def test_a_name_with_very_many_addresses() -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        route.dead = [f"8.8.8.{n}" for n in range(100)]
        await refuse(route, "could not be reached", resolver=names(*route.dead))
        assert len(route.asked) == 4

    with_far_end(test, saying(answer()))


def test_the_resolver_of_this_host() -> None:
    async def main() -> None:
        assert "127.0.0.1" in await resolve_name("127.0.0.1", 80)
        assert all(ip_address(text).is_loopback for text in await resolve_name("localhost", 80))

    trio.run(main)


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(status: int) -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        resolver = names(**{"b.test": [["8.8.8.8"]]})
        assert (await fetch(route, "http://a.test:8080/x/y", resolver)).data == PNG
        lines = [head.split("\r\n")[:2] for head in far_end.heads]
        assert lines == [
            ["GET /x/y HTTP/1.1", "host: a.test:8080"],
            ["GET /x/z HTTP/1.1", "host: a.test:8080"],
            ["GET /w HTTP/1.1", "host: b.test"],
        ]
        assert route.asked == [PUBLIC, PUBLIC, "8.8.8.8"]

    with_far_end(test, saying(redirect("z", status), redirect("//b.test:80/w", status), answer()))


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://inside.test/",
        "http://u:p@a.test/",
        "file:///etc/passwd",
        "http://[",
        "http://a.test/\xe4 b",
        "ftp://a.test/",
    ],
)
def test_redirects_into_places_where_nobody_may_go(location: str) -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        resolver = names(**{"inside.test": [["192.168.0.1"]]})
        assert await refuse(route, "address", resolver=resolver) is Fault.CLIENT
        assert route.asked == [PUBLIC]
        assert far_end.connections == 1

    with_far_end(test, saying(redirect(location), answer()))


def test_no_more_than_three_redirects() -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        await refuse(route, "more than 3 times")
        assert far_end.connections == 4

    with_far_end(test, saying(redirect("/")))


def test_three_redirects() -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        assert (await fetch(route)).data == PNG

    with_far_end(test, saying(redirect("/"), redirect("/"), redirect("/"), answer()))


def test_a_redirect_to_nowhere() -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        await refuse(route, "answered 302")

    with_far_end(test, saying(answer(status=302)))


# What is no picture


@pytest.mark.parametrize("body", [b"<html>" + b" " * 50, b"GIF8", b"", b"%PDF-1.7 and so on"])
def test_what_is_no_picture(body: bytes) -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        assert await refuse(route, "no PNG") is Fault.CLIENT

    with_far_end(test, saying(answer(body, content_type="image/png")))


def test_compressed_unasked() -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        assert await refuse(route, "compressed") is Fault.FAR_END

    with_far_end(test, saying(answer(content_encoding="GZip")))


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (404, Fault.CLIENT),
        (206, Fault.CLIENT),
        (304, Fault.CLIENT),
        (429, Fault.FAR_END),
        (503, Fault.FAR_END),
    ],
)
def test_statuses(status: int, fault: Fault) -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        assert await refuse(route, f"answered {status}") is fault

    with_far_end(test, saying(answer(status=status)))


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"220 mail.test ESMTP\r\n",
        answer()[:-1],
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000,
    ],
)
def test_broken_answers(response: bytes) -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        fault = await refuse(route, "broke the connection, or sent what is no answer")
        assert fault is Fault.FAR_END

    with_far_end(test, saying(response))


# Limits


def test_the_largest_there_may_be() -> None:
    whole = PNG.ljust(1000, b".")

    async def test(far_end: FarEnd, route: Route) -> None:
        assert (await fetch(route)).data == whole
        assert await refuse(route, "larger than 1000 bytes") is Fault.CLIENT

    head = b"HTTP/1.1 200 OK\r\n\r\n"
    with_far_end(test, saying(head + whole, head + whole + b"."))


def test_limits_are_told_as_people_say_them() -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        await refuse(route, "it is larger than 20 MiB$", limits=FetchLimits())

    with_far_end(test, saying(answer(content_length=str(20 * 1024 * 1024 + 1))))


def test_a_length_that_is_too_large_is_believed() -> None:
    async def handle(stream: trio.abc.Stream, head: str) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n")
        await wait_for_ever(stream, head)

    async def test(far_end: FarEnd, route: Route) -> None:
        await refuse(route, "larger than 1000 bytes")
        await far_end.closed.wait()

    with_far_end(test, handle)


@pytest.mark.parametrize(
    ("start", "reason"), [(PNG, "larger than 1000 bytes"), (b"<html>" + b" " * 20, "no PNG")]
)
@pytest.mark.parametrize("framing", ["", "transfer-encoding: chunked\r\n"])
def test_a_body_without_end(start: bytes, reason: str, framing: str) -> None:
    async def handle(stream: trio.abc.Stream, head: str) -> None:
        await stream.send_all(f"HTTP/1.1 200 OK\r\n{framing}\r\n".encode())
        piece = start
        while True:
            await stream.send_all(b"%x\r\n%b\r\n" % (len(piece), piece) if framing else piece)
            piece = bytes(4096)

    async def test(far_end: FarEnd, route: Route) -> None:
        await refuse(route, reason)
        await far_end.closed.wait()
        gc.collect()  # what was left to it would be told of

    with_far_end(test, handle)


async def _nothing(stream: trio.abc.Stream, head: str) -> None:
    await wait_for_ever(stream, head)


async def _half_a_head(stream: trio.abc.Stream, head: str) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-")
    await wait_for_ever(stream, head)


async def _half_a_body(stream: trio.abc.Stream, head: str) -> None:
    await stream.send_all(answer()[:-3])
    await wait_for_ever(stream, head)


async def _a_drop_at_a_time(stream: trio.abc.Stream, head: str) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n" + PNG)
    while True:
        await stream.send_all(b".")
        await trio.sleep(0.01)


async def _redirects_slowly(stream: trio.abc.Stream, head: str) -> None:
    await trio.sleep(0.06)
    await stream.send_all(redirect("/"))


SLOW = [_nothing, _half_a_head, _half_a_body, _a_drop_at_a_time, _redirects_slowly]


@pytest.mark.parametrize("handler", SLOW)
def test_all_of_it_has_one_limit_of_time(handler: Handler) -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        assert await refuse(route, "within 0.1 seconds", limits=SHORT) is Fault.FAR_END
        await far_end.closed.wait()

    with_far_end(test, handler)


def test_a_resolver_that_takes_its_time() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        await trio.sleep_forever()
        raise AssertionError

    async def test(far_end: FarEnd, route: Route) -> None:
        network = FetchNetwork(resolve, backend=route)
        with pytest.raises(PictureFetchError, match=r"within 0\.1 seconds"):
            await fetch_picture("http://a.test/", limits=SHORT, network=network)

    with_far_end(test, saying(answer()))


@pytest.mark.parametrize("handler", [_nothing, _half_a_body, _a_drop_at_a_time])
def test_whoever_gives_up_leaves_nothing_open(handler: Handler) -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch, route)
            while not far_end.heads:
                await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await far_end.closed.wait()

    with_far_end(test, handler)


# TLS


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def server_context(authority: trustme.CA, *identities: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*identities).configure_cert(context)
    return context


def test_the_certificate_is_the_names(authority: trustme.CA) -> None:
    context = server_context(authority, "a.test")
    said: list[str | None] = []
    context.sni_callback = lambda _, name, __: said.append(name)

    async def test(far_end: FarEnd, route: Route) -> None:
        trusting = client_context(authority)
        assert (await fetch(route, "https://a.test/", ssl_context=trusting)).data == PNG
        assert said == ["a.test"]
        assert route.asked == [PUBLIC]
        resolver = names(**{"b.test": [[PUBLIC]]})
        reason = "no certificate that can be trusted"
        fault = await refuse(route, reason, "https://b.test/", resolver, ssl_context=trusting)
        assert fault is Fault.FAR_END
        await refuse(route, reason, f"https://{PUBLIC}/", ssl_context=trusting)
        assert len(far_end.heads) == 1

    with_far_end(test, saying(answer()), context)


def test_a_certificate_for_an_address(authority: trustme.CA) -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        trusting = client_context(authority)
        assert (await fetch(route, f"https://{PUBLIC}/", ssl_context=trusting)).data == PNG

    with_far_end(test, saying(answer()), server_context(authority, PUBLIC))


def test_a_certificate_that_nobody_knows(authority: trustme.CA) -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        await refuse(route, "no certificate that can be trusted", "https://a.test/")
        assert far_end.heads == []

    with_far_end(test, saying(answer()), server_context(authority, "a.test"))


def test_no_tls_where_it_should_be(authority: trustme.CA) -> None:
    async def serve(stream: trio.abc.Stream, head: str) -> None:
        raise AssertionError

    async def test(far_end: FarEnd, route: Route) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

        async def speak_plainly(stream: trio.SocketStream) -> None:
            async with stream:
                await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                await stream.receive_some()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, speak_plainly, listeners)
            route.port = listeners[0].socket.getsockname()[1]
            await refuse(route, "no secure connection", "https://a.test/")
            nursery.cancel_scope.cancel()

    with_far_end(test, serve)


def test_a_handshake_that_does_not_go_on() -> None:
    async def test(far_end: FarEnd, route: Route) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        closed = trio.Event()

        async def listen_only(stream: trio.SocketStream) -> None:
            async with stream:
                await wait_for_ever(stream, "")
            closed.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, listen_only, listeners)
            route.port = listeners[0].socket.getsockname()[1]
            await refuse(route, r"within 0\.1 seconds", "https://a.test/", limits=SHORT)
            await closed.wait()
            nursery.cancel_scope.cancel()

    with_far_end(test, saying(answer()))
