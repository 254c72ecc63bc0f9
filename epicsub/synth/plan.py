"""What synthetic kitchens are made of: their settings, then who does what, when, in which video."""

import zlib
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np

from epicsub.errors import DataError

SOURCE_PARTICIPANTS = ("P01", "P02", "P03", "P04")
VALIDATION_PARTICIPANTS = ("P05", "P06")
TEST_PARTICIPANTS = ("P05", "P06", "P07")
UNSEEN_VALIDATION = ("P06",)
UNSEEN_TEST = ("P07",)

# Official ids (EPIC_100_verb_classes.csv, EPIC_100_noun_classes.csv); the order is that of falling frequency.
VERBS = {0: "take", 1: "put", 2: "wash", 3: "open", 4: "close", 7: "cut", 10: "mix", 9: "pour"}
OUTSIDE_VERBS = {15: "shake", 18: "squeeze"}  # shown to the target only: no training list holds them
NOUNS = {
    2: "plate", 9: "sponge", 5: "pan", 13: "cup", 41: "carrot", 15: "bottle", 7: "bowl", 16: "onion",
    18: "board:chopping", 26: "package",
}  # fmt: skip

BOX_NOISE = ("box_miss", "box_jitter", "box_false", "box_swap")
NEWER = {"distractors": 0, "boxes": False, **dict.fromkeys(BOX_NOISE, 0.0)}
"""Settings that earlier kitchens do not name, and what they were made with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthSettings:
    """Sizes and difficulty of the kitchens. Same settings, same bytes.

    Raises:
        DataError: values outside their range, all of them at once.
    """

    seed: int = 0
    train: int = 640  # labelled segments of the source kitchens
    heldout: int = 160  # labelled segments of other videos of the source kitchens
    validation: int = 240  # labelled segments of the target kitchens
    test: int = 160  # segments of the target kitchens, labels only in answers/
    width: int = 96  # pixels, even
    height: int = 72  # pixels, even
    verbs: int = 8  # how many of VERBS are drawn
    nouns: int = 6  # how many of NOUNS are drawn
    imbalance: float = 0.83  # each class has this share of the one before it
    shortest: float = 0.8  # seconds of an ordinary segment
    longest: float = 2.5
    brief: float = 0.06  # share of segments of 0.25 to 0.5 s, shorter than a 16-frame clip at 30 fps
    overlap: float = 0.1  # share of segments that start before the one before them has ended
    segments_per_video: int = 12
    irrelevant: float = 0.2  # share of source segments seen from another side, in another motion style
    outside: float = 0.2  # share of target segments whose verb no training list holds
    shift: float = 0.7  # how far target kitchens are from source kitchens: 0 alike, 1 other colours altogether
    clutter: int = 5  # other things on the worktop
    jitter: float = 1.0  # shake of the camera, 1 as drawn
    noise: float = 4.0  # grey levels, standard deviation of the sensor's noise
    crf: int = 20  # H.264 quality, lower is better
    distractors: int = 0  # objects of other nouns that lie around the action
    boxes: bool = False  # write hand-objects/ too: hands and objects of every frame, in the official format
    box_miss: float = 0.0  # share of boxes that are not found
    box_jitter: float = 0.0  # standard deviation of each side of a box, in its width or height
    box_false: float = 0.0  # share of frames with an object that is none
    box_swap: float = 0.0  # share of frames in which a hand seems to hold another object than it does

    def __post_init__(self) -> None:
        """Check all values."""
        problems = [text for wrong, text in self._checks() if wrong]
        if problems:
            raise DataError(
                "these kitchens cannot be made, give other numbers:\n" + "\n".join(f"  {text}" for text in problems)
            )

    def _checks(self) -> list[tuple[bool, str]]:
        counts = ("train", "heldout", "validation", "test")
        shares = ("brief", "overlap", "irrelevant", "outside", "box_miss", "box_false", "box_swap")
        return [
            *((getattr(self, k) < 1, f"{k}={getattr(self, k)}: at least 1 segment") for k in counts),
            *((not 0 <= getattr(self, k) <= 1, f"{k}={getattr(self, k)}: a share from 0 to 1") for k in shares),
            *((getattr(self, k) % 2 or getattr(self, k) < 32, f"{k}={getattr(self, k)}: even, 32 or more pixels")
              for k in ("width", "height")),
            (not 2 <= self.verbs <= len(VERBS), f"verbs={self.verbs}: from 2 to {len(VERBS)}"),
            (not 2 <= self.nouns <= len(NOUNS), f"nouns={self.nouns}: from 2 to {len(NOUNS)}"),
            (not 0 < self.imbalance <= 1, f"imbalance={self.imbalance}: above 0, at most 1"),
            (not 0.2 <= self.shortest <= self.longest,
             f"shortest={self.shortest}, longest={self.longest}: 0.2 s or more, and in this order"),
            (self.segments_per_video < 1, f"segments_per_video={self.segments_per_video}: at least 1"),
            *((getattr(self, k) < 0, f"{k}={getattr(self, k)}: not negative")
              for k in ("seed", "shift", "clutter", "jitter", "noise", "distractors", "box_jitter")),
            *((getattr(self, k) > 0 and not self.boxes, f"{k}={getattr(self, k)}: is of boxes, which are not asked for")
              for k in BOX_NOISE),
            (not 0 <= self.crf <= 51, f"crf={self.crf}: from 0 to 51"),
        ]  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Convert to plain values, for synth.json.

        Returns:
            Value of each setting by name.
        """
        return asdict(self)

    def of_pictures(self) -> dict[str, Any]:
        """The settings that a video's bytes depend on; what is newer than the first kitchens only where it is used.

        Returns:
            Value of each by name.
        """
        unused = {"boxes", *BOX_NOISE, *(() if self.distractors else ("distractors",))}
        return {name: value for name, value in asdict(self).items() if name not in unused}

    def differences(self, other: dict[str, Any]) -> list[str]:
        """The settings that differ from those of other kitchens.

        Args:
            other: settings by name, as read from synth.json.

        Returns:
            A line per setting: its name and both values.
        """
        mine = self.as_dict()
        there = {field.name: other.get(field.name, NEWER.get(field.name)) for field in fields(self)}
        return [f"{k}: {there[k]} there, {mine[k]} asked" for k in there if there[k] != mine[k]]

    @property
    def verb_ids(self) -> list[int]:
        """Official ids of the drawn verbs, most common first."""
        return list(VERBS)[: self.verbs]

    @property
    def noun_ids(self) -> list[int]:
        """Official ids of the drawn nouns, most common first."""
        return list(NOUNS)[: self.nouns]


FPS_2018 = Fraction(60000, 1001)
FPS_2020 = Fraction(50)
VIDEOS_A_PARTICIPANT = 99  # two digits: P01_01 to P01_99, and P01_101 to P01_199
IRRELEVANT, OUTSIDE = "irrelevant", "outside"


@dataclass(frozen=True, slots=True)
class PlannedSegment:
    """One action: from `start` to `stop` seconds. `kind` is "", IRRELEVANT or OUTSIDE; `draw` seeds its drawing."""

    narration_id: str
    start: float
    stop: float
    verb: int
    noun: int
    kind: str
    draw: int


@dataclass(frozen=True, slots=True)
class PlannedVideo:
    """One video of one kitchen; `split` is train, heldout, validation or test."""

    video_id: str
    participant: str
    split: str
    fps: Fraction
    frames: int
    segments: tuple[PlannedSegment, ...]


def random_stream(settings: SynthSettings, *labels: str | int) -> np.random.Generator:
    """Random numbers of their own for each purpose, so that one list's size does not change another list.

    Args:
        settings: give the seed.
        labels: name the purpose.

    Returns:
        A generator, the same for the same seed and labels.
    """
    return np.random.default_rng([settings.seed, zlib.crc32("/".join(map(str, labels)).encode())])


def plan_videos(settings: SynthSettings) -> list[PlannedVideo]:
    """Plan all videos of all splits.

    Args:
        settings: sizes and seed.

    Returns:
        The videos, split by split, in the order of their numbers.
    """
    videos: list[PlannedVideo] = []
    used: dict[tuple[str, int], int] = {}
    for split, participants, first_number, fps in (
        ("train", SOURCE_PARTICIPANTS, 1, FPS_2018),
        ("heldout", SOURCE_PARTICIPANTS, 1, FPS_2018),
        ("validation", VALIDATION_PARTICIPANTS, 1, FPS_2018),
        ("test", TEST_PARTICIPANTS, 101, FPS_2020),
    ):
        verbs, nouns, kinds = _deal_actions(settings, split)
        a_video = _segments_a_video(settings, split, len(participants))
        for number, first in enumerate(range(0, len(verbs), a_video)):
            participant = participants[number % len(participants)]
            series = (participant, first_number)
            used[series] = used.get(series, 0) + 1
            video_id = f"{participant}_{first_number + used[series] - 1:02d}"
            part = slice(first, first + a_video)
            actions = list(zip(verbs[part], nouns[part], kinds[part], strict=True))
            videos.append(_plan_video(settings, video_id, split, fps, actions))
    return videos


def class_shares(count: int, ratio: float) -> np.ndarray:
    """Shares of classes, each `ratio` times the one before it.

    Args:
        count: classes.
        ratio: above 0, at most 1.

    Returns:
        (count,) float64 that sums to 1.
    """
    weights = ratio ** np.arange(count)
    return np.asarray(weights / weights.sum())


def _deal_actions(settings: SynthSettings, split: str) -> tuple[list[int], list[int], list[str]]:
    count = getattr(settings, split)
    random = random_stream(settings, split, "actions")
    verbs = _quotas(settings.verb_ids, settings.imbalance, count, random)
    nouns = _quotas(settings.noun_ids, settings.imbalance, count, random)
    source = split in ("train", "heldout")
    kind, share = (IRRELEVANT, settings.irrelevant) if source else (OUTSIDE, settings.outside)
    odd = set(random.permutation(count)[: round(count * share)].tolist())
    kinds = [kind if i in odd else "" for i in range(count)]
    if not source:
        outside = random.choice(list(OUTSIDE_VERBS), count)
        verbs = [int(outside[i]) if i in odd else verb for i, verb in enumerate(verbs)]
    return verbs, nouns, kinds


def _quotas(ids: list[int], ratio: float, count: int, random: np.random.Generator) -> list[int]:
    """`count` ids in random order, each as often as its share says (largest remainders are rounded up)."""
    exact = class_shares(len(ids), ratio) * count
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: count - counts.sum()]] += 1
    dealt = np.repeat(ids, counts)
    random.shuffle(dealt)
    return [int(x) for x in dealt]


def _segments_a_video(settings: SynthSettings, split: str, participants: int) -> int:
    """As set, or more where the two digits of a video's number would not be enough."""
    together = settings.train + settings.heldout if split in ("train", "heldout") else getattr(settings, split)
    # one video less a participant: train and heldout each end with a video that is not full
    fewest = ceil(together / (participants * (VIDEOS_A_PARTICIPANT - 2)))
    return max(settings.segments_per_video, fewest)


def _plan_video(
    settings: SynthSettings, video_id: str, split: str, fps: Fraction, actions: list[tuple[int, int, str]]
) -> PlannedVideo:
    random = random_stream(settings, video_id, "times")
    segments = []
    clock = 0.0 if random.random() < 0.2 else float(random.uniform(0.05, 0.3))
    for i, (verb, noun, kind) in enumerate(actions):
        start = round(clock, 2)
        stop = round(start + _length(settings, random), 2)
        segments.append(PlannedSegment(f"{video_id}_{i}", start, stop, verb, noun, kind, int(random.integers(2**31))))
        late = random.uniform(0.05, 0.25)
        early = min(0.25, 0.3 * (stop - start)) if random.random() < settings.overlap else 0.0
        clock = stop - early if early else stop + late
    frames = ceil((segments[-1].stop + 0.1) * fps)
    return PlannedVideo(video_id, video_id[:3], split, fps, frames, tuple(segments))


def _length(settings: SynthSettings, random: np.random.Generator) -> float:
    if random.random() < settings.brief:
        return float(random.uniform(0.25, 0.5))
    return settings.shortest + (settings.longest - settings.shortest) * float(random.beta(1.2, 3.5))
