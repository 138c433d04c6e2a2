"""`editar-bench prepare --from-images`: pairs from a folder of one's own photos."""

from __future__ import annotations

from pathlib import Path

import typer

from editar_bench.commands import options

# By name: the harness knows the rooms of the data no other way.
BUILD = "data_prep.photos.build:build"
CONDITIONS = "data_prep.photos.build:CONDITIONS"
PHOTOS = "data_prep.photos.listing:photos"
NETWORKS = {
    "depth": "data_prep.photos.annotators:DepthAnnotator",
    "segmentation": "data_prep.photos.annotators:LabelAnnotator",
}
PLACE = "tasks.photos:PhotosCanny.place"


def make_pairs(source: Path, conditions: str, device: str) -> None:
    """Build the data set `photos` and say what came of it.

    Raises:
        UserError: a condition, the folder or a network is not there, or no photo can be used.
    """
    from editar_bench.devices import resolve_device
    from editar_bench.progress import choose_reporter
    from editar_bench.registry import TASKS, load_target

    known = load_target(CONDITIONS)
    names = _chosen(conditions, known)
    count = len(load_target(PHOTOS)(source))  # before networks are loaded
    networks = {known[n]: load_target(NETWORKS[n]) for n in names if n in NETWORKS}
    annotators = {}
    if networks:
        where = resolve_device(device)
        annotators = {task: network(where) for task, network in networks.items()}
    folder = load_target(PLACE)()
    with choose_reporter().stage("photos", count) as advance:
        outcome = load_target(BUILD)(source, folder, names, annotators, advance)
    for name in names:
        module = TASKS.get(f"{known[name]}/photos")()
        pairs, fingerprint = len(module.load()), module.fingerprint()[:16]
        typer.echo(f"data    {known[name]}/photos: {pairs} pairs, fingerprint {fingerprint}")
    if outcome.skipped:
        typer.echo(f"{len(outcome.skipped)} photo(s) left out: {folder / 'skipped.csv'}", err=True)


def _chosen(text: str, known: dict[str, object]) -> list[str]:
    from editar_bench.errors import UserError
    from editar_bench.registry import near_matches

    names = list(dict.fromkeys(options.listed(text)))
    for name in names:
        if name not in known:
            raise UserError(f"There is no condition '{name}'; {near_matches(name, known)}")
    if not names:
        raise UserError(f"--conditions is empty; name some of {', '.join(known)}.")
    return names
