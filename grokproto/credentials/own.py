"""The user's own cookie: the bearer key of a request is the sso cookie for that request alone.

Nothing is kept and no pool is asked, so nothing of one user's request can reach another's. The
lease need not be given back: whatever became of it, nothing follows, and a limit is the user's own.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ConfigurationError, InvalidRequestError
from ..lease import Lease
from ..secret import Secret
from .cookies import parse_account


def parse_own(key: str) -> Mapping[str, Secret]:
    """The cookies that a bearer key stands for.

    Raises:
        InvalidRequestError: It cannot be an sso cookie (401). The key is not shown.
    """
    try:
        return parse_account(key)
    except ConfigurationError as exc:
        raise InvalidRequestError(
            f"The API key must be your own sso cookie of grok.com; the one given {exc}.",
            code="invalid_api_key",
            status=401,
        ) from None


def lease_own(cookies: Mapping[str, Secret], group: str) -> Lease:
    """A lease of these cookies, for one attempt. Its release may be ignored."""
    name = next(iter(cookies.values())).fingerprint
    return Lease(serial=0, credential=name, group=group, cookies=cookies)
