"""Who does what, when, in which video: the plan from which frames are drawn and tables are written."""

import zlib
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np

from epicsub.synth.settings import (
    OUTSIDE_VERBS,
    SOURCE_PARTICIPANTS,
    TEST_PARTICIPANTS,
    VALIDATION_PARTICIPANTS,
    SynthSettings,
)

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
    """Random numbers of their own for each purpose, so that one list's size does not change another list."""
    return np.random.default_rng([settings.seed, zlib.crc32("/".join(map(str, labels)).encode())])


def plan_videos(settings: SynthSettings) -> list[PlannedVideo]:
    """All videos of all splits."""
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
    """(count,) shares that sum to 1, each `ratio` times the one before it."""
    weights = ratio ** np.arange(count)
    return weights / weights.sum()


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
