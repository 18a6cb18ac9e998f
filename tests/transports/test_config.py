"""`transports.config`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from grokproto.errors import ConfigurationError
from grokproto.models import ModelTable
from grokproto.settings import SearchFormat, Settings, ThinkingFormat
from transports.config import is_loopback, load_config
from transports.keys import ApiKeys
from transports.text_file import MAX_BYTES

NOWHERE = Path(os.devnull)
ODD_NUMBERS = ("\u0663", "1_0", "+1", "0x1", "1 0", "1" * 5000, "inf", "--1")
ODD_HOSTS = ("\u00e9.example", "a..b", ".a", "a" * 64, "a." * 130, "a b", "a\\b", "[v1.x]", "a%20b")


def load(**environment: str) -> object:
    """The configuration of this environment."""
    return load_config(environment, NOWHERE)


def test_defaults_are_those_of_the_core() -> None:
    settings = load_config({}, NOWHERE).build_settings()
    assert settings == Settings(acquire_wait=settings.acquire_wait)


def test_what_is_set_reaches_the_settings() -> None:
    config = load_config(
        {
            "IS_TEMP_CONVERSATION": "true",
            "THINKING_FORMAT": "reasoning_content",
            "ISSHOW_SEARCH_RESULTS": "1",
            "PICGO_KEY": "p",
            "TUMY_KEY": "t",
            "CF_CLEARANCE": "clear",
            "GROK_HEADERS": '{"X-Statsig-Id": "signed"}',
            "GROK_BASE_URL": "http://127.0.0.1:9/",
        },
        NOWHERE,
    )
    settings = config.build_settings()
    assert settings.temporary
    assert settings.search == {SearchFormat.FRONT}
    assert settings.thinking is ThinkingFormat.REASONING_CONTENT
    assert [host.kind for host in settings.image_hosts] == ["tumy", "picgo"]
    assert settings.cookies["cf_clearance"].reveal() == "clear"
    assert settings.headers["x-statsig-id"].reveal() == "signed"
    assert settings.base_url == "http://127.0.0.1:9"
    hidden = load_config({"SHOW_THINKING": "no"}, NOWHERE).build_settings()
    assert hidden.thinking is ThinkingFormat.HIDDEN


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("PORT=4000\nHOST=::1\nSSO=from-file\nPROXY=\n")
    config = load_config({"PORT": "5000", "HOST": ""}, path)
    assert (config.port, config.host, config.proxy) == (5000, "127.0.0.1", None)
    assert config.sso is not None
    assert config.sso.reveal() == "from-file"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("STATE", "~nobody-here/x"), ("IMAGE_DIR", "~nobody-here/x"), ("STATE", "a\0b")),
        *(("PORT", "x"), ("PORT", "70000"), ("PORT", "-1"), ("SHUTDOWN_GRACE", "soon")),
        *(("SHUTDOWN_GRACE", "nan"), ("SHUTDOWN_GRACE", "-1"), ("SHOW_THINKING", "perhaps")),
        *(("THINKING_FORMAT", "loud"), ("LOG_LEVEL", "shout"), ("GROK_BASE_URL", "grok.com")),
        *(
            ("GROK_BASE_URL", "https://"),
            ("GROK_BASE_URL", "https://x/?q"),
            ("GROK_BASE_URL", "ftp://x"),
        ),
        *(("GROK_BASE_URL", "https://[x"), ("PROXY", "127.0.0.1:8080"), ("PROXY", "ftp://x:1")),
        *(("PROXY", "http://[x"), ("GROK_HEADERS", "{"), ("GROK_HEADERS", "[1]")),
        *(("GROK_HEADERS", '{"a": 1}'), ("GROK_HEADERS", '{"a b": "x"}')),
        *(("GROK_HEADERS", '{"Cookie": "x"}'), ("GROK_HEADERS", '{"a": "x\\r\\ny"}')),
        *(("CF_CLEARANCE", "a\r\nb"), ("USER_AGENT", "a\x00"), ("TUMY_KEY", "ü")),
        *(
            ("API_KEY", ","),
            ("API_KEY", "a b"),
            ("API_KEY", "sha256:xyz"),
            ("API_KEY", "sha256:00"),
        ),
        *(("MODELS_FILE", "/nonexistent"), ("HOST", "[127.0.0.1"), ("HOST", "[localhost]")),
        *((name, value) for name in ("PORT", "WORKERS", "ACQUIRE_WAIT") for value in ODD_NUMBERS),
        *(("GROK_BASE_URL", f"http://{host}") for host in ODD_HOSTS),
        *(("PUBLIC_URL", f"https://{host}/") for host in ODD_HOSTS),
        *(("PROXY", f"http://user:password@{host}:8080") for host in ODD_HOSTS),
        *(("GROK_BASE_URL", "http://x/\u00e9"), ("GROK_BASE_URL", "http://x/a b")),
        *(("GROK_BASE_URL", "http://:hunter2@x"), ("GROK_BASE_URL", "http://user@x")),
        *(("PROXY", "http://u:hunter2%ff@h:1"), ("PROXY", "http://\u00fc:hunter2@h:1")),
    ],
)
def test_bad_values_are_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_config({name: value}, NOWHERE).read_models()
    assert str(caught.value).startswith(f"{name} ")
    assert "\n" not in str(caught.value)


def test_secrets_are_not_in_errors() -> None:
    for name in ("CF_CLEARANCE", "TUMY_KEY", "PICGO_KEY", "PROXY", "API_KEY", "GROK_HEADERS"):
        with pytest.raises(ConfigurationError) as caught:
            load(**{name: "hunter2 \x00hunter2"})
        assert "hunter2" not in str(caught.value)
    for proxy in (
        "http://u:hunter2%ff@h:1",
        "http://u:hunter2@a..b:1",
        "http://u:hunter2\u00e9@h:1",
    ):
        with pytest.raises(ConfigurationError) as caught:
            load(PROXY=proxy)
        assert "hunter2" not in str(caught.value)


def test_addresses_are_taken_as_they_are_meant() -> None:
    for url in (
        *("http://127.0.0.1:9", "http://[::1]:9/a", "http://a_b-c.example", "http://a."),
        f"http://{'a' * 63}.example",
    ):
        assert load_config({"GROK_BASE_URL": url}, NOWHERE).grok_base_url == url
    assert load_config({"GROK_BASE_URL": "HTTP://X/"}, NOWHERE).grok_base_url == "http://X"
    for proxy in ("http://h:8080", "socks5h://u:p%40w@[::1]:1080"):
        kept = load_config({"PROXY": proxy}, NOWHERE).proxy
        assert kept is not None
        assert kept.reveal() == proxy
    assert load_config({"HOST": " [::1] "}, NOWHERE).host == "::1"
    assert load_config({"PORT": " 080 "}, NOWHERE).port == 80
    for text, seconds in (("5.", 5.0), (".5", 0.5), ("1e1", 10.0), ("12.25", 12.25)):
        assert load_config({"SHUTDOWN_GRACE": text}, NOWHERE).shutdown_grace == seconds


def test_models_file_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text("[[models]]\n")
    with pytest.raises(ConfigurationError, match=r"MODELS_FILE .*models.toml: models\[0\] has no"):
        load_config({"MODELS_FILE": str(path)}, NOWHERE).read_models()
    path.write_text("a=" + "[" * 100_000)
    with pytest.raises(ConfigurationError, match=r"MODELS_FILE .*nested too deeply"):
        load_config({"MODELS_FILE": str(path)}, NOWHERE).read_models()
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_config({"MODELS_FILE": str(path)}, NOWHERE).read_models()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"# " + b"x" * MAX_BYTES, "it is larger than 4 MiB"),
        (b"A=\xff", "it is not UTF-8"),
        (None, "Is a directory"),
    ],
)
def test_files_that_cannot_be_read_are_named(data: bytes | None, why: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    if data is None:
        path.mkdir()
    else:
        path.write_bytes(data)
    with pytest.raises(ConfigurationError) as caught:
        load_config({"MODELS_FILE": str(path)}, NOWHERE).read_models()
    assert str(caught.value) == f"MODELS_FILE {path} cannot be read: {why}"
    with pytest.raises(ConfigurationError) as caught:
        load_config({}, path)
    assert str(caught.value) == f"{path}, a file of variables, cannot be read: {why}"


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(ConfigurationError, match=f"^MODELS_FILE {path} is not there$"):
        load_config({"MODELS_FILE": str(path)}, NOWHERE).read_models()
    with pytest.raises(ConfigurationError, match=f"^{path} is not there$"):
        load_config({}, path)


def test_as_much_as_is_read_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"PORT=4000\n#" + b"x" * (MAX_BYTES - 11))
    assert load_config({}, path).port == 4000
    path.write_bytes(b"#" + b"x" * (MAX_BYTES - 1))
    assert load_config({"MODELS_FILE": str(path)}, NOWHERE).read_models() == ModelTable()


def test_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbfPORT=4000\n")
    assert load_config({}, path).port == 4000
    path.write_bytes(b'\xef\xbb\xbf[aliases]\n"gpt-4o" = "grok-3"\n')
    models = load_config({"MODELS_FILE": str(path)}, NOWHERE).read_models()
    assert models["gpt-4o"].name == "grok-3"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no such device")
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom"])
def test_devices_without_end_are_not_read_to_it(device: str) -> None:
    with pytest.raises(ConfigurationError, match=f"MODELS_FILE {device} .* larger than"):
        load_config({"MODELS_FILE": device}, NOWHERE).read_models()
    with pytest.raises(ConfigurationError, match=f"{device}, .* larger than"):
        load_config({}, Path(device))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *(("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)),
        *(("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.com", False)),
    ],
)
def test_default_key_is_for_this_machine_only(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback
    load(HOST=host, API_KEY="my-own")
    load(HOST=host, IS_CUSTOM_SSO="true")
    if loopback:
        load(HOST=host)
    else:
        with pytest.raises(ConfigurationError, match=r"HOST .* API_KEY"):
            load(HOST=host)


def test_keys_are_not_shown() -> None:
    config = load_config({"API_KEY": "one-hidden,two-hidden", "SSO": "s3cret"}, NOWHERE)
    assert "hidden" not in repr(config)
    assert "s3cret" not in repr(config)
    assert isinstance(config.api_keys, ApiKeys)
    assert config.api_keys.accept("two-hidden")
    assert not config.api_keys.accept("")
