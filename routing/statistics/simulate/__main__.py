"""Runs the simulation and writes what it measured; the same seed gives the same figures."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from routing.statistics.simulate import false_alarms, pages, power


def main(arguments: list[str] | None = None) -> None:
    """Writes routing-statistics.json, the plot, and prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m routing.statistics.simulate", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(), help="directory for the JSON and the plot")
    parser.add_argument("--experiments", type=int, default=5000, help="per case of false alarms; a tenth for power")
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=20261125)
    given = parser.parse_args(arguments)
    rng = np.random.default_rng(given.seed)
    alarms = false_alarms.all_of(rng, given.experiments, given.alpha)
    found = power.all_of(rng, max(50, given.experiments // 10), given.alpha)
    given.out.mkdir(parents=True, exist_ok=True)
    measured = pages.values(alarms, found, given.alpha, given.experiments)
    (given.out / "routing-statistics.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    pages.plot(given.out / "routing-statistics.png", alarms, given.alpha)
    sys.stdout.write(pages.markdown(alarms, found))


if __name__ == "__main__":
    main()
