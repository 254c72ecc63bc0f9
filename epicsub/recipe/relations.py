"""Settings that must fit each other. What touches the disk (weights, lists, folders) is checked where a run starts."""

from collections.abc import Callable, Iterator
from typing import Any

from epicsub.recipe.keys import Location, field_at, part_of
from epicsub.recipe.yaml_tree import Problem, shown

I3D_MIN_FRAMES = 9  # below, three stride-2 layers leave a time of 1 for a pool of 2


class _NotUsableError(Exception):
    """A setting that a relation needs has a problem of its own."""


class Settings:
    """Values of a recipe by dotted key, schema defaults filled in; refuses those that have a problem of their own."""

    def __init__(self, values: dict[str, Any], bad: set[str]) -> None:
        self._values = values
        self._bad = bad

    def __getitem__(self, key: str) -> Any:
        if any(self._overlap(key, bad) for bad in self._bad):
            raise _NotUsableError(key)
        location: Location = tuple(int(part) if part.isdigit() else part for part in key.split("."))
        parent: Any = self._values
        for part in location[:-1]:
            parent = part_of(parent, part)
        if location[-1] in parent or isinstance(location[-1], int):
            return part_of(parent, location[-1])
        field = field_at(location, self._values)
        if field is None or field.is_required():
            raise _NotUsableError(key)
        return field.default

    def stages(self) -> range:
        """Numbers of the stages, whatever is wrong inside them."""
        stages = part_of(part_of(self._values, "train"), "stages")
        return range(len(stages) if isinstance(stages, list | tuple) else 0)

    @staticmethod
    def _overlap(key: str, bad: str) -> bool:
        return key == bad or key.startswith(f"{bad}.") or bad.startswith(f"{key}.")


Relation = Callable[[Settings], Iterator[Problem]]


def broken_relations(values: dict[str, Any], bad: set[str]) -> list[Problem]:
    """Problems of settings that do not fit each other, leaving out relations that need a key in `bad`."""
    settings = Settings(values, bad)
    found = [_usable(relation(settings)) for relation in RELATIONS]
    for number in settings.stages():
        found += [_usable(relation(settings, f"train.stages.{number}")) for relation in STAGE_RELATIONS]
    return [problem for problems in found for problem in problems]


def _usable(problems: Iterator[Problem]) -> list[Problem]:
    try:
        return list(problems)
    except _NotUsableError:
        return []


def _stride(settings: Settings) -> Iterator[Problem]:
    sampling, stride = settings["data.sampling"], settings["data.stride"]
    if sampling == "dense" and stride is None:
        yield Problem("data.stride", "missing, dense sampling needs the seconds between two frames, e.g. 0.0333333")
    if sampling == "uniform" and stride is not None:
        yield Problem("data.stride", f"is {shown(stride)}, but uniform sampling has no stride: leave it out")


def _size(settings: Settings) -> Iterator[Problem]:
    size, short_side = settings["data.size"], settings["data.short_side"]
    if size > short_side:
        yield Problem("data.size", f"is {size}, must be at most data.short_side ({short_side})")


def _crop(settings: Settings) -> Iterator[Problem]:
    crop = settings["data.augment.crop"]
    for name, owner in (("scales", "scale_jitter"), ("area", "random_resized")):
        value = settings[f"data.augment.{name}"]
        if crop == owner and value is None:
            yield Problem(f"data.augment.{name}", f"missing, crop {crop} needs it")
        if crop != owner and value is not None:
            yield Problem(f"data.augment.{name}", f"is {shown(value)}, but only crop {owner} has it: leave it out")


def _area(settings: Settings) -> Iterator[Problem]:
    area = settings["data.augment.area"]
    if area is not None and area[0] > area[1]:
        yield Problem("data.augment.area", f"is {shown(list(area))}, must be [smallest, largest]")


def _color_jitter(settings: Settings) -> Iterator[Problem]:
    jitter, modalities = settings["data.augment.color_jitter"], settings["data.modalities"]
    if jitter > 0 and "rgb" not in modalities:
        yield Problem("data.augment.color_jitter", f"is {shown(jitter)}, but data.modalities has no rgb: write 0")


def _no_list_twice(settings: Settings) -> Iterator[Problem]:
    for key in ("data.modalities", "data.source", "data.target"):
        items = settings[key]
        for index, item in enumerate(items):
            if item in items[:index]:
                yield Problem(f"{key}.{index}", f"is {shown(item)}, which stands there twice")


def _domains_apart(settings: Settings) -> Iterator[Problem]:
    source = settings["data.source"]
    for index, item in enumerate(settings["data.target"]):
        if item in source:
            yield Problem(f"data.target.{index}", f"is {shown(item)}, which data.source has too")


def _i3d_frames(settings: Settings) -> Iterator[Problem]:
    frames = settings["data.frames"]
    if settings["model.name"] == "i3d" and frames < I3D_MIN_FRAMES:
        text = f"is {frames}, must be at least {I3D_MIN_FRAMES}: i3d halves time three times and pools what is left"
        yield Problem("data.frames", text)


def _i3d_weights(settings: Settings) -> Iterator[Problem]:
    if settings["model.name"] != "i3d":
        return
    weights, modalities = settings["model.weights"], settings["data.modalities"]
    for modality in modalities:
        if modality not in weights:
            text = "missing, data.modalities has it: write a name, a file, or null for random weights"
            yield Problem(f"model.weights.{modality}", text)
    for modality in weights:
        if modality not in modalities:
            text = f"is {shown(weights[modality])}, but data.modalities has no {modality}: leave it out"
            yield Problem(f"model.weights.{modality}", text)


def _frame_lstm_modalities(settings: Settings) -> Iterator[Problem]:
    modalities = list(settings["data.modalities"])
    if settings["model.name"] == "frame_lstm" and modalities != ["rgb"]:
        yield Problem("data.modalities", f"is {shown(modalities)}, must be [rgb] for model.name frame_lstm")


def _target_lists(settings: Settings) -> Iterator[Problem]:
    method, target = settings["adaptation.method"], settings["data.target"]
    if method == "source_only" and target:
        text = f"is {shown(list(target))}, but adaptation.method source_only reads no target list: leave it out"
        yield Problem("data.target", text)
    if method != "source_only" and not target:
        yield Problem("data.target", f"is empty, but adaptation.method {method} needs a list to adapt to")


def _some_stage_adapts(settings: Settings) -> Iterator[Problem]:
    method = settings["adaptation.method"]
    batches = [settings[f"train.stages.{stage}.target_batch"] for stage in settings.stages()]
    if method != "source_only" and batches and not any(batches):
        yield Problem("train.stages", f"no stage has a target_batch above 0, so adaptation.method {method} never runs")


def _agents(settings: Settings) -> Iterator[Problem]:
    if settings["adaptation.method"] != "mmir" or settings["adaptation.agents"] is None:
        return
    agents, modalities = settings["adaptation.agents"], settings["data.modalities"]
    for index, agent in enumerate(agents):
        if agent.partition("_")[0] not in modalities:
            text = f"is {shown(agent)}, but data.modalities is {shown(list(modalities))}"
            yield Problem(f"adaptation.agents.{index}", text)
        if agent in agents[:index]:
            yield Problem(f"adaptation.agents.{index}", f"is {shown(agent)}, which stands there twice")


def _removals(settings: Settings) -> Iterator[Problem]:
    if settings["adaptation.method"] != "mmir":
        return
    removals, candidates = settings["adaptation.removals"], settings["adaptation.candidates"]
    if removals >= candidates:
        yield Problem("adaptation.removals", f"is {removals}, must be below adaptation.candidates ({candidates})")


def _replay(settings: Settings) -> Iterator[Problem]:
    if settings["adaptation.method"] != "mmir":
        return
    batch, size = settings["adaptation.replay_batch"], settings["adaptation.replay_size"]
    if batch >= size:
        text = f"is {batch}, must be below adaptation.replay_size ({size}), or the agents never learn"
        yield Problem("adaptation.replay_batch", text)


def _selection(settings: Settings) -> Iterator[Problem]:
    select, every = settings["train.select"], settings["train.evaluate_every"]
    if select != "last" and every is None:
        text = f"is {shown(select)}, which needs train.evaluate_every: write its steps, or select last"
        yield Problem("train.select", text)


def _precision(settings: Settings) -> Iterator[Problem]:
    precision, accelerator = settings["train.precision"], settings["train.accelerator"]
    if precision == "16-mixed" and accelerator == "cpu":
        yield Problem("train.precision", f"is {shown(precision)}, must be bf16-mixed or 32-true on a cpu")


def _stage_target(settings: Settings, stage: str) -> Iterator[Problem]:
    batch = settings[f"{stage}.target_batch"]
    if settings["adaptation.method"] == "source_only" and batch:
        text = f"is {batch}, but adaptation.method source_only sees no target clip: write 0"
        yield Problem(f"{stage}.target_batch", text)


def _stage_warmup(settings: Settings, stage: str) -> Iterator[Problem]:
    warmup, steps = settings[f"{stage}.warmup_steps"], settings[f"{stage}.steps"]
    if warmup >= steps:
        yield Problem(f"{stage}.warmup_steps", f"is {warmup}, must be below the stage's steps ({steps})")


def _stage_candidates(settings: Settings, stage: str) -> Iterator[Problem]:
    """Candidate sets that leave a remainder would keep it unseen by the agents."""
    if settings["adaptation.method"] != "mmir" or not settings[f"{stage}.target_batch"]:
        return
    candidates = settings["adaptation.candidates"]
    for name in ("source_batch", "target_batch"):
        batch = settings[f"{stage}.{name}"]
        if batch % candidates:
            below = max(batch // candidates, 1) * candidates
            text = f"is {batch}, must be a multiple of adaptation.candidates ({candidates})"
            yield Problem(f"{stage}.{name}", f"{text}: the nearest are {below} and {below + candidates}")


RELATIONS: tuple[Relation, ...] = (
    _stride,
    _size,
    _crop,
    _area,
    _color_jitter,
    _no_list_twice,
    _domains_apart,
    _i3d_frames,
    _i3d_weights,
    _frame_lstm_modalities,
    _target_lists,
    _some_stage_adapts,
    _agents,
    _removals,
    _replay,
    _selection,
    _precision,
)
STAGE_RELATIONS = (_stage_target, _stage_warmup, _stage_candidates)
