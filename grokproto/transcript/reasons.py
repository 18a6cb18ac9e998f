"""Reasons: sentences of this program's, its libraries' and the system's, and what they quote.

A reason tells why a call failed or an account rests. Quotes are marked in many ways (“...”, '...',
`bytearray(b'...')`) or not at all, as what a proxy says. So not what is foreign is looked for, but
what is known: words that such sentences are made of, and short numbers. All else becomes filler.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

_PIECE = re.compile(
    # Quotes, whose end may have been cut off. An apostrophe within a word opens none.
    r"“[^”]*|(?<!\w)(?:b|bytearray\(b)?([\"'])(?:\\.|.)*?(?:\1(?!\w)|$)"
    # Grok's own address, and numbers that say nothing.
    r"|(?P<known>(?<![\w.:-])(?:grok\.com|\d{1,5}(?:\.\d{1,3})?)(?![.:]?[\w-]|::))"
    # Other addresses.
    r"|\b\d+\.\d+\.\d+\.\d+\b|\[?[0-9a-fA-F]*:[0-9a-fA-F:]{2,}\]?"
    r"|\b[\w-]+(?:\.[\w-]+)+(?::\d+)?"
    # A name such as that of a model, or a word.
    r"|(?P<name>(?<![\w-])\w+(?:-\w+)+(?![\w-]))"
    r"|(?P<word>[^\W_]+)",
    re.DOTALL,
)
_WORDS = frozenset(
    "a abort accepts access accessing account accounts add address addresses advertise "
    "after again agent alert all allocate already an and anode another answer answered anti "
    "are argument as asked assign associated at attached attachments attempted attempting "
    "attempts authentication available avoided back bad base be been before belongs between "
    "block blocked body bot breach broke broken brotli buffer busy but by bytes ca call "
    "calls came can canceled cancelled cannot capacity caused certificate cf chain "
    "challenge change changed channel character child chunk chunked cleaning clearance "
    "client close closed cloudflare code coded coding com come comes communication complete "
    "compressed conflicting connect connected connection content continuation contradict "
    "cookie cookies cooling corrupted could cross csi data days deadlock defined denied "
    "descriptor desired destination device did died directly directory disabled "
    "disconnected disk does domain down drew driver dropped due empty enable encoding end "
    "ended endpoint eof error exceeded exchange exec exists expected expecting expired "
    "failed failure family far fault fetched file files firewall first flight followed "
    "follows font footer for forbidden format found free fresh full function gateway gave "
    "get gif give given gives gone got granted grok guest had halted handle handshake has "
    "have header headers heavy held host hostname html http i id identifier if illegal "
    "implemented in inappropriate incomplete input installed instead int internal "
    "interrupted invalid ioctl is issuer it its jpeg json keeps key kill known knows large "
    "larger later layer lease left length level levels lib libraries library limits line "
    "link links list load local locks log long longer look machine made malformed many mark "
    "may medium memory message mib middle mismatch mistake model moderation moment more "
    "multibyte multihop multiple must name named needed needs network new no nodename non "
    "none nor not nothing now number numerical o object occurred of off on once one only "
    "open operation operator or others our out output overloaded owner package page peer "
    "permission permitted picture pictures pipe png pool possible process processes "
    "progress prompt protocol provided proxy quota r range rate reached read reading "
    "receive received record recoverable redirect redirects references refused refuses "
    "rejected remote removed request requested required reset resolution resource resources "
    "response restarted result revoked rf rfs route rules run running runs s said says "
    "seconds section secure seek self semaphores send sending sent server service servname "
    "session sessions set sets settle setup severed shape shared should shutdown sign "
    "signed site slot so socket software something space specific splice srmount ssl sslv "
    "sso stale start state statsig status stays still stood stopping stops stream streams "
    "structure such supported symbolic synchronized system t take tells temporarily "
    "temporary text than that the themselves then there this time timed timer times tls "
    "tlsv to too took transfer transport tried trusted try type unable unasked unavailable "
    "unexpected unexpectedly unique unknown unreachable up upload url use used user users "
    "valid value verify version violation wait was way we webp what when where which while "
    "why wide will with within without word words write wrong x xai xenix zstd".split()
)
"""In lower case."""


def redact_reason(text: str, fill: Callable[[str], str], names: Collection[str]) -> str:
    """A reason without what may be somebody's.

    Args:
        text: The reason.
        fill: Gives filler.
        names: Further words that stay: those of models and of their groups.
    """
    pieces: list[str] = []
    position = 0
    for found in _PIECE.finditer(text):
        pieces.append(fill(text[position : found.start()]))
        pieces.append(_redact(found, fill, names))
        position = found.end()
    return "".join([*pieces, fill(text[position:])])


def _redact(found: re.Match[str], fill: Callable[[str], str], names: Collection[str]) -> str:
    piece = found.group()
    if found["known"] or piece in names:
        return piece
    if found["word"] or found["name"]:
        known = all(word in _WORDS for word in re.split("[-_]", piece.lower()))
        return piece if known else fill(piece)
    return fill(piece)
