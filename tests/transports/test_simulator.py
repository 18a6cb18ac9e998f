"""`transports.simulator`: it answers as the site does, call by call."""

from __future__ import annotations

import base64
import sys
from typing import Any

import pytest
import trio

from grokproto.grok.calls import RATE_LIMITS, RPC, UPLOAD_FILE, read_rate_limits, read_upload
from grokproto.grok.payload import build_payload
from grokproto.images.hosts import build_upload, read_link
from grokproto.models import ModelTable
from grokproto.secret import Secret
from grokproto.settings import ImageHost
from tests.fixtures.load import STREAM_EXPECTATIONS, read_stream
from tests.proto.reading import describe, read
from tests.strategies import single_bytes
from tests.transports.simulated import Client, Reply, with_simulator
from transports.simulator import Delivery, Simulator, Style
from transports.simulator.frames import IMAGE_FORMS, RESULTS
from transports.simulator.framing import FRAMINGS
from transports.simulator.pictures import draw_png

MODELS = ModelTable()
PLAIN = "You asked: hello — simulated answers are made of plain words so that a reader sees Done."
CITED = [RESULTS[0][0]]
PAGES = [[title, url] for url, title in RESULTS]
PICTURE = {
    "fileName": "a.png",
    "fileMimeType": "image/png",
    "content": base64.b64encode(draw_png(1)).decode(),
}


def understand(reply: Reply) -> dict[str, Any]:
    """What a reader makes of an answer."""
    assert reply.status == 200, reply.body
    assert reply.header("content-type") == "application/json"
    return describe(read([reply.body]))


# Answers


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_in_every_framing(name: str, framing: str) -> None:
    model = MODELS[name]
    searches = "webSearch" in model.tools or model.deepsearch is not None
    thinking = ""
    if model.reasoning:
        thinking = "Weighing the question.\n"
    elif model.deepsearch:
        thinking = "Planning\nTwo pages to read. Two pages agree."
    elif model.mode in ("expert", "heavy"):
        thinking = "Thinking about your request\nWeighing it.\n"

    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.style = Style(framing=framing)
        reply = await client.ask(**build_payload(model, "ASSISTANT: no\nUSER: hello"))
        found = understand(reply)
        images = found.pop("images")
        draws = "imageGen" in model.tools
        assert len(images) == (2 if draws else 0)
        assert found == {
            "content": "I made 2 pictures." if draws else PLAIN,
            "reasoning": thinking,
            "citations": CITED if searches else [],
            "search_results": PAGES if searches else [],
            "x_results": [["A post.", "https://x.com/someone_example/status/101"]]
            if "xSearch" in model.tools
            else [],
            "finish_reason": "stop",
            "error_kind": None,
        }
        assert (b'"messageTag":"final"' in reply.body) is (model.mode is not None)
        assert (b"\n" in reply.body) is (framing != "joined")
        assert (b"data: [DONE]" in reply.body) is (framing == "sse")

    with_simulator(check)


def test_search_as_of_today_has_tool_cards_and_results() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        reply = await client.ask(
            modelName=None, modeId="expert", toolOverrides={"webSearch": True, "xSearch": True}
        )
        found = understand(reply)
        assert found["content"] == PLAIN
        assert found["reasoning"] == "Thinking about your request\nWeighing it.\n"
        assert (found["citations"], found["search_results"]) == (CITED, PAGES)
        assert b'"messageTag":"raw_function_result"' in reply.body

    with_simulator(check)


def test_second_answer_only_where_it_is_asked_for() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        reply = await client.ask(enableSideBySide=True)
        assert b"sideBySideIndex" in reply.body
        assert understand(reply)["content"] == PLAIN
        assert b"sideBySideIndex" not in (await client.ask()).body

    with_simulator(check)


def test_follow_up_is_flat() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        payload = {"message": "hello", "modelName": "grok-3", "parentResponseId": "x"}
        reply = await client.post("/rest/app-chat/conversations/abc/responses", payload)
        assert understand(reply)["content"] == PLAIN
        assert b'"response":' not in reply.body
        assert b'"conversation"' not in reply.body
        assert b'"title"' not in reply.body

    with_simulator(check)


def test_answer_depends_on_the_question_alone() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.style = Style(tokens=3)
        first, second = await client.ask("one two"), await client.ask("one two")
        other = await client.ask("three")
        assert understand(first) == understand(second)
        content = understand(other)["content"]
        assert content == "You asked: three — simulated answers are Done."

    with_simulator(check)


def test_answer_in_given_words() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        wish = 'USER: Say [[say:{"a": [["b"]]}\n  é:say]] then [[say:B:say]]'
        assert understand(await client.ask(wish))["content"] == '{"a": [["b"]]}\n  é'
        for given in ("\nASSISTANT: A\nUSER: go on", "\nASSISTANT: A\nUSER: x\nASSISTANT: B"):
            assert understand(await client.ask(wish + given))["content"] == "B"
        simulator.site.style = Style(text="always this")
        assert understand(await client.ask("hi"))["content"] == "always this"
        assert understand(await client.ask("[[say:not:say]]"))["content"] == "not"

    with_simulator(check)


def test_answer_without_end_mark() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.style = Style(soft_stop=False)
        reply = await client.ask(sendFinalMetadata=True)
        assert understand(reply)["content"] == PLAIN
        assert not any(mark in reply.body for mark in (b"modelResponse", b'"isSoftStop":true'))
        assert b"finalMetadata" not in reply.body

    with_simulator(check)


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_codings(coding: str) -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.delivery = Delivery(coding=coding)
        reply = await client.ask()
        assert reply.header("content-encoding") == coding
        assert b"".join(reply.pieces) != reply.body
        assert understand(reply)["content"] == PLAIN

    with_simulator(check)


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_cuts(cut: int) -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.delivery = Delivery(cut=cut, lines_per_write=0)
        reply = await client.ask()
        assert {len(piece) for piece in reply.pieces[:-1]} == {cut}
        assert understand(reply)["content"] == PLAIN

    with_simulator(check)


def test_lines_per_write() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.delivery = Delivery(lines_per_write=3)
        reply = await client.ask()
        assert {piece.count(b"\n") for piece in reply.pieces[:-1]} == {3}
        simulator.site.delivery = Delivery(lines_per_write=0)
        assert len((await client.ask()).pieces) == 1

    with_simulator(check)


def test_pace_is_between_the_tokens() -> None:
    pace = 0.002

    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.delivery = Delivery(pace=pace)
        begun = trio.current_time()
        reply = await client.ask()
        assert trio.current_time() - begun >= pace * (reply.body.count(b"\n") - 1)

    with_simulator(check)


@pytest.mark.parametrize("name", sorted(STREAM_EXPECTATIONS))
def test_replay_of_a_fixture_in_single_bytes(name: str) -> None:
    data = read_stream(name)

    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.replay = single_bytes(data)
        reply = await client.ask()
        assert reply.pieces == single_bytes(data)
        assert describe(read(reply.pieces)) == STREAM_EXPECTATIONS[name]

    with_simulator(check)


def test_replay_in_given_pieces() -> None:
    pieces = [b'{"result":{"tok', b'en":"a"}}\n{', b'"result":{"token":"b"}}\n']

    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.replay = pieces
        assert (await client.ask()).pieces == pieces

    with_simulator(check)


# Questions that are wrong


@pytest.mark.parametrize(
    "fields",
    [
        {"message": ""},
        {"message": None},
        {"message": ["a"]},
        {"modelName": ""},
        {"fileAttachments": "x"},
        {"fileAttachments": ["unknown"]},
        {"fileAttachments": [str(n) for n in range(5)]},
    ],
)
def test_wrong_question(fields: dict[str, Any]) -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        reply = await client.ask(**{"message": "hello", **fields})
        assert reply.status == 400
        assert reply.json["error"]["code"] == 3
        assert simulator.site.accounts.get("anna").calls == 0

    with_simulator(check)


def test_unknown_path() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        assert (await client.get("/rest/nothing")).status == 404
        assert (await client.call("DELETE", "/", headers={"cookie": "sso=anna"})).status == 404

    with_simulator(check)


# Uploads


def test_uploaded_picture_can_be_asked_about_by_its_account() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        uploaded = await client.post(UPLOAD_FILE, PICTURE)
        identity = read_upload(uploaded.body)
        assert identity is not None
        old = await client.post(RPC, {"rpc": "uploadFile", "req": PICTURE})
        other = read_upload(old.body)
        assert other not in (None, identity)
        reply = await client.ask(fileAttachments=[identity, other])
        assert understand(reply)["content"].endswith("I see 2 pictures. Done.")
        assert b"imageAttachmentInfo" in reply.body
        assert (await client.ask(cookie="sso=berta", fileAttachments=[identity])).status == 400

    with_simulator(check)


@pytest.mark.parametrize("content", ["data:image/png;base64,AAAA", "", "?", None, 7])
def test_upload_takes_plain_base64_only(content: Any) -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        reply = await client.post(UPLOAD_FILE, {**PICTURE, "content": content})
        assert reply.status == 400
        assert (await client.post(RPC, {"rpc": "uploadFile"})).status == 400

    with_simulator(check)


def test_site_with_the_older_upload_only() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.has_upload_file = False
        assert (await client.post(UPLOAD_FILE, PICTURE)).status == 404
        assert (await client.post(RPC, {"rpc": "uploadFile", "req": PICTURE})).status == 200

    with_simulator(check)


# Pictures


@pytest.mark.parametrize("form", IMAGE_FORMS)
def test_pictures_can_be_fetched_by_who_drew_them(form: str) -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.style = Style(image_form=form, pictures=3)
        found = understand(await client.ask(toolOverrides={"imageGen": True}))
        assert found["content"] == "I made 3 pictures."
        bodies = set()
        for address in found["images"]:
            path = "/" + address.removeprefix("https://assets.grok.com/")
            picture = await client.get(path)
            assert picture.header("content-type") == "image/png"
            bodies.add(picture.body)
            assert (await client.get(path, cookie="sso=berta")).status == 404
            assert (await client.get(path, cookie="")).status == 401
        assert len(bodies) == 3
        assert all(body.startswith(b"\x89PNG\r\n\x1a\n") for body in bodies)

    with_simulator(check)


@pytest.mark.parametrize("form", ["cached", "streaming", "card"])
def test_moderated_pictures(form: str) -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        simulator.site.style = Style(image_form=form, moderated=True)
        found = understand(await client.ask(toolOverrides={"imageGen": True}))
        assert found["images"] == []

    with_simulator(check)


@pytest.mark.parametrize("kind", ["tumy", "picgo"])
def test_image_host(kind: str) -> None:
    picture = draw_png(5)

    async def check(simulator: Simulator, client: Client) -> None:
        host = ImageHost(kind, client.url, Secret("key"))
        request = build_upload(host, picture, "image/png")
        path = request.url.removeprefix(client.url)
        headers = {**dict(request.headers), "host": client.url.removeprefix("http://")}
        reply = await client.call("POST", path, request.body, headers=headers)
        link = read_link(host, reply.status, reply.body)
        assert link is not None
        fetched = await client.call("GET", link.removeprefix(client.url))
        assert (fetched.header("content-type"), fetched.body) == ("image/png", picture)

        without = {n: v for n, v in headers.items() if n not in ("authorization", "x-api-key")}
        assert (await client.call("POST", path, request.body, headers=without)).status == 401
        torn = await client.call("POST", path, request.body[:-20], headers=headers)
        assert torn.status == 400
        form = {**headers, "content-type": "text/plain"}
        assert (await client.call("POST", path, request.body, headers=form)).status == 400
        field = request.body.replace(b'name="', b'name="x', 1)
        assert (await client.call("POST", path, field, headers=headers)).status == 400
        simulator.site.hosts.working = False
        assert (await client.call("POST", path, request.body, headers=headers)).status == 500

    with_simulator(check)


# Accounts


def test_quota_is_used_up_and_comes_back() -> None:
    now = 0.0

    async def check(simulator: Simulator, client: Client) -> None:
        nonlocal now
        for _ in range(20):
            assert (await client.ask()).status == 200
        now = 7000.4
        refused = await client.ask()
        assert refused.status == 429
        assert refused.json == {"error": {"code": 8, "message": "Too many requests", "details": []}}
        limits = await client.post(RATE_LIMITS, {"requestKind": "DEFAULT", "modelName": "grok-3"})
        quota = read_rate_limits(limits.body)
        assert quota is not None
        assert (quota.remaining, quota.total, limits.json["waitTimeSeconds"]) == (0, 20, 199)
        account = simulator.site.accounts.get("anna")
        assert (account.calls, account.refused) == (20, 1)
        for others in ({"modelName": "grok-latest"}, {"isReasoning": True}, {"modeId": "auto"}):
            assert (await client.ask(**others)).status == 200
        assert (await client.ask(cookie="sso=berta")).status == 200
        now = 7200.0
        assert (await client.ask()).status == 200
        limits = await client.post(RATE_LIMITS, {"modelName": "grok-3"})
        assert limits.json["remainingQueries"] == 19

    with_simulator(check, clock=lambda: now)


@pytest.mark.parametrize(
    ("fields", "kind", "size"),
    [
        ({"deepsearchPreset": "default"}, "DEEPSEARCH", 2),
        ({"deepsearchPreset": "deeper"}, "DEEPERSEARCH", 3),
        ({"isReasoning": True}, "REASONING", 10),
    ],
)
def test_quotas_by_kind(fields: dict[str, Any], kind: str, size: int) -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        for _ in range(size):
            assert (await client.ask(**fields)).status == 200
        assert (await client.ask(**fields)).status == 429
        limits = await client.post(RATE_LIMITS, {"requestKind": kind, "modelName": "grok-3"})
        assert limits.json["remainingQueries"] == 0
        assert limits.json["totalQueries"] == size

    with_simulator(check, quotas={"DEEPSEARCH": (2, 60.0)})


def test_limit_of_many_at_once_is_exact() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        statuses: list[int] = []

        async def ask() -> None:
            statuses.append((await client.ask()).status)

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(ask)
        assert sorted(statuses) == [200] * 20 + [429] * 10

    with_simulator(check)


def test_guests_come_from_the_home_page() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        home = await client.call("GET", "/")
        cookies = [v.partition(";")[0] for n, v in home.headers if n == "set-cookie"]
        assert [c.partition("=")[0] for c in cookies] == [
            "x-anonuserid",
            "x-challenge",
            "x-signature",
        ]
        guest = "; ".join(cookies)
        assert understand(await client.ask(cookie=guest, modelName="grok-latest"))
        assert simulator.site.accounts.get("guest:1").calls == 1
        assert (await client.ask(cookie="; ".join(cookies[:2]))).status == 401
        assert (await client.ask(cookie=guest.replace("signature-1", "made up"))).status == 401
        second = await client.call("GET", "/")
        assert second.headers != home.headers
        simulator.site.gives_guests = False
        assert (await client.call("GET", "/")).header("set-cookie") is None

    with_simulator(check, quotas={"grok-latest": (1, 60.0)})


def test_accounts_that_are_refused() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        assert (await client.ask(cookie="")).status == 401
        simulator.site.accounts.get("berta").dead = True
        dead = await client.ask(cookie="other=1; sso=berta")
        assert (dead.status, dead.json["error"]["code"]) == (401, 16)
        simulator.site.accounts.get("clara").blocked = True
        blocked = await client.post(RATE_LIMITS, {}, cookie="sso=clara")
        assert (blocked.status, blocked.json["error"]["code"]) == (403, 7)
        assert "blocked-user" in blocked.json["error"]["message"]

    with_simulator(check)


# What tests can see


def test_calls_are_counted_and_kept() -> None:
    async def check(simulator: Simulator, client: Client) -> None:
        site = simulator.site
        answers = [await client.ask("one"), await client.ask("two", "sso=berta")]
        answers.append(await client.post(RATE_LIMITS, {}))
        assert site.calls["/rest/app-chat/conversations/new"] == 2
        assert site.accounts.get("anna").paths == {
            "/rest/app-chat/conversations/new": 1,
            "/rest/rate-limits": 1,
        }
        assert site.bytes_sent == sum(len(answer.body) for answer in answers)
        assert (site.cancelled, site.most_in_flight) == (0, 1)
        first, second, _ = site.received
        assert (first.account, second.account) == ("anna", "berta")
        assert first.body == {"message": "one", "modelName": "grok-3"}
        assert first.headers["cookie"] == "sso=anna"
        await client.post(UPLOAD_FILE, {**PICTURE, "fileName": "x" * 2_000_000})
        assert site.received[-1].body is None

    with_simulator(check)


def test_base_url_is_known_once_it_runs() -> None:
    with pytest.raises(RuntimeError):
        _ = Simulator().base_url


def test_command_line_tells_the_address() -> None:
    async def main() -> None:
        command = [sys.executable, "-m", "transports.simulator", "--tokens", "2", "--cut", "50"]
        async with trio.open_nursery() as nursery:
            start = trio.run_process
            process: trio.Process = await nursery.start(
                lambda task_status: start(
                    command, capture_stdout=False, stdout=-1, check=False, task_status=task_status
                )
            )
            assert process.stdout is not None
            with trio.fail_after(20):
                line = (await process.stdout.receive_some()).decode()
                addresses = dict(pair.split("=", 1) for pair in line.split())
                assert set(addresses) == {
                    "GROK_BASE_URL",
                    "GROK_ASSETS_URL",
                    "TUMY_BASE_URL",
                    "PICGO_BASE_URL",
                }
                client = Client(addresses["GROK_BASE_URL"])
                reply = await client.ask()
                await client.aclose()
                assert {len(piece) for piece in reply.pieces} >= {50}
                assert understand(reply)["content"] == (
                    "You asked: hello — simulated answers Done."
                )
            process.terminate()

    trio.run(main)
