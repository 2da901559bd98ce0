"""The commands that run until they are stopped: the whole of Hilum, its demo, and each of its processes alone."""

import os
import threading
from pathlib import Path
from typing import Annotated, Final

import typer

from hilum.commands.terminal import Data, Supervised, out, progress_bar, read_settings
from hilum.core.config import Settings

commands = typer.Typer()

Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.  [default: 127.0.0.1]")]
Port = Annotated[int | None, typer.Option("--port", help="Port to listen on.  [default: 8000]")]
DicomHost = Annotated[
    str | None, typer.Option("--dicom-host", help="Address of the DICOM listener.  [default: 127.0.0.1]")
]
DicomPort = Annotated[int | None, typer.Option("--dicom-port", help="Port of the DICOM listener.  [default: 11112]")]
Title = Annotated[str | None, typer.Option("--aet", help="AE title of the DICOM listener.  [default: HILUM]")]
Nats = Annotated[
    str | None, typer.Option("--nats", help="Where NATS is, nats://… or tls://….  [default: HILUM_NATS_URL]")
]

# The relay's channel where none is named.
_CHANNEL: Final = "main"


@commands.command()
def demo(
    data: Annotated[Path, typer.Option("--data", help="Folder of the demo.")] = Path("hilum-demo"),
    port: Port = None,
    reset: Annotated[bool, typer.Option("--reset", help="Begin anew: delete its data, but not hilum.toml.")] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
) -> None:
    """Make demo data (about 40 people, 60 studies), import it and serve it."""
    from hilum.demo.run import prepare, reset_demo, write_settings
    from hilum.imaging.intake.lanes import process_lanes

    settings = read_settings(data, port=port)
    if reset:
        reset_demo(settings)
    if write_settings(settings):
        settings = read_settings(data, port=port)
    with process_lanes(settings) as lanes, progress_bar("Demo data") as bar:
        prepare(settings, lanes, bar)
    _serve(settings, demo=True, open_browser=not no_open)


@commands.command()
def serve(
    data: Data = None,
    host: Host = None,
    port: Port = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes that run jobs.  [default: 1]")] = None,
    inbox: Annotated[Path | None, typer.Option("--inbox", help="Folder to import from as files land.")] = None,
    dicom_host: DicomHost = None,
    dicom_port: DicomPort = None,
    aet: Title = None,
) -> None:
    """Serve the page, the REST API, DICOMweb and DICOM, and run jobs."""
    settings = read_settings(
        data, host=host, port=port, workers=workers, inbox=inbox, dicom_host=dicom_host, dicom_port=dicom_port, aet=aet
    )
    _serve(settings)


def _serve(settings: Settings, *, demo: bool = False, open_browser: bool = False) -> None:
    from hilum.serve import serve as run_serve

    def ready(url: str, dicom: str) -> None:
        out.print(f"Hilum is at [bold]{settings.public_url or url}[/bold]  (Ctrl+C stops it)", highlight=False)
        out.print(f"DICOM is at {dicom}", highlight=False, markup=False)
        if open_browser and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            import webbrowser

            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    # The demo shall start beside whatever has the usual port of DICOM.
    raise typer.Exit(run_serve(settings, ready, any_dicom_port=demo))


@commands.command()
def api(
    data: Data = None,
    host: Host = None,
    port: Port = None,
    listener: Annotated[int | None, typer.Option("--listener", hidden=True)] = None,
    supervised: Supervised = False,
) -> None:
    """Run one HTTP process alone, to scale out."""
    from hilum.serve import serve_http

    del supervised
    serve_http(read_settings(data, host=host, port=port), listener)


@commands.command()
def dicom(
    data: Data = None,
    dicom_host: DicomHost = None,
    dicom_port: DicomPort = None,
    aet: Title = None,
    nats_url: Nats = None,
    channel: Annotated[
        str | None,
        typer.Option("--channel", help="Channels whose associations it takes.  [default with --nats: main]"),
    ] = None,
    listener: Annotated[int | None, typer.Option("--listener", hidden=True)] = None,
    supervised: Supervised = False,
) -> None:
    """Run the DICOM listener alone, to scale out; with --nats it also takes what proxies relay."""
    from hilum.serve import serve_dicom

    def ready(address: str) -> None:
        out.print(f"DICOM is at {address}  (Ctrl+C stops it)", highlight=False, markup=False)

    settings = read_settings(
        data, dicom_host=dicom_host, dicom_port=dicom_port, aet=aet, nats_url=nats_url, relay_channels=channel
    )
    if nats_url is not None and not settings.relay_channels:
        settings = settings.model_copy(update={"relay_channels": [_CHANNEL]})
    serve_dicom(settings, listener, ready, supervised=supervised)


@commands.command()
def proxy(
    data: Data = None,
    nats_url: Nats = None,
    channel: Annotated[str | None, typer.Option("--channel", help="The channel it works on.  [default: main]")] = None,
    listen_host: Annotated[
        str | None, typer.Option("--listen-host", help="Address to listen on.  [default: 127.0.0.1]")
    ] = None,
    listen_port: Annotated[
        int | None, typer.Option("--listen-port", help="Port to listen on.  [default: 11112]")
    ] = None,
    aet: Annotated[
        str | None, typer.Option("--aet", help="Called AE titles that it takes, with commas.  [default: any]")
    ] = None,
    peers: Annotated[
        str | None, typer.Option("--peers", help="AE titles that may call, with commas; needed off loopback.")
    ] = None,
    local: Annotated[
        list[str] | None,
        typer.Option("--local", help="TITLE=host:port of an AE here that the other end may reach; may be repeated."),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Folder to keep instances in while nobody answers.")
    ] = None,
) -> None:
    """Relay DICOM associations over NATS, at a hospital's edge; needs no database."""
    from hilum.imaging.relay.proxy import serve_proxy

    settings = read_settings(
        data, nats_url=nats_url, relay_channels=channel, dicom_host=listen_host, dicom_port=listen_port,
        relay_titles=aet, dicom_peers=peers, relay_locals=local or None, relay_keep=keep,
    )  # fmt: skip
    if not settings.relay_channels:
        settings = settings.model_copy(update={"relay_channels": [_CHANNEL]})

    def ready(address: str) -> None:
        out.print(f"The proxy is at {address}  (Ctrl+C stops it)", highlight=False, markup=False)

    serve_proxy(settings, ready)


@commands.command()
def worker(
    only: Annotated[
        str,
        typer.Option(
            "--only",
            metavar="NAME,...",
            help="Keep to some kinds of work: jobs, upkeep, studies, delivery, fhir, routing.  [default: all]",
            show_default=False,
        ),
    ] = "",
    data: Data = None,
    supervised: Supervised = False,
) -> None:
    """Run one process of job workers alone, to scale out."""
    from hilum.serve import work

    work(read_settings(data), [name.strip() for name in only.split(",") if name.strip()], supervised=supervised)
