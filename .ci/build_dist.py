"""Builds and checks the sdist and the wheel: python .ci/build_dist.py --url URL [--out dist]

URL is where the repository is published. In a copy of the sources it becomes the base of the
README's links, which an index page shows without the files they point to, and of the project's
URLs. Needs build and twine (extra dev). Without --url the links stay relative.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAX_WHEEL = 32 << 20  # the weights are 22 MB of it
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s]+)\)")
PICTURES = (".jpg", ".png", ".gif", ".svg", ".webp")


def absolute_links(markdown: str, url: str, revision: str) -> str:
    """Relative targets of links and images as addresses under `url`."""

    def target(match: re.Match[str]) -> str:
        kind = "raw" if match[1].endswith(PICTURES) else "blob"
        return f"]({url}/{kind}/{revision}/{match[1].removeprefix('./')})"

    return LINK.sub(target, markdown)


def project_urls(url: str) -> str:
    """The table [project.urls] of pyproject.toml."""
    pages = {
        "Repository": url,
        "Documentation": f"{url}/tree/main/docs",
        "Changelog": f"{url}/blob/main/CHANGELOG.md",
        "Issues": f"{url}/issues",
    }
    return "\n[project.urls]\n" + "".join(f'{name} = "{page}"\n' for name, page in pages.items())


def build(url: str, out: Path, isolation: bool) -> list[Path]:
    """Builds in a copy of the tracked files, checks with twine; the new files."""
    with tempfile.TemporaryDirectory() as temporary:
        copy, made = Path(temporary) / "source", Path(temporary) / "dist"
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name)
        if url:
            readme, project = copy / "README.md", copy / "pyproject.toml"
            readme.write_text(absolute_links(readme.read_text(), url, "main"))
            project.write_text(project.read_text() + project_urls(url))
        options = [] if isolation else ["--no-isolation"]
        run(["-m", "build", "-q", "--outdir", str(made), *options, str(copy)])
        files = sorted(made.iterdir())
        run(["-m", "twine", "check", "--strict", *map(str, files)])
        for file in files:
            if file.suffix == ".whl" and file.stat().st_size > MAX_WHEEL:
                sys.exit(f"{file.name}: {file.stat().st_size >> 20} MB; at most {MAX_WHEEL >> 20}")
        out.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copy2(file, out)) for file in files]


def run(arguments: list[str]) -> None:
    if subprocess.run([sys.executable, *arguments]).returncode:
        sys.exit(f"python {' '.join(arguments[:2])} failed")


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--url", default="", help="such as https://github.com/OWNER/NAME")
    made.add_argument("--out", type=Path, default=ROOT / "dist")
    made.add_argument("--no-isolation", action="store_true", help="build with setuptools from here")
    args = made.parse_args()
    for path in build(args.url.rstrip("/"), args.out, not args.no_isolation):
        print(f"{path} {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
