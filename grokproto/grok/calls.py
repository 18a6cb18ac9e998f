"""The calls to Grok as requests, and the answers that are no streams.

Building is one function a call (`build_...`), reading its answer another (`read_...`). Which call
comes when is the exchange's business.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import RemoteProtocolError
from ..lease import Lease, Quota
from ..models import Model
from ..request import Attachment, FilePart, ImagePart
from ..settings import Settings
from ..upstream_request import UpstreamRequest
from .frames import UNREADABLE
from .headers import build_api_headers, build_asset_headers
from .payload import encode_payload

CONVERSATIONS = "/rest/app-chat/conversations/new"
UPLOAD_FILE = "/rest/app-chat/upload-file"
RPC = "/api/rpc"
RATE_LIMITS = "/rest/rate-limits"

_PATH = "/%:@!$&'()*+,;=~-._?"
"""What may stand in an address as it is; Grok may name any text as one."""

_EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
}


def _post(
    settings: Settings, lease: Lease, request_id: str, path: str, payload: dict[str, Any]
) -> UpstreamRequest:
    return UpstreamRequest(
        "POST",
        settings.base_url + path,
        build_api_headers(settings, lease, request_id),
        encode_payload(payload),
    )


def build_conversation(
    settings: Settings, lease: Lease, request_id: str, payload: dict[str, Any]
) -> UpstreamRequest:
    """Ask a question; the answer is streamed."""
    return _post(settings, lease, request_id, CONVERSATIONS, payload)


def build_upload(
    settings: Settings, lease: Lease, request_id: str, file: Attachment, *, rpc: bool = False
) -> UpstreamRequest:
    """Upload a picture or a text file of the client's.

    Args:
        settings: Where Grok is.
        lease: The account to which the file shall belong.
        request_id: A fresh one.
        file: What to upload; no link, since that holds nothing.
        rpc: Use the call of early 2025, where `upload-file` is not there [client code].
    """
    assert isinstance(file, ImagePart | FilePart)
    if isinstance(file, FilePart):
        name = file.name
    else:
        name = f"image.{_EXTENSIONS.get(file.media_type, 'bin')}"
    payload = {"fileName": name, "fileMimeType": file.media_type, "content": file.content}
    if rpc:
        return _post(settings, lease, request_id, RPC, {"rpc": "uploadFile", "req": payload})
    return _post(settings, lease, request_id, UPLOAD_FILE, payload)


def read_upload(body: bytes) -> str:
    """The id of an uploaded file.

    [recorded] `{"fileMetadataId":"...","fileMimeType":"...","fileName":"...","fileUri":"..."}`

    Raises:
        RemoteProtocolError: There is none in the answer.
    """
    try:
        decoded = msgspec.json.decode(body)
    except UNREADABLE as exc:
        raise RemoteProtocolError("the answer to an upload is no JSON") from exc
    identity = decoded.get("fileMetadataId") if isinstance(decoded, dict) else None
    if not isinstance(identity, str) or not identity:
        raise RemoteProtocolError("the answer to an upload has no fileMetadataId")
    return identity


def build_download(settings: Settings, lease: Lease, address: str) -> UpstreamRequest:
    """Fetch a generated picture, which wants the cookies of the account that drew it.

    Args:
        settings: Where the assets host is.
        lease: The account.
        address: A path under the assets host, as `grokproto.answer.Image` has it.
    """
    from urllib.parse import quote  # noqa: PLC0415  # it takes milliseconds to load

    path = quote(address, safe=_PATH, errors="replace")
    return UpstreamRequest(
        "GET", f"{settings.assets_url}/{path}", build_asset_headers(settings, lease)
    )


def build_rate_limits(
    settings: Settings, lease: Lease, request_id: str, model: Model
) -> UpstreamRequest:
    """Ask how many calls an account has left for a model."""
    payload = {
        "requestKind": model.rate_limit_kind,
        "modelName": model.grok_name if model.mode is None else model.mode,
    }
    return _post(settings, lease, request_id, RATE_LIMITS, payload)


def read_rate_limits(body: bytes) -> Quota:
    """What `rest/rate-limits` says.

    [recorded] `{"windowSizeSeconds":7200,"remainingQueries":46,"totalQueries":50,
    "lowEffortRateLimits":null,"highEffortRateLimits":null}`, sometimes `waitTimeSeconds`.

    Raises:
        RemoteProtocolError: It says nothing that can be used.
    """
    try:
        decoded = msgspec.json.decode(body, type=_RateLimits)
    except UNREADABLE as exc:
        raise RemoteProtocolError("the rate limits have another shape than is known") from exc
    if decoded.window <= 0 or decoded.total <= 0 or not 0 <= decoded.remaining <= decoded.total:
        raise RemoteProtocolError("the rate limits contradict themselves")
    wait = decoded.wait if decoded.wait is not None and decoded.wait > 0 else None
    return Quota(decoded.remaining, decoded.total, decoded.window, wait)


class _RateLimits(msgspec.Struct):
    window: float = msgspec.field(name="windowSizeSeconds")
    remaining: int = msgspec.field(name="remainingQueries")
    total: int = msgspec.field(name="totalQueries")
    wait: float | None = msgspec.field(name="waitTimeSeconds", default=None)
