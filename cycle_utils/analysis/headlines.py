"""What each figure says in its title: a sentence made from the numbers that it draws, which cannot contradict them.

Shares come in as 0 to 1. Values that cannot be told (NaN) are left out; where none is left, the sentence says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

MOST = 3  # values that a title lists; of more, it names the least and the greatest
SMOOTHING = 13  # entries of a loss curve that are averaged, at most: about two turns of batches grouped by length


def listed(shares: Mapping[str, float], most: int = MOST) -> str:
    """``a 3 %, b 5 %``, or of more than ``most`` ``from 3 % (a) to 9 % (d)``."""
    text = _in_percent(shares)
    if not text:
        return "undefined"
    if len(text) > most:
        low, high = min(text, key=shares.get), max(text, key=shares.get)
        return f"from {text[low]} ({low}) to {text[high]} ({high})"
    return ", ".join(f"{name} {value}" for name, value in text.items())


def _in_percent(shares: Mapping[str, float]) -> dict[str, str]:
    """The known ones as text, with a digit after the point where all lie close together."""
    known = {name: 100 * share for name, share in shares.items() if not math.isnan(share)}
    close = len(known) > 1 and max(known.values()) - min(known.values()) < 2
    return {name: f"{value:.{int(close)}f} %" for name, value in known.items()}


def after_rounds(curves: Mapping[str, pd.DataFrame]) -> str:
    """Where each curve of pass rates by round ends."""
    last = max(int(curve["round"].max()) for curve in curves.values())
    ends = {name: curve["value"].iloc[-1] for name, curve in curves.items()}
    return f"After {last} round{'' if last == 1 else 's'}: {listed(ends)}"


def bars(table: pd.DataFrame, across: str, by: str, what: str, about: str | None = None) -> str:
    """One bar of each group, the first if ``about`` names none; ``what`` says what the bars are of."""
    about = about or (table[by].iloc[0] if len(table) else "")
    rows = table[table[by] == about]
    return f"{what}, {about}: {listed(dict(zip(rows[across], rows['value'])))}"


def statuses(counts: pd.DataFrame) -> str:
    """The status in which the rows differ most."""
    shares = counts.div(counts.sum(axis=1), axis=0)
    widest = (shares.max() - shares.min()).idxmax()
    return f"{str(widest).capitalize()}: {listed(dict(shares[widest]))}"


def losses(logs: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Where each smoothed curve begins and ends."""
    smooth = {name: smoothed(log) for name, log in logs.items()}
    ends = ", ".join(f"{name} {curve.iloc[0]:.2g} to {curve.iloc[-1]:.2g}" for name, curve in smooth.items())
    return f"Loss: {ends} nats"


def smoothed(log: Sequence[Mapping[str, float]], entries: int = SMOOTHING) -> pd.Series:
    """The running geometric mean of a loss by step: on a logarithmic axis, the middle of its saw teeth.

    It takes a quarter of the entries at most; a log that does not jump, as where batches are not grouped by length, is
    left as it is.
    """
    loss = pd.Series({entry["step"]: entry["loss"] for entry in log if "loss" in entry})
    logs = np.log(loss)
    if (logs.diff().dropna() <= 0).mean() > 0.8:
        return loss
    entries = min(entries, len(loss) // 4 | 1)  # an odd number
    return np.exp(logs.rolling(entries, center=True, min_periods=1).mean())


def settings(table: pd.DataFrame, measure: str, words: str, base: str | None) -> str:
    """One measure of all settings: ``base``, and from the least to the greatest of the others."""
    rows = table[table["measure"] == measure]
    shares = dict(zip(rows["setting"], rows["value"]))
    others = {name: share for name, share in shares.items() if name != base}
    if base not in shares or len(others) <= MOST:
        return f"{words}: {listed(shares, MOST + 1)}"
    return f"{words}: {listed({base: shares[base]})}, the others {listed(others)}"


def best_of_both(across: Mapping[str, float], upwards: Mapping[str, float], words: Sequence[str]) -> str:
    """Which point lies farthest to the right, and which farthest up."""
    right, up = max(across, key=across.get), max(upwards, key=upwards.get)
    return f"{words[0]}: most at {right} ({across[right]:.0f} %); {words[1]}: most at {up} ({upwards[up]:.0f} %)"


def from_to(curves: Mapping[str, pd.DataFrame]) -> str:
    """Where curves over another quantity begin and end."""
    ends = {name: 100 * curve["value"].to_numpy(float)[[0, -1]] for name, curve in curves.items()}
    return "Solved: " + ", ".join(f"{name} {a:.0f} to {b:.0f} %" for name, (a, b) in ends.items())


def pairs(gaps: Sequence[tuple[str, str, float]]) -> str:
    """Compared pairs of points: what each is, and how far the first lies above the second (as a share)."""
    return "; ".join(f"{one} against {other}: {100 * gap:+.0f} points" for one, other, gap in gaps)


def decays(rates: Mapping[str, float]) -> str:
    """By how much repair rates change from each round to the next, if they decay at these rates."""
    known = {name: 100 * math.expm1(-rate) for name, rate in rates.items() if not math.isnan(rate)}
    said = ", ".join(f"{name} {change:+.0f} %" for name, change in known.items())
    return f"Repair rate from round to round: {said or 'undefined'}"


def ceiling(frame: pd.DataFrame) -> str:
    """What an ideal reader solves where most is left open, at once and in the end."""
    rows = frame[frame["ambiguity"] == frame["ambiguity"].max()].sort_values("round")
    first, last = (100 * rows["ceiling"].iloc[i] for i in (0, -1))
    left = f"With {100 * rows['ambiguity'].iloc[0]:.0f} % left open"
    return f"{left}, an ideal reader solves {first:.0f} % at once and {last:.0f} % after round {rows['round'].iloc[-1]}"


def line(lines: Sequence[str], weights: Mapping[str, Sequence[float]]) -> str:
    """The line of a prompt that gets most attention from each model."""
    said = []
    for name, shares in weights.items():
        most = int(np.argmax(shares))
        said.append(f"{name} line {most + 1} of {len(lines)} ({100 * shares[most]:.0f} %)")
    return f"Most attention: {', '.join(said)}"
