"""Credentials, as long as they are few and equal: each call gets the next one in turn."""

from __future__ import annotations

import itertools

from grokproto.commands import AcquireCredential, ReleaseCredential
from grokproto.events import CredentialAcquired, NoCredential
from grokproto.lease import Lease
from grokproto.secret import Secret


def split_cookies(text: str) -> list[str]:
    """The sso cookies of a list by commas."""
    parts = (part.strip() for part in text.split(","))
    return list(dict.fromkeys(part.removeprefix("sso=") for part in parts if part))


class Scheduler:
    """Gives out the credentials in turn."""

    def __init__(self, cookies: list[str]) -> None:
        self._secrets = [Secret(cookie) for cookie in cookies]
        self._serials = itertools.count(1)
        self._turn = 0

    async def acquire(self, command: AcquireCredential) -> CredentialAcquired | NoCredential:
        """See `drive.Credentials`."""
        for _ in self._secrets:
            secret = self._secrets[self._turn % len(self._secrets)]
            self._turn += 1
            if secret.fingerprint not in command.exclude:
                cookies = {"sso": secret, "sso-rw": secret}
                lease = Lease(next(self._serials), secret.fingerprint, command.group, cookies)
                return CredentialAcquired(lease)
        if not self._secrets:
            return NoCredential(
                "This server has no account for Grok; its operator must set SSO to the sso cookie "
                "of one."
            )
        return NoCredential("None of this server's accounts could answer.")

    def release(self, command: ReleaseCredential) -> None:
        """See `drive.Credentials`."""
