"""`transports.api.routes`: the API as HTTP."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.transports.served import Served, chat, encode_request, with_server
from transports.api.routes import ROUTES


def test_paths_with_and_without_v1() -> None:
    async def check(served: Served) -> None:
        for prefix in ("/v1", ""):
            models = await served.request("GET", f"{prefix}/models")
            assert models.status == 200
            assert models.json["data"][0]["id"] == "grok-2"
            one = await served.request("GET", f"{prefix}/models/grok-3-reasoning")
            assert one.json["id"] == "grok-3-reasoning"
            answer = await served.request("POST", f"{prefix}/chat/completions", chat())
            assert answer.status == 200
            assert "hi" in answer.text
            assert answer.headers["content-type"] == "application/json"

    with_server(check)


def test_what_is_not_there() -> None:
    async def check(served: Served) -> None:
        for path in ("/", "/v1", "/v1/embed", "/v1/models/", "/v2/models"):
            answer = await served.request("GET", path)
            assert answer.status == 404
            assert answer.error["type"] == "invalid_request_error"
            assert answer.error["code"] == "not_found"
        for path, word in (
            ("/v1/embeddings", "embeddings"),
            ("/embeddings", "embeddings"),
            ("/v1/completions", "/v1/chat/completions"),
            ("/v1/audio/speech", "audio"),
            ("/v1/responses/resp_1", "/v1/chat/completions"),
        ):
            answer = await served.request("POST", path, {})
            assert answer.status == 404
            assert answer.error["code"] == "not_supported"
            assert word in answer.error["message"]
        missing = await served.request("GET", "/v1/models/gpt-1")
        assert (missing.status, missing.error["code"]) == (404, "model_not_found")
        assert missing.error["param"] == "model"
        for method, path in (("GET", "/v1/chat/completions"), ("DELETE", "/v1/models")):
            answer = await served.request(method, path)
            assert answer.status == 405
            assert answer.error["code"] == "method_not_allowed"
        assert (await served.request("PUT", "/health")).headers["allow"] == "HEAD, GET"

    with_server(check)


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer sk-wrong", "Basic c2s6", "sk-123456789"]
)
def test_keys(authorization: str) -> None:
    async def check(served: Served) -> None:
        for path, body in (("/v1/models", None), ("/v1/chat/completions", chat())):
            method = "POST" if body else "GET"
            answer = await served.request(method, path, body, authorization=authorization)
            assert answer.status == 401
            assert answer.error["code"] == "invalid_api_key"
            assert "sk-wrong" not in answer.error["message"]
        assert (await served.request("GET", "/health", authorization=authorization)).status == 200
        assert served.simulator.site.calls.total() == 0

    with_server(check)


def test_several_keys_and_one_by_its_hash() -> None:
    digest = "d74ff0ee8da3b9806b18c877dbf29bbde50b5bd8e4dad7a3a725000feb82e8f1"  # of "pass"

    async def check(served: Served) -> None:
        for key, status in (("one", 200), ("pass", 200), ("two", 401), (digest, 401)):
            answer = await served.request("GET", "/models", authorization=f"Bearer {key}")
            assert answer.status == status

    with_server(check, API_KEY=f"one, sha256:{digest}")


def test_cors() -> None:
    async def check(served: Served) -> None:
        answer = await served.request(
            "OPTIONS",
            "/v1/chat/completions",
            authorization="",
            origin="https://app.example",
            access_control_request_method="POST",
            access_control_request_headers="authorization, x-stainless-os",
        )
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-allow-headers"] == "authorization, x-stainless-os"
        assert "POST" in answer.headers["access-control-allow-methods"]
        for response in (
            await served.chat(),
            await served.chat(stream=True),
            await served.chat(model="gpt-1"),
            await served.request("GET", "/nowhere"),
            await served.request("GET", "/models", authorization=""),
        ):
            assert response.headers["access-control-allow-origin"] == "*"
            assert len(response.headers["x-request-id"]) == 36

    with_server(check)


def test_head_has_no_body() -> None:
    async def check(served: Served) -> None:
        client = await served.connect()
        async with client.stream:
            await client.send(
                encode_request("HEAD", "/v1/models") + encode_request("GET", "/health")
            )
            head = await client.read_response(head_only=True)
            assert (head.status, int(head.headers["content-length"]) > 100) == (200, True)
            assert (await client.read_response()).json["status"] == "ok"

    with_server(check)


def test_bodies_that_cannot_be_right() -> None:
    async def check(served: Served) -> None:
        for body in (b"", b"{", b"[]", b"\xff"):
            answer = await served.request("POST", "/v1/chat/completions", body)
            assert answer.status == 400
            assert answer.error["type"] == "invalid_request_error"
        answer = await served.chat(stream="yes")
        assert (answer.status, answer.error["param"]) == (400, "stream")
        assert served.simulator.site.calls.total() == 0

    with_server(check)


def test_body_that_is_too_long() -> None:
    async def check(served: Served) -> None:
        answer = await served.request("POST", "/v1/chat/completions", b"x" * 3000)
        assert answer.status == 413
        assert answer.error["code"] == "body_too_large"
        client = await served.connect()
        async with client.stream:  # told before it is sent
            await client.send_request("POST", "/chat/completions", content_length="999999999")
            assert (await client.read_response()).status == 413

    with_server(check, MAX_BODY_BYTES="2000")


def test_aliases_from_a_file(tmp_path: object) -> None:
    path = f"{tmp_path}/models.toml"
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write('[aliases]\n"gpt-4o" = "grok-3"\n')

    async def check(served: Served) -> None:
        answer = await served.chat(model="gpt-4o")
        assert answer.json["model"] == "gpt-4o"
        assert served.simulator.site.received[-1].body["modelName"] == "grok-3"

    with_server(check, MODELS_FILE=path)


def test_models_whose_names_are_escaped(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    names = ("a/b:c", "m x", "grök", "50%", "a%2Fb")
    path.write_text("[aliases]\n" + "".join(f"'{name}' = 'grok-3'\n" for name in names))

    async def check(served: Served) -> None:
        for name in names:
            shown = await served.request("GET", f"/v1/models/{quote(name, safe='')}")
            assert (shown.status, shown.json["id"]) == (200, name)
        assert (await served.request("GET", "/v1/models/a/b:c")).json["id"] == "a/b:c"
        for bad in ("%", "%zz", "%FF", "%ED%A0%80", "grok-3%00", "%2"):
            missing = await served.request("GET", f"/v1/models/{bad}")
            assert (missing.status, missing.error["code"]) == (404, "model_not_found")

    with_server(check, MODELS_FILE=str(path))


def test_ready_tells_the_truth(tmp_path: Path) -> None:
    async def check(served: Served) -> None:
        async def ask() -> tuple[int, str | None]:
            answer = await served.request("GET", "/ready", authorization="")
            return answer.status, answer.json.get("reason")

        scheduler = served.scheduler
        (only,) = scheduler.pool.status(scheduler.unix_now)
        assert await ask() == (200, None)
        scheduler.pool.disable(only.name, "Not today.", scheduler.unix_now)
        status, reason = await ask()
        assert (status, "account" in str(reason)) == (503, True)
        assert only.name not in str(reason)
        scheduler.pool.enable(only.name)
        assert await ask() == (200, None)
        scheduler.store._database.execute("PRAGMA query_only = ON")
        assert await ask() == (503, "The state cannot be written.")
        assert (await served.request("GET", "/health")).json["status"] == "degraded"
        scheduler.store._database.execute("PRAGMA query_only = OFF")  # nobody asks for anything,
        assert await ask() == (200, None)  # and yet it is noticed
        assert (await served.request("GET", "/health")).json["status"] == "ok"

    async def without_accounts(served: Served) -> None:
        for path, status in (("/ready", 503), ("/health", 200)):
            assert (await served.request("GET", path)).status == status

    async def own(served: Served) -> None:
        assert (await served.request("GET", "/ready")).status == 200

    with_server(check, accounts=("anna",), STATE=str(tmp_path / "state"))
    with_server(without_accounts, accounts=())
    with_server(own, accounts=(), IS_CUSTOM_SSO="true")


def test_what_is_told_of_accounts_needs_the_key() -> None:
    """Every route but those that say whether the server is there."""

    async def check(served: Served) -> None:
        for route in ROUTES:
            path = route.path.format("x")
            for method in route.methods:
                answer = await served.request(method, path, authorization="Bearer wrong")
                assert (answer.status == 401) != (route.path in OPEN)
        assert {route.path for route in ROUTES if route.open} == OPEN
        for path in ("/metrics", "/status", "/admin", "/.env", "/state.sqlite3"):
            assert (await served.request("GET", path, authorization="")).status in (401, 404)

    with_server(check)


OPEN = {"/health", "/ready", "/images/{}"}
