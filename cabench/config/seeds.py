"""`--seeds`: a number of seeds, or seeds by name, and how either is put in words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cabench.config.schema import MOST_SEEDS
from cabench.errors import CabenchError, shown

LARGEST_SEED = 100_000
EXPECTED = (
    f"expected a number of seeds such as 5, or different seeds up to {LARGEST_SEED} such as 0,1,7 "
    "or 10-12"
)
SHORTEST_RUN = 4  # consecutive seeds that are written '0 to 3'


def parse_seeds(text: str) -> list[int]:
    """'5' -> 0..4; '0,1,7' -> those seeds; '10-12' -> 10, 11, 12; '5,' -> 5 alone."""
    ranges = [_range(part.strip()) for part in text.split(",") if part.strip()]
    known = [one for one in ranges if one is not None]
    count = known[0][0] if known and is_count(text) else sum(map(len, known))
    if not known or len(known) < len(ranges) or max(one[-1] for one in known) > LARGEST_SEED:
        raise CabenchError(f"--seeds: {EXPECTED}, got {shown(text)}")
    if not 0 < count <= MOST_SEEDS:
        single = f"; for the single seed {count} write '{count},'" if is_count(text) else ""
        raise CabenchError(f"--seeds: expected 1 to {MOST_SEEDS} seeds, got {shown(text)}{single}")
    seeds = list(range(count)) if is_count(text) else [seed for one in known for seed in one]
    if len(set(seeds)) < len(seeds):
        raise CabenchError(f"--seeds: {EXPECTED}, got {shown(text)}")
    return seeds


def is_count(text: str) -> bool:
    """Whether the text is a number of seeds, not a seed: '5', but not '5,' or '5-7'."""
    return "," not in text and "-" not in text


def _range(part: str) -> range | None:
    """'7' -> 7; '10-12' -> 10, 11, 12; None for another text."""
    match = re.fullmatch(r"(\d{1,6})(?:\s*-\s*(\d{1,6}))?", part, re.ASCII)
    if match is None:
        return None
    first, last = int(match[1]), int(match[2] or match[1])
    return range(first, last + 1) if first <= last else None


def understood(text: str) -> str:
    """How `--seeds` is read: 'seeds 0 to 999 (1,000 seeds); for the single seed 1000 write ...'."""
    seeds = parse_seeds(text)
    count = f"{len(seeds):,} {'seed' if len(seeds) == 1 else 'seeds'}"
    single = f"; for the single seed {int(text)} write '{int(text)},'" if is_count(text) else ""
    return f"--seeds {text}: {seeds_text(seeds)} ({count}){single}"


def seeds_text(seeds: Sequence[int]) -> str:
    """'seed 7', 'seeds 0, 1, 7', 'seeds 0 to 999'."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    words = [
        f"{run[0]} to {run[-1]}" if len(run) >= SHORTEST_RUN else ", ".join(map(str, run))
        for run in runs
    ]
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(words)}"
