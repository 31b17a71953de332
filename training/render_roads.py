"""render-roads drive out.mp4 [--frames N] | render-roads folder DIR [--train N] [--val N]

Rendered roads as a clip to look at, or as a BDD100K folder to train on.
"""

import sys

from perception.errors import UserError, cli, require_extra


def render() -> int:
    """The command: 0, or a UserError for a path or count that cannot be."""
    require_extra("train", "tyro", "torch")
    import tyro

    from training.data.rendered import write_bdd100k, write_drive_video
    from training.render_args import Choice, DriveArgs

    args = tyro.cli(Choice, prog="render-roads", args=sys.argv[1:])
    if isinstance(args, DriveArgs):
        if args.frames < 1 or args.out.suffix != ".mp4":
            raise UserError(f"{args.out}: give a path that ends in .mp4, and --frames 1 or more")
        write_drive_video(args.out, args.seed, args.frames, args.fps, args.size)
    else:
        if args.out.exists() and any(args.out.iterdir()):
            raise UserError(f"{args.out}: is not empty; choose another folder")
        write_bdd100k(args.out, args.train, args.val, args.seed, args.size)
    print(args.out)
    return 0


def main() -> None:
    raise SystemExit(cli(render))
