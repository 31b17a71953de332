"""get-bdd100k DIR [--parts images,det,drivable,lane,semantic]: the official BDD100K archives.

Resumes where a broken connection stopped, checks the official MD5 sums, unpacks each archive once.
BDD100K is for research and education: read its licence at https://bdd-data.berkeley.edu first.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from perception.errors import UserError, cli, require_extra, unknown_name
from training.data.bdd import download
from training.data.bdd.download import Archive

# Sizes and sums: https://doc.bdd100k.com/download.html
ARCHIVES: Final = {
    "images": Archive("bdd100k_images_100k.zip", "5a0359c86a0b8713adab1eee9a3041cb", 5_300_000_000),
    "images10k": Archive(
        "bdd100k_images_10k.zip", "08f26aecceda982568063d3d5873378e", 1_100_000_000
    ),
    "det": Archive(
        "bdd100k_det_20_labels_trainval.zip", "b86a3e1b7edbcad421b7dad2b3987c94", 53_000_000
    ),
    "drivable": Archive(
        "bdd100k_drivable_labels_trainval.zip", "98dcfa4c3c68e2e86f132ac085f8e329", 466_000_000
    ),
    "lane": Archive(
        "bdd100k_lane_labels_trainval.zip", "80d3d5daf57b9de340d564f0c4b395ea", 434_000_000
    ),
    "semantic": Archive(
        "bdd100k_sem_seg_labels_trainval.zip", "098c0c17ca58364c47c5882b3eb7058d", 331_000_000
    ),
    "2018": Archive("bdd100k_labels_release.zip", "e21be3e7d6a07ee439faf61e769667e4", 107_000_000),
}
# The old host refuses many; these have been reported to work, none is promised to.
MIRRORS: Final = (
    "https://dl.cv.ethz.ch/bdd100k/data",
    "http://dl.yf.io/bdd100k",
    "http://128.32.162.150/bdd100k",
)
# A zip of JPEG and PNG unpacks to about its own size, JSON to far more.
UNPACKED: Final = {"det": 12.0, "2018": 14.0}


def run() -> int:
    """The command."""
    require_extra("train", "tyro")
    import tyro

    args = tyro.cli(_arguments(tyro), description=__doc__)
    parts = [part.strip() for part in args.parts.split(",") if part.strip()]
    if "semantic" in parts and "images10k" not in parts:
        parts.append("images10k")  # its frames are not among the 100k
    for part in parts:
        if part not in ARCHIVES:
            raise unknown_name("part", part, ARCHIVES)
    todo = [part for part in parts if not download.unpacked(args.folder, ARCHIVES[part])]
    for part in parts:
        if part not in todo:
            print(f"{part}: already there")
    _check_space(args.folder, todo)
    for part in todo:
        archive = ARCHIVES[part]
        path = download.fetch(archive, args.folder, args.mirrors or MIRRORS, _progress(part))
        print(f"{part}: unpacking {path.name}")
        download.unpack(path, archive, args.folder)
        if not args.keep:
            path.unlink()
    print(f"{args.folder}: {', '.join(parts)} ready; look it over with check-bdd {args.folder}")
    return 0


def _arguments(tyro: Any) -> Any:
    @dataclass(frozen=True)
    class Arguments:
        folder: Annotated[Path, tyro.conf.Positional]
        """Where to put the data; made if it is not there."""
        parts: str = "images,det,drivable,lane"
        """Of images, images10k, det, drivable, lane, semantic, 2018."""
        mirrors: tuple[str, ...] = ()
        """Addresses of folders that hold the archives, instead of the built-in ones."""
        keep: bool = False
        """Keep the archives after unpacking."""

    return Arguments


def _check_space(folder: Path, parts: list[str]) -> None:
    """Raises UserError before anything is fetched where the disk is too small."""
    need = 0
    for part in parts:
        archive = ARCHIVES[part]
        have = download.part_size(folder, archive)
        need += max(archive.size - have, 0) + int(archive.size * UNPACKED.get(part, 1.05))
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    print(f"{need / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free in {existing}")
    if need > free:
        raise UserError(
            f"{existing}: {need / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free; "
            "make room, choose another folder or fewer --parts"
        )


def _progress(part: str) -> download.Progress:
    last = -1

    def report(done: int, total: int) -> None:
        nonlocal last
        share = int(100 * done / total) if total else 0
        if share != last and (sys.stderr.isatty() or share % 10 == 0):
            end = "\r" if sys.stderr.isatty() and done < total else "\n"
            text = f"{part}: {share:3d} % of {total / 1e6:,.0f} MB"
            print(text, end=end, file=sys.stderr, flush=True)
        last = share

    return report


def main() -> None:
    raise SystemExit(cli(run))


if __name__ == "__main__":
    main()
