"""Write rendered roads as a video, or as a folder in BDD100K's layout to train on.

example:
  render-roads drive out.mp4 --frames 100
  render-roads folder DIR --train 200 --val 50
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perception.errors import UserError, cli, require_extra
from perception.sizes import parse_size


@dataclass(frozen=True)
class DriveArgs:
    """One drive as a video: consecutive frames with moving traffic."""

    out: Path
    """The .mp4 file to write."""
    frames: int = 100
    """Number of frames."""
    fps: float = 10.0
    """Frames per second."""
    size: str = "384x640"
    """Frame size, HEIGHTxWIDTH."""
    seed: int = 7
    """Another seed is another drive."""


@dataclass(frozen=True)
class FolderArgs:
    """Single frames with every label, in BDD100K's official layout."""

    out: Path
    """An empty or new folder."""
    train: int = 200
    """Frames of the split `train`."""
    val: int = 50
    """Frames of the split `val`."""
    size: str = "720x1280"
    """Frame size, HEIGHTxWIDTH."""
    seed: int = 0
    """Another seed gives other roads."""


def render() -> int:
    """The command: 0. Raises UserError for a path or a count that is not possible."""
    require_extra("train", "tyro", "torch")
    import tyro

    args: Any = tyro.extras.subcommand_cli_from_dict(
        {"drive": DriveArgs, "folder": FolderArgs},
        prog="render-roads",
        description=__doc__,
        args=sys.argv[1:],
        config=(tyro.conf.PositionalRequiredArgs,),
    )
    import cv2

    from training.data.rendered import write_bdd100k, write_drive_video

    size_hw = parse_size(args.size)
    if isinstance(args, DriveArgs):
        if args.frames < 1 or args.out.suffix != ".mp4":
            raise UserError(f"{args.out}: give a path that ends in .mp4, and --frames 1 or more")
        # On a full disk OpenCV and FFmpeg print a line per frame.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        write_drive_video(args.out, args.seed, args.frames, args.fps, size_hw)
    else:
        if args.out.exists() and any(args.out.iterdir()):
            raise UserError(f"{args.out}: is not empty; choose another folder")
        write_bdd100k(args.out, args.train, args.val, args.seed, size_hw)
    print(args.out)
    return 0


def main() -> None:
    raise SystemExit(cli(render))


if __name__ == "__main__":
    main()
