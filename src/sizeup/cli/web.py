"""``sizeup web``: the page, served from this machine to this machine."""

from __future__ import annotations

import click

from sizeup.errors import UserError


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes any free one.")
@click.option("--no-open", is_flag=True, help="Do not open a browser.")
def web(port: int, no_open: bool) -> int:
    """Serve the page and open it: pictures, sliders, links to share. Stop with Ctrl-C."""
    from sizeup.web.server import serve_page

    def announce(url: str) -> None:
        click.echo(f"sizeup is at {url}  (Ctrl-C stops it)")
        if not no_open:
            click.launch(url)

    try:
        serve_page(port, announce=announce)
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        raise UserError(f"cannot listen on port {port}: {error.strerror}", hint="--port 0 takes a free one") from None
    return 0
