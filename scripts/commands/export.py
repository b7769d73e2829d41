"""`embodia export`: write generated homes as files for habitat-sim, Blender and `--scenes`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from embodia.envs.homes.engines.engine import GENERATED, generated_scene
from embodia.envs.homes.files.export import export_scene
from embodia.scripts.mistake import Mistake
from embodia.scripts.report.progress import over


@dataclass(frozen=True)
class Args:
    """Write generated homes: .glb with baked lighting, semantic mesh and legend, habitat-sim's configuration files."""

    homes: tyro.conf.Positional[tuple[str, ...]]
    """Names of homes: home-7, home-7-high (low, medium or high detail), home-7-low-1 (one bedroom)."""
    out: Path = Path("homes")
    """Output folder; existing files are never overwritten."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia export")
    check(args.homes, args.out)
    for i, home in enumerate(over(args.homes, "exporting", "homes"), start=1):
        path = export_scene(generated_scene(home), args.out, home)
        print(f"{i} of {len(args.homes)}: {path} ({path.stat().st_size / 1e6:.1f} MB)", flush=True)
    print(f"to use one: embodia record expert --env embodia/PointNav-v0 --scenes {path}")
    return 0


def check(homes: Sequence[str], out: Path) -> None:
    """Check the names before anything is written. Raises Mistake."""
    if not homes:
        raise Mistake("name a home, such as home-7")
    for home in homes:
        if not GENERATED.fullmatch(home):
            raise Mistake(f"{home} is not a generated home; use a name like home-7, home-7-high or home-7-low-1")
        if (out / f"{home}.glb").exists():
            raise Mistake(f"{out / home}.glb exists; choose another folder with --out")
