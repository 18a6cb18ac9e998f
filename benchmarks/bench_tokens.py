"""How good are the estimates of tokens? `python -m benchmarks.bench_tokens DIRECTORY`

Wants `pip install tiktoken` and a directory with the vocabularies that it would download, under the
names that it gives them (TIKTOKEN_CACHE_DIR). The samples are our own texts in `samples/`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from grokproto.usage import estimate_tokens

SAMPLES = Path(__file__).parent / "samples"
VOCABULARIES = ("o200k_base", "cl100k_base")


def main() -> None:
    """Compare and print."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.environ["TIKTOKEN_CACHE_DIR"] = sys.argv[1]
    try:
        import tiktoken
    except ImportError:
        sys.exit("pip install tiktoken")
    encodings = [tiktoken.get_encoding(name) for name in VOCABULARIES]
    print(f"{'sample':12}{'characters':>11}{'estimate':>10}", end="")
    print("".join(f"{name:>14}{'error':>8}" for name in VOCABULARIES))
    for path in sorted(SAMPLES.glob("*.txt")):
        text = path.read_text(encoding="utf-8")
        estimate = estimate_tokens(text)
        print(f"{path.stem:12}{len(text):11}{estimate:10}", end="")
        for encoding in encodings:
            real = len(encoding.encode(text))
            print(f"{real:14}{(estimate - real) / real:8.0%}", end="")
        print()


if __name__ == "__main__":
    main()
