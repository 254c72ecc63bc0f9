"""A picture of the small kitchens: one segment of each verb in a source and in a target kitchen, with its flow.

python benchmarks/contact_sheet.py kitchens docs/kitchens.jpg
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from epicsub.data.annotations import Segment, read_segments
from epicsub.data.root import DataRoot
from epicsub.data.sources import ClipSource

FRAMES = 5
SCALE = 2


def main() -> None:
    """Write the sheet: rows are verbs, the left half the source, the right half the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kitchens", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--verbs", type=int, nargs="+", default=[0, 2, 3, 7, 9])
    arguments = parser.parse_args()
    root = DataRoot(arguments.kitchens)
    reader = ClipSource(root, ("rgb", "flow"))
    lists = [read_segments(root.annotations(f"EPIC_100_{name}.csv")) for name in ("train", "validation")]
    rows = [np.hstack([strip(reader, first_of(segments, verb)) for segments in lists]) for verb in arguments.verbs]
    sheet = cv2.resize(np.vstack(rows), None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(arguments.picture), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    print(f"wrote {arguments.picture}")


def first_of(segments: list[Segment], verb: int) -> Segment:
    """The first segment of a verb that lasts over a second."""
    return next(s for s in segments if s.verb_class == verb and s.stop - s.start > 1)


def strip(reader: ClipSource, segment: Segment) -> np.ndarray:
    """Frames of half a second of a segment, and the flow of the middle one as colour (hue is direction)."""
    clip = reader.read(segment, segment.start + np.linspace(0.3, 0.8, FRAMES))
    flow = clip["flow"][FRAMES // 2].numpy().astype(np.float32) - 127.5
    magnitude, angle = cv2.cartToPolar(flow[..., 0], flow[..., 1], angleInDegrees=True)
    colour = np.stack([angle / 2, np.full_like(angle, 255), np.clip(magnitude * 5, 0, 255)], axis=-1).astype(np.uint8)
    return np.hstack([*clip["rgb"].numpy(), cv2.cvtColor(colour, cv2.COLOR_HSV2RGB)])


if __name__ == "__main__":
    main()
