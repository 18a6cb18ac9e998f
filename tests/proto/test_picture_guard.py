"""`grokproto.images.guard`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grokproto.images.guard import (
    MAX_URL,
    Fault,
    PictureFetchError,
    Target,
    follow_redirect,
    is_allowed,
    is_public,
    read_addresses,
    read_target,
    refuse_address,
)


@pytest.mark.parametrize(
    ("url", "target", "same"),
    [
        ("https://a.test", Target("https", "a.test", 443, "/"), "https://a.test/"),
        ("HTTP://A.Test.:80/x", Target("http", "a.test", 80, "/x"), "http://a.test/x"),
        ("http://a.test:443/", Target("http", "a.test", 443, "/"), "http://a.test:443/"),
        (
            "https://my_pictures.a-b.test:8443/a%20b;c?d=e/f?g&h=%2F#i?j",
            Target("https", "my_pictures.a-b.test", 8443, "/a%20b;c?d=e/f?g&h=%2F"),
            "https://my_pictures.a-b.test:8443/a%20b;c?d=e/f?g&h=%2F",
        ),
        ("https://a.test?b", Target("https", "a.test", 443, "/?b"), "https://a.test/?b"),
        ("https://a.test:", Target("https", "a.test", 443, "/"), "https://a.test/"),
        ("https://a.test//b", Target("https", "a.test", 443, "//b"), "https://a.test//b"),
        (
            'https://a.test/ä"<>?ö|',
            Target("https", "a.test", 443, "/%C3%A4%22%3C%3E?%C3%B6%7C"),
            "https://a.test/%C3%A4%22%3C%3E?%C3%B6%7C",
        ),
        (
            "https://[2001:DB8:0::1]:8080/",
            Target("https", "2001:db8::1", 8080, "/"),
            "https://[2001:db8::1]:8080/",
        ),
        ("http://8.8.8.8/", Target("http", "8.8.8.8", 80, "/"), "http://8.8.8.8/"),
        (
            "https://xn--bcher-kva.test/",
            Target("https", "xn--bcher-kva.test", 443, "/"),
            "https://xn--bcher-kva.test/",
        ),
    ],
)
def test_addresses_are_taken_apart(url: str, target: Target, same: str) -> None:
    assert read_target(url) == target
    assert target.url == same
    assert read_target(same) == target


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        *((url, "must begin with") for url in ("", "a.test/x", "//a.test/x", "ftp://a.test/x")),
        *((url, "must begin with") for url in ("file:///etc/passwd", "gopher://a.test:70/_")),
        *((url, "must begin with") for url in ("data:image/png;base64,AA", "javascript:1")),
        *((url, "a user") for url in ("https://user@a.test/", "https://u:p@a.test/")),
        *((url, "a user") for url in ("https://@a.test/", "https://good.test@127.0.0.1/")),
        *(
            (url, "a space")
            for url in ("https://a.test/b c", " https://a.test/", "https://a\t.test")
        ),
        *((url, "a space") for url in ("https://a.test/\r\nHost: b", "https://good.test\\@b.test")),
        *((url, "a space") for url in ("https://a.test/\x7f", "https://a.test/\0")),
        *((url, "host") for url in ("https://", "https:///x", "https://.", "https://a..test")),
        *((url, "host") for url in ("https://*.test", "https://ä.test", "https://a%2eb.test")),
        *(
            (url, "host")
            for url in ("https://127。0。0。1/", "https://①②⑦.test/", "https://\u212a.test")
        ),
        *((url, "host") for url in ("http://127.1/", "http://2130706433/", "http://0x7f.1/")),
        *((url, "host") for url in ("http://0177.0.0.1/", "http://1.2.3.4.5/", "http://a.0x/")),
        *((url, "host") for url in ("http://a.1./", "http://256.1.1.1/", "http://[fe80::1%25a]/")),
        *((url, "host") for url in (f"https://{'a' * 64}.test/", f"https://{'a.' * 127}a/")),
        *((url, "read") for url in ("https://[::1/", "https://a]/", "https://[1.2.3.4]/")),
        *((url, "read") for url in ("https://a.test:b/", "https://a.test:٣/")),
        ("https://a.test:65536/", "port"),
        *((url, "read") for url in ("https://a.test:-1/", "https://[v1.a]/", "https://[::1]a/")),
        *((url, "read") for url in ("https://a[::1]/", "https://[a]/", "https://[]/")),
        *((url, "read") for url in ("https://a:1:2/", "https://::1/", "https://a.test:123456/")),
        ("https://a.test:0/", "port"),
        ("https://\ud800.test/", "host"),
        ("https://a.test/" + "b" * MAX_URL, f"longer than {MAX_URL}"),
    ],
)
def test_addresses_that_are_refused(url: str, reason: str) -> None:
    with pytest.raises(PictureFetchError, match=reason) as caught:
        read_target(url)
    assert caught.value.fault is Fault.CLIENT
    assert caught.value.reason == str(caught.value)


@given(st.text() | st.text().map("https://".__add__) | st.from_regex(r"https?://[^/]+/.*"))
@example("https://a.test/\ud800?\ud800")
@example("https://[::ffff:127.0.0.1]/")
@example("https://\u2100.test/")
def test_an_address_is_refused_or_means_one_thing(url: str) -> None:
    try:
        target = read_target(url)
    except PictureFetchError:
        return
    assert read_target(target.url) == target
    assert target.url.isascii()
    assert target.url.isprintable()
    assert " " not in target.url


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/b", "https://a.test:8443/b"),
        ("b", "https://a.test:8443/x/b"),
        ("?b", "https://a.test:8443/x/y?b"),
        ("//b.test/c", "https://b.test/c"),
        ("http://127.0.0.1/", "http://127.0.0.1/"),
        ("https://b.test", "https://b.test/"),
    ],
)
def test_redirects(location: str, url: str) -> None:
    assert follow_redirect(read_target("https://a.test:8443/x/y?z"), location).url == url


@pytest.mark.parametrize("location", ["file:///etc/passwd", "https://u@b.test", "//[", "/a b"])
def test_redirects_that_lead_nowhere(location: str) -> None:
    with pytest.raises(PictureFetchError):
        follow_redirect(read_target("https://a.test/"), location)


FORBIDDEN = """
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255 127.0.0.1
    127.255.255.254 168.63.129.16 169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1
    192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255
    198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    :: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:8.8.8.8 64:ff9b::7f00:1
    64:ff9b::808:808 64:ff9b:1::a00:1 100::1 1fff::1 2001::1 2001:0:53aa:64c:0:0:f5ff:fffe 2001:2::1
    2001:10::1 2001:20::1 2001:1ff:ffff::1 2001:db8::1 2002:7f00:1:: 2002:808:808::1 3fff::1
    3fff:fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 febf::1 fec0::1 ff02::1
    ff0e::1
""".split()
PUBLIC = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1
    168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.1
    192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255
    2000::1 2001:200::1 2001:4860:4860::8888 2003::1 2606:4700:4700::1111 2a00::1 3ffe:ffff::1
""".split()


@pytest.mark.parametrize("address", FORBIDDEN)
def test_nobody_may_go_there(address: str) -> None:
    assert not is_public(ip_address(address))
    assert not is_allowed(ip_address(address), 443)


@pytest.mark.parametrize("address", PUBLIC)
def test_anybody_may_go_there(address: str) -> None:
    assert is_public(ip_address(address))
    assert is_allowed(ip_address(address), 443)


@given(st.ip_addresses())
def test_nothing_that_the_standard_library_calls_private_is_public(
    address: IPv4Address | IPv6Address,
) -> None:
    if is_public(address):
        assert not address.is_private
        assert not address.is_multicast
        assert not address.is_reserved
        assert not address.is_link_local


@pytest.mark.parametrize(
    ("port", "allowed"), [(80, True), (8443, True), (22, False), (6379, False)]
)
def test_ports(port: int, allowed: bool) -> None:
    assert is_allowed(ip_address("8.8.8.8"), port) is allowed


def test_what_a_resolver_found() -> None:
    found = read_addresses(["8.8.8.8", "2a00::1", "8.8.8.8", "fe80::1%eth0", "nonsense"])
    assert [str(address) for address in found] == ["8.8.8.8", "2a00::1", "fe80::1%eth0", "0.0.0.0"]
    assert [is_public(address) for address in found] == [True, True, False, False]


def test_literals() -> None:
    assert read_target("https://8.8.8.8/").literal == IPv4Address("8.8.8.8")
    assert read_target("https://[2a00::1]/").literal == IPv6Address("2a00::1")
    assert read_target("https://a.test/").literal is None


def test_a_host_that_leads_inside_sounds_like_one_that_leads_nowhere() -> None:
    assert refuse_address().fault is Fault.CLIENT
    assert "address" in refuse_address().reason
