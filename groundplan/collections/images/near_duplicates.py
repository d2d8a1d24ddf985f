"""Near-duplicate detection and grouped splits: which images are for training, validation and test.

Here: groups of near-duplicates, and a split for each group; pure functions of names and of what images look like. Not
here: reading images (collections/catalog.py).

Near-duplicates must not lie on both sides. Two rules find them. **Series**: names that differ in one number, whose
neighbouring numbers look alike, are frames of one scene, such as one fruit on a turntable. A series is cut into arcs of
numbers; an arc is a group, and the frames of a test or validation arc next to an arc of another split are set aside.
**Looks**: of all other images, those that look the same, by perceptual hash and thumbnail, are one group. Last, a test
or validation image that looks the same as one of another split is set aside too: a turntable comes back to where it
began.

A group's split follows from the group alone, so that a new image does not move the others: `group`, `split` of an image
change only when the new one looks the same, or when a class is so small that it must be dealt out by hand.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

SPLITS = ("train", "validation", "test")
ASIDE = "aside"  # neither learned from nor judged: too near to both
ARC, GUARD = 24, 6  # numbers of a series in one group; of frames set aside at its ends
LEAST_SERIES = 12  # images
SAME_BITS, SAME_RMS = 3, 6.0  # of 64 bits of the difference hash; of 255 levels, root mean square of 8 x 8 colours
_CYCLE = ("test", "train", "train", "validation", "train", "train", "train")
_ROWS = 512  # of a table of pairs that is in memory at a time


@dataclass(frozen=True)
class ImageHashes:
    """Perceptual hashes (dHash) and color thumbnails of images.

    bits: uint64 (N,), difference hash; colours: float32 (N, 192), 8 x 8 RGB, 0..255.
    """

    bits: np.ndarray
    colors: np.ndarray


@dataclass
class Split:
    """group and split ('train', 'validation', 'test', 'aside') of each image; notes on the class as a whole."""

    group: list[str]
    split: list[str]
    notes: list[str] = field(default_factory=list)


def hash_image(pixels: np.ndarray) -> tuple[int, np.ndarray]:
    """Perceptual hash (dHash) and color thumbnail of an image uint8 (H, W, 3), as `ImageHashes` has them."""
    from PIL import Image

    image = Image.fromarray(pixels)
    gray = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX))
    bits = np.packbits(gray[:, 1:] > gray[:, :-1]).view(">u8")[0]
    return int(bits), np.asarray(image.resize((8, 8), Image.Resampling.BOX), np.float32).ravel()


def split_images(label: str, names: Sequence[str], hashes: ImageHashes, rule: str = "auto") -> Split:
    """Grouped split of a class's images; names without their ending, in any order, unique.

    rule: 'auto' is series, then looks; 'looks' only looks; 'none' makes each image a group of its own.
    """
    notes: list[str] = []
    groups = [_digest(label, "image", name) for name in names]
    split = [""] * len(names)
    loose = list(range(len(names)))
    if rule == "auto":
        for series, members in sorted(_series(names).items()):
            if not _frames(members, hashes):
                continue
            for number, index in members:
                groups[index], split[index] = _digest(label, series, str(number // ARC)), _arc(label, series, number)
            loose = sorted(set(loose) - {index for _, index in members})
    if rule != "none":
        for component in near_duplicates(hashes, loose):
            shared = min(groups[index] for index in component)
            for index in component:
                groups[index] = shared
    for index in loose:
        split[index] = _CYCLE[int(groups[index].rsplit(":", 1)[-1], 16) % len(_CYCLE)]
    _deal(groups, split, notes)
    if rule != "none":
        _set_aside(hashes, split)
    return Split(groups, split, notes)


def _digest(*parts: str) -> str:
    return f"{parts[0]}:{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"


# -------------------------------------------------------------------------------------------------- series


def _series(names: Sequence[str]) -> dict[str, list[tuple[int, int]]]:
    """Number and index of the members of each series of names, by number. The part that varies most is the number."""
    shapes: dict[str, list[int]] = defaultdict(list)
    numbers = [[int(part) for part in re.findall(r"[0-9]{1,15}", name)] for name in names]
    for index, name in enumerate(names):
        shapes[re.sub(r"[0-9]{1,15}", "#", name)].append(index)
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for shape, members in shapes.items():
        count = len(numbers[members[0]])
        if not count:
            continue
        varied = [len({numbers[index][at] for index in members}) for at in range(count)]
        moving = varied.index(max(varied))
        for index in members:
            rest = [value for at, value in enumerate(numbers[index]) if at != moving]
            found[f"{shape} {rest}"].append((numbers[index][moving], index))
    return {name: sorted(members) for name, members in found.items() if len(members) >= LEAST_SERIES}


def _frames(members: list[tuple[int, int]], hashes: ImageHashes) -> bool:
    """Whether a series is a sequence of frames: neighbors look twice as alike as images half a series apart."""
    near = [(a[1], b[1]) for a, b in pairwise(members) if b[0] - a[0] <= 2]
    half = len(members) // 2
    far = [(members[at][1], members[at + half][1]) for at in range(half)]
    if len(near) < LEAST_SERIES // 2:
        return False
    return _typical(hashes, near) < 0.5 * _typical(hashes, far)


def _typical(hashes: ImageHashes, pairs: list[tuple[int, int]]) -> float:
    first, second = np.array(pairs).T
    return float(np.median(np.sqrt(np.mean((hashes.colors[first] - hashes.colors[second]) ** 2, axis=1))))


def _arc(label: str, series: str, number: int) -> str:
    """Split of a frame, by its position in its series alone."""
    start = int(hashlib.sha256(f"{label}\0{series}".encode()).hexdigest()[:8], 16)

    def of(arc: int) -> str:
        return _CYCLE[(arc + start) % len(_CYCLE)]

    arc, place = divmod(number, ARC)
    beside = of(arc - 1) if place < GUARD else of(arc + 1) if place >= ARC - GUARD else of(arc)
    return of(arc) if beside == of(arc) or of(arc) == "train" else ASIDE


# --------------------------------------------------------------------------------------------------- looks


def near_duplicates(hashes: ImageHashes, members: Sequence[int]) -> list[list[int]]:
    """Near-duplicate clusters of two and more images; exact, over all pairs, `_ROWS` rows at a time."""
    chosen = np.asarray(members, np.int64)
    parent = {int(index): int(index) for index in chosen}

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for start in range(0, len(chosen), _ROWS):
        for row, col in zip(*_same(hashes, chosen[start : start + _ROWS], chosen[start:]), strict=True):
            parent[root(int(row))] = root(int(col))
    chains: dict[int, list[int]] = defaultdict(list)
    for index in parent:
        chains[root(index)].append(index)
    return [chain for chain in chains.values() if len(chain) > 1]


def _same(hashes: ImageHashes, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of two lists of images that look the same."""
    near = np.bitwise_count(hashes.bits[rows][:, None] ^ hashes.bits[cols][None, :]) <= SAME_BITS
    row, col = np.nonzero(near)
    row, col = rows[row], cols[col]
    kept = np.zeros(len(row), bool)
    for start in range(0, len(row), 100_000):  # all of a class may look the same
        part = slice(start, start + 100_000)
        apart = hashes.colors[row[part]] - hashes.colors[col[part]]
        kept[part] = np.einsum("nd,nd->n", apart, apart) <= SAME_RMS**2 * apart.shape[1]
    return row[kept], col[kept]


def _set_aside(hashes: ImageHashes, split: list[str]) -> None:
    """Set aside what is judged and looks the same as what is learned from, or as what calibrates."""
    words = np.array(split, object)
    for judged, others in (("test", ("train", "validation")), ("validation", ("train",))):
        mine, theirs = np.flatnonzero(words == judged), np.flatnonzero(np.isin(words, others))
        same: set[int] = set()
        for start in range(0, len(mine), _ROWS):
            same |= {int(index) for index in _same(hashes, mine[start : start + _ROWS], theirs)[0]}
        if len(same) < len(mine):  # else nothing would be left to judge by
            for index in same:
                split[index] = ASIDE


# ---------------------------------------------------------------------------------------------------- dealing


def _deal(groups: list[str], split: list[str], notes: list[str]) -> None:
    """Dealing of groups by hand, so that a class has something to learn from and to judge by, as far as it allows."""
    of_group: dict[str, str] = {}
    for group, word in zip(groups, split, strict=True):
        if word != ASIDE:
            of_group.setdefault(group, word)
    order = sorted(of_group, key=lambda group: hashlib.sha256(group.encode()).hexdigest())
    for needed in ("train", "test", "validation"):
        count = Counter(of_group.values())
        if needed in count:
            continue
        spare = [group for group in order if count[of_group[group]] > 1] or [
            group for group in order if needed == "train" or (needed == "test" and of_group[group] == "validation")
        ]
        if spare:
            of_group[spare[0]] = needed
    for index, group in enumerate(groups):
        if split[index] != ASIDE:
            split[index] = of_group[group]
    if groups and "test" not in of_group.values():
        what = "one image only" if len(groups) == 1 else "all of its images look the same"
        notes.append(f"{what}: it can be learned from, not tested")
