"""`python -m transports.simulator`: a simulated Grok by itself, for authors of clients."""

from __future__ import annotations

import click
import trio

from . import Delivery, Simulator, Style
from .frames import FRAMINGS, IMAGE_FORMS


@click.command()
@click.option("--port", default=0, help="0 for any that is free.")
@click.option("--pace", default=0.0, help="Seconds between two tokens.")
@click.option("--tokens", default=12, help="Tokens of an answer.")
@click.option("--coding", default="identity", type=click.Choice(["identity", "gzip", "br", "zstd"]))
@click.option("--framing", default="lines", type=click.Choice(FRAMINGS))
@click.option("--image-form", default="streaming", type=click.Choice(IMAGE_FORMS))
def main(port: int, pace: float, tokens: int, coding: str, framing: str, image_form: str) -> None:
    """Simulate grok.com on this machine."""

    async def run() -> None:
        simulator = Simulator()
        simulator.site.delivery = Delivery(pace=pace, coding=coding)
        simulator.site.style = Style(tokens=tokens, framing=framing, image_form=image_form)
        async with trio.open_nursery() as nursery:
            listening = await nursery.start(simulator.run, "127.0.0.1", port)
            click.echo(f"GROK_BASE_URL={listening.url} GROK_ASSETS_URL={listening.url}")

    try:
        trio.run(run)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
