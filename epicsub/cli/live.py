"""epicsub live: what models see, on a page with a camera and files, or line by line."""

import json
from pathlib import Path
from typing import Annotated

import typer

from epicsub.cli.options import DataOption, DeviceOption
from epicsub.errors import LiveError
from epicsub.live.classify import load_models
from epicsub.live.sources import VideoSource, camera_frames, show_in_window, watch, watch_video


def live(
    runs: Annotated[list[str], typer.Argument(help="Checkpoints, runs, or hf://ORG/NAME; several are shown together.")],
    video: Annotated[Path | None, typer.Option(help="Answer to a video file, without a page.")] = None,
    camera: Annotated[
        int | None, typer.Option(min=0, help="Answer to a camera of this machine, without a page.")
    ] = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="With --video or --camera: a line of JSON per second, no window.")
    ] = False,
    host: Annotated[str, typer.Option(help="Address of the page. All but local ones ask for a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0: any that is free.")] = 7860,
    max_upload: Annotated[float, typer.Option(min=0.001, help="Gigabytes of a file that the page takes.")] = 2.0,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Show what models see: a page for the webcam and for files, or --video and --camera without a browser."""
    if video is not None and camera is not None:
        raise LiveError("--video and --camera: name one of them")
    if headless and video is None and camera is None:
        raise LiveError("--headless prints what a --video or a --camera shows: name one of them")
    models = load_models(runs, data, device)
    if video is None and camera is None:
        try:
            from epicsub.live.serve import serve  # the extra `app`, which no other command needs
        except ImportError as error:
            raise LiveError(
                "the page needs packages of the extra app: pip install 'epicsub[app]'; --video FILE --headless does not"
            ) from error
        serve(models, host=host, port=port, data=data, most_bytes=int(max_upload * 1e9))
        return
    if headless:
        for line in watch_video(models, video) if video is not None else watch(models, camera_frames(camera or 0), 1):
            typer.echo(json.dumps(line))
        return
    if video is not None:
        source = VideoSource(video)
        show_in_window(models, source.frames(), source.flow_stride, paced=True)
    else:
        show_in_window(models, camera_frames(camera or 0), 1, paced=False)
