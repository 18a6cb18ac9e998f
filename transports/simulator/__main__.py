"""`python -m transports.simulator`: a simulated Grok by itself, for authors of clients."""

from __future__ import annotations

import click
import trio

from . import Delivery, Simulator, Style
from .coding import CODINGS
from .frames import IMAGE_FORMS
from .framing import FRAMINGS


@click.command()
@click.option("--port", default=0, help="0 for any that is free.")
@click.option("--pace", default=0.0, help="Seconds between two tokens.")
@click.option("--tokens", default=12, help="Tokens of an answer.")
@click.option("--coding", default="identity", type=click.Choice(CODINGS))
@click.option("--cut", default=0, help="Bytes in a write; 0 for whole lines.")
@click.option("--framing", default="lines", type=click.Choice(FRAMINGS))
@click.option("--image-form", default="streaming", type=click.Choice(IMAGE_FORMS))
def main(
    port: int, pace: float, tokens: int, coding: str, cut: int, framing: str, image_form: str
) -> None:
    """Simulate grok.com on this machine."""

    async def run() -> None:
        simulator = Simulator()
        simulator.site.delivery = Delivery(pace=pace, cut=cut or None, coding=coding)
        simulator.site.style = Style(tokens=tokens, framing=framing, image_form=image_form)
        async with trio.open_nursery() as nursery:
            listening = await nursery.start(simulator.run, "127.0.0.1", port)
            names = ("GROK_BASE_URL", "GROK_ASSETS_URL", "TUMY_BASE_URL", "PICGO_BASE_URL")
            click.echo(" ".join(f"{name}={listening.url}" for name in names))

    try:
        trio.run(run)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
