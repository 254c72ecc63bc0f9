"""What can be chosen about the made-up kitchens, and which kitchens, verbs and nouns there are."""

from dataclasses import asdict, dataclass, fields
from typing import Any

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

    def __post_init__(self) -> None:
        problems = [text for wrong, text in self._checks() if wrong]
        if problems:
            raise DataError("these kitchens cannot be made:\n" + "\n".join(f"  {text}" for text in problems))

    def _checks(self) -> list[tuple[bool, str]]:
        counts = ("train", "heldout", "validation", "test")
        shares = ("brief", "overlap", "irrelevant", "outside")
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
              for k in ("seed", "shift", "clutter", "jitter", "noise")),
            (not 0 <= self.crf <= 51, f"crf={self.crf}: from 0 to 51"),
        ]  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, for synth.json."""
        return asdict(self)

    def differences(self, other: dict[str, Any]) -> list[str]:
        """Names and both values of the settings that differ from `other`, as read from synth.json."""
        mine = self.as_dict()
        names = [field.name for field in fields(self)]
        return [f"{k}: {other.get(k)} there, {mine[k]} asked" for k in names if other.get(k) != mine[k]]

    @property
    def verb_ids(self) -> list[int]:
        """Official ids of the drawn verbs, most common first."""
        return list(VERBS)[: self.verbs]

    @property
    def noun_ids(self) -> list[int]:
        """Official ids of the drawn nouns, most common first."""
        return list(NOUNS)[: self.nouns]
