"""What the recipes in this folder will cost.

    python recipes/estimate.py                    # the first table of README.md
    python recipes/estimate.py --write            # its tables, and the comment above each recipe
    python recipes/estimate.py X.yaml ...         # these recipes, at measured speeds too where there are some

Costs follow from a recipe's own parameters, by the formulas of ``cycle_utils.study.costs``: estimates for the smallest
machine that holds it, and for the other card with what is to be changed there. ``make check`` measures speeds on a
machine, and what it measured is found here.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cycle_utils.study import check, costs, recipes

COMMENT = "# "


def given(path: Path) -> dict[str, Any]:
    """All parameters of a recipe's notebook."""
    return recipes.whole(recipes.read(path), recipes.notebook_of(path))


def others(one: Mapping[str, Any]) -> list[tuple[costs.Machine, dict[str, Any]]]:
    """The GPUs that a recipe is not meant for, each with what to change in it."""
    shape = costs.shape_of(one["model"])
    meant = costs.machine_of(one, shape)
    cards = [machine for machine in costs.GPUS if meant in costs.GPUS and machine != meant]
    return [(machine, costs.fitted(one, shape, machine.memory)) for machine in cards]


def header(path: Path) -> str:
    """The comment above a recipe: how to run it, what it needs, and how that was estimated."""
    one = given(path)
    shape, work = costs.shape_of(one["model"]), costs.work(one)
    machine, memory = costs.machine_of(one, shape), costs.memory(one, shape)
    speeds = costs.estimated(one, shape, machine)
    hours, size = costs.hours(work, speeds), f"{shape.parameters / 1e9:.2f} G parameters"
    learned = f", trained on {one['train_benchmark']}" if costs.trains(one) else ": what it is before any training"
    lines = [
        f"{one['model']} on {one['benchmark']}{learned}.",
        f"  cd notebooks && papermill {recipes.notebook_of(path)}.ipynb out.ipynb -f ../recipes/{path.name}",
        f"Expected on one {machine.name}: memory {memory.most / costs.GIB:.0f} GiB, {sum(hours.values()):.1f} hours, "
        f"disk {costs.disk(one, shape) / costs.GIB:.0f} GiB.",
        "Estimated, not measured, by recipes/estimate.py, which writes these lines:",
    ]
    if costs.trains(one):
        tokens = (work.tuning_tokens + work.refining_tokens) / 1e6
        lines += [
            f"  training: {memory.weights / costs.GIB:.1f} GiB of weights, gradients and moments, "
            f"{memory.activations / costs.GIB:.1f} of activations;",
            f"    {tokens:.1f} M tokens x {costs.flops(one)} x {size} / ({machine.flops / 1e12:.1f} TFLOP/s) = "
            f"{hours['fine-tuning'] + hours['refine training']:.1f} h",
        ]
    lines += [
        f"  generation: {memory.generation / costs.GIB:.1f} GiB; at most {work.sampled + work.evaluated:,} programs, "
        f"{one['generation_batch']} at a time, = {hours['sampling'] + hours['generation']:.1f} h",
        f"  judging them on {costs.WORKERS} cores: {hours['judging']:.1f} h",
    ]
    for card, changes in others(one):
        lines += [f"On one {card.name}: --card {card.memory / 1e9:.0f}, or", f"  {recipes.as_options(changes)}"]
    return "".join(f"{COMMENT}{line}\n" for line in lines)


def written(path: Path) -> str:
    """A recipe's text with its comment as it should be."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return header(path) + "".join(line for line in lines if not line.startswith(COMMENT))


def row(path: Path, one: Mapping[str, Any], machine: str, memory: float, speeds: costs.Speeds) -> str:
    """A line of a table: memory in bytes, hours at these speeds."""
    hours, disk = costs.hours(costs.work(one), speeds), costs.disk(one, costs.shape_of(one["model"]))
    told = (hours["fine-tuning"] + hours["refine training"], hours["sampling"] + hours["generation"], hours["judging"])
    cells = " | ".join(f"{value:.1f}" for value in told)
    link = f"[{path.name}]({path.name})"
    return f"| {link} | {machine} | {memory / costs.GIB:.0f} | {cells} | {disk / costs.GIB:.0f} |"


def estimated(path: Path) -> str:
    """A recipe's line by the formulas."""
    one = given(path)
    shape = costs.shape_of(one["model"])
    machine = costs.machine_of(one, shape)
    return row(path, one, machine.name, costs.memory(one, shape).most, costs.estimated(one, shape, machine))


def elsewhere(path: Path) -> list[str]:
    """The same for the other card."""
    one, lines = given(path), []
    shape = costs.shape_of(one["model"])
    for card, changes in others(one):
        new = {**one, **changes}
        lines.append(row(path, new, card.name, costs.memory(new, shape).most, costs.estimated(new, shape, card)))
    return lines


def measured(path: Path) -> list[str]:
    """Its line at the speeds that ``make check`` measured, if it did."""
    found = check.kept(one := given(path))
    return [row(path, one, f"measured: {found.machine}", found.memory, found.speeds)] if found else []


def table(lines: list[str]) -> str:
    """The table of recipes/README.md."""
    head = "| recipe | machine | memory, GiB | hours: training | generation | judging | disk, GiB |"
    return "\n".join([head, "|---|---|" + "---:|" * 5, *lines]) + "\n"


def filled(readme: str) -> str:
    """The README's text with both tables in their places."""
    made = {
        "table": [estimated(path) for path in recipes.files()],
        "other card": [line for path in recipes.files() for line in elsewhere(path)],
    }
    for name, lines in made.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        readme = re.sub(pattern, lambda m, lines=lines: m[1] + table(lines) + m[2], readme, flags=re.DOTALL)
    return readme


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipes", type=Path, nargs="*", help="these alone, and what was measured of them")
    parser.add_argument("--write", action="store_true", help="write the comments above recipes, and README.md's tables")
    options = parser.parse_args()
    if options.write:
        for path in recipes.files():
            path.write_text(written(path), encoding="utf-8")
        readme = recipes.FOLDER / "README.md"
        readme.write_text(filled(readme.read_text(encoding="utf-8")), encoding="utf-8")
    lines = [line for path in options.recipes for line in (estimated(path), *measured(path))]
    print(table(lines or [estimated(path) for path in recipes.files()]), end="")


if __name__ == "__main__":
    main()
