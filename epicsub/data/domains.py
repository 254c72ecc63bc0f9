"""Labelled source and unlabelled target segments.

The only file that removes labels, and so the only one that may read a target list that has them; what it returns holds
none, so that training cannot reach them.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from epicsub.data.annotations import Segment
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.text import counted, first_of

SOURCE, TARGET = 0, 1  # the domain labels
NO_LABEL = -1
"""Noun of a source clip whose list has no nouns: no class, so that a loss over it fails."""


def load_source(
    root: DataRoot,
    lists: Sequence[str],
    skip: Collection[str] = (),
    verbs: Collection[int] | None = None,
    nouns: bool = True,
) -> list[Segment]:
    """Load labelled segments.

    Args:
        root: the data root.
        lists: names under annotations/.
        skip: narration ids to leave out.
        verbs: the only verb classes there may be; None: any.
        nouns: whether nouns are needed; without them `noun_class` is None, also where a list has it.

    Returns:
        Segments of all lists, in their order.

    Raises:
        DataError: a list is missing, wrong or unlabelled, or has other verbs, a narration id is in two of them, or
            nothing is left.
    """
    found = [_kept(root, name, skip) for name in lists]
    problems = []
    for name, segments in zip(lists, found, strict=True):
        path = root.annotations(name)
        if segments[0].verb_class is None:
            problems.append(f"{path}: has no verb_class and noun_class; a source list needs labels")
        elif segments[0].noun_class is None and nouns:
            problems.append(f"{path}: noun_class is empty throughout; train verbs only with classes.nouns=false")
        elif verbs is not None and (others := [s.narration_id for s in segments if s.verb_class not in verbs]):
            known = ", ".join(map(str, sorted(verbs)))
            problems.append(
                f"{path}: verb_class is none of classes.verbs ({known}) for {len(others)}: {first_of(others)}; name "
                "these classes too, or take the rows out"
            )
    _refuse(problems + _shared(lists, found))
    every = [segment for segments in found for segment in segments]
    return every if nouns else [replace(segment, noun_class=None) for segment in every]


def load_target(root: DataRoot, lists: Sequence[str], skip: Collection[str] = ()) -> list[list[Segment]]:
    """Load unlabelled segments.

    Args:
        root: the data root.
        lists: names under annotations/.
        skip: narration ids to leave out.

    Returns:
        Segments of each list, without labels.

    Raises:
        DataError: a list is missing or wrong, nothing is left of it, or a narration id is in two lists.
    """
    found = [[_unlabelled(segment) for segment in _kept(root, name, skip)] for name in lists]
    _refuse(_shared(lists, found))
    return found


def check_domains(source: Sequence[Segment], target: Sequence[Sequence[Segment]]) -> None:
    """Check what training is given: source labelled, target not, no narration id in both.

    Args:
        source: labelled segments.
        target: unlabelled segments of each list.

    Raises:
        DataError: one of these does not hold.
    """
    problems = _shared(["the source lists", *(f"target list {i + 1}" for i in range(len(target)))], [source, *target])
    nouns = any(segment.noun_class is not None for segment in source)  # a list of verbs has none at all
    bare = [s.narration_id for s in source if s.verb_class is None or (nouns and s.noun_class is None)]
    if bare:
        problems.append(
            f"{len(bare)} source segments have no labels: {first_of(bare)}; name a list that has them as target"
        )
    labelled = [
        s.narration_id for segments in target for s in segments if s.verb_class is not None or s.noun_class is not None
    ]
    if labelled:
        problems.append(
            f"{len(labelled)} target segments carry labels: {first_of(labelled)}; take them from load_target"
        )
    _refuse(problems)


def noun_of(segment: Segment) -> int:
    """Give the noun that a batch holds for a source segment.

    Args:
        segment: a source segment.

    Returns:
        Its noun class; NO_LABEL where its list has none.
    """
    return NO_LABEL if segment.noun_class is None else segment.noun_class


def _unlabelled(segment: Segment) -> Segment:
    return replace(segment, verb_class=None, noun_class=None)


def _kept(root: DataRoot, name: str, skip: Collection[str]) -> list[Segment]:
    path = root.annotations(name)
    found = root.segments(name)
    kept = [segment for segment in found if segment.narration_id not in skip]
    if not kept:
        raise DataError(f"{path}: all segments ({len(found)}) are in the skip list")
    return kept


def _shared(names: Sequence[str], lists: Sequence[Sequence[Segment]]) -> list[str]:
    """One line for each pair of lists that share narration ids."""
    where: dict[str, int] = {}
    shared: dict[tuple[int, int], list[str]] = {}
    for position, segments in enumerate(lists):
        for segment in segments:
            first = where.setdefault(segment.narration_id, position)
            if first != position:
                shared.setdefault((first, position), []).append(segment.narration_id)
    return [
        f"{counted(len(ids), 'narration id is', 'narration ids are')} in both {names[first]} and {names[second]}: "
        f"{first_of(ids)}; take them out of one"
        for (first, second), ids in shared.items()
    ]


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise DataError("\n".join(problems))
