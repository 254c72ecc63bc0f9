"""Settings that must fit each other. What touches the disk (weights, lists, folders) is checked where a run starts.

Each section checks itself (data.py, model.py, ...); the checks between sections stand here.
"""

from collections.abc import Iterator

from epicsub.models.maps import MAPS
from epicsub.models.table import MODELS
from epicsub.recipe.adaptation import (
    AdaBNAdaptation,
    ContrastiveAdaptation,
    MMIRAdaptation,
    MMSADAAdaptation,
    TA3NAdaptation,
    check_adaptation,
)
from epicsub.recipe.data import check_data, check_modalities
from epicsub.recipe.losses import HeadLoss
from epicsub.recipe.model import (
    ContextModel,
    FeatureHeadsModel,
    FeatureModelSection,
    I3DModel,
    TemporalRelationsModel,
    VideoModel,
    check_model,
    relations_of,
)
from epicsub.recipe.pretext_relations import check_pretraining
from epicsub.recipe.relations_data import check_boxes
from epicsub.recipe.schema import Recipe, check_classes
from epicsub.recipe.stage import Stage
from epicsub.recipe.train import check_train
from epicsub.recipe.unlabelled import check_unlabelled
from epicsub.recipe.yaml_tree import Problem, format_value

LEAST_ROLLED = 3  # clips of a domain: one that keeps its pair, and two that swap


def check_relations(recipe: Recipe) -> Iterator[Problem]:
    """Check that the settings of a recipe fit each other.

    Args:
        recipe: Of valid fields.

    Yields:
        What does not fit.
    """
    yield from (*check_data(recipe.data), *_check_model_input(recipe), *_check_bottleneck(recipe))
    yield from (*check_boxes(recipe), *_check_boxes_of_relations(recipe))
    yield from (*check_classes(recipe.classes), *_check_absent_classes(recipe), *check_model(recipe.model))
    yield from (*_check_target(recipe), *_check_modality_count(recipe), *_check_method_and_model(recipe))
    yield from (*check_adaptation(recipe.adaptation), *_check_agents(recipe))
    yield from _check_windows(recipe)
    yield from (*check_unlabelled(recipe.adaptation), *_check_held_out(recipe))
    yield from (*check_train(recipe.train), *_check_training_options(recipe))
    yield from check_pretraining(recipe)
    if recipe.pretext is None:
        for index, stage in enumerate(recipe.train.stages):
            yield from _check_stage(f"train.stages.{index}", stage, recipe)


def _check_model_input(recipe: Recipe) -> Iterator[Problem]:
    """Check that the model reads what `data` gives: its modalities, as videos or as features."""
    model, data = recipe.model, recipe.data
    row = MODELS[model.name]
    if data.features is not None and row.reads == "videos":
        others = " or ".join(name for name, other in MODELS.items() if other.reads == "features")
        yield Problem("model.name", f"is {model.name}, which reads videos: data.features needs {others}")
    if data.features is None and row.reads == "features":
        text = f"missing, model.name {model.name} reads features: name their folder or file"
        yield Problem("data.features", text)
    if data.features is not None and recipe.evaluation.views != "1x1":
        text = f"is {recipe.evaluation.views!r}, but data.features were made of their views: write 1x1"
        yield Problem("evaluation.views", text)
    if isinstance(model, FeatureModelSection):
        yield from check_modalities("model.dims", model.dims, data, "write the length of its vectors")
    if isinstance(model, I3DModel | VideoModel):
        advice = "write a name, a file, or null for random weights"
        yield from check_modalities("model.weights", model.weights, data, advice)
    if data.features is None and data.frames is not None and data.size is not None:
        clip = (data.frames, row.min_frames, row.frames_multiple), (data.size, 1, row.size_multiple)
        for key, (value, least, multiple) in zip(("data.frames", "data.size"), clip, strict=True):
            if value < least or value % multiple:
                limit = f"at least {least}" if value < least else f"a multiple of {multiple}"
                yield Problem(key, f"is {value}, must be {limit}: {row.name} {row.clip_reason}")


def _check_boxes_of_relations(recipe: Recipe) -> Iterator[Problem]:
    """Check that relations have boxes, of the times of their model's map, and a stream."""
    relations, data, name = relations_of(recipe.model), recipe.data, recipe.model.name
    if relations is None or name not in MAPS:
        return
    if relations.stream not in data.modalities:
        text = f"is {relations.stream}, but data.modalities is {format_value(data.modalities)}: name one of them"
        yield Problem("model.relations.stream", text)
    if data.features is not None or data.frames is None:
        return
    slices = MAPS[name].slices(data.frames)
    if data.boxes is None:
        text = f"missing, model.relations reads them: write {{slices: {slices}}}, and run `epicsub data boxes` before"
        yield Problem("data.boxes", text)
    elif data.boxes.slices != slices:
        text = f"is {data.boxes.slices}, but the map of {name} has {slices} times for {data.frames} frames: write that"
        yield Problem("data.boxes.slices", text)


def _check_bottleneck(recipe: Recipe) -> Iterator[Problem]:
    """Check that heads on features have a layer to align where a method aligns one."""
    model, adaptation = recipe.model, recipe.adaptation
    if not isinstance(model, FeatureHeadsModel) or model.bottleneck is not None:
        return
    if adaptation.reads_target:
        text = f"is null, so adaptation.method {adaptation.method} has nothing to change"
        yield Problem("model.bottleneck", f"{text}: give the layer that it aligns its units")
    if model.batch_norm:
        yield Problem("model.batch_norm", "is true, but model.bottleneck is null: leave it out")


def _check_absent_classes(recipe: Recipe) -> Iterator[Problem]:
    """Check that nothing is set for verbs or nouns that `classes` leaves out."""
    classes, train = recipe.classes, recipe.train
    smoothing = train.losses.verb.label_smoothing
    if classes.verbs is not None and smoothing:  # it would give a share to each of the 97
        text = f"is {format_value(smoothing)}, but classes.verbs leaves verbs no probability: write 0"
        yield Problem("train.losses.verb.label_smoothing", text)
    if classes.nouns:
        return
    absent = "but classes.nouns is false"
    if "noun" in train.select or "action" in train.select:
        yield Problem("train.select", f"is {train.select!r}, {absent}: there are verbs alone")
    defaults = dict(HeadLoss())
    for name, value in train.losses.noun:
        if value != defaults[name]:
            yield Problem(f"train.losses.noun.{name}", f"is {format_value(value)}, {absent}: leave it out")
    if isinstance(recipe.adaptation, ContrastiveAdaptation) and recipe.adaptation.label != "verb":
        yield Problem("adaptation.label", f"is {recipe.adaptation.label!r}, {absent}: write verb")
    if train.losses.action is not None:
        yield Problem("train.losses.action", f"is set, {absent}: there are no actions, leave it out")
    if train.sampling.by in ("noun", "action"):
        yield Problem("train.sampling.by", f"is {train.sampling.by!r}, {absent}: write verb")


def _check_target(recipe: Recipe) -> Iterator[Problem]:
    """Check that target lists are named, and clips of them drawn, where the method uses them."""
    adaptation, target = recipe.adaptation, recipe.data.target
    method = f"adaptation.method {adaptation.method}"
    if target and not adaptation.reads_target and recipe.pretext is None:
        yield Problem("data.target", f"is {format_value(target)}, but {method} reads no target list: leave it out")
    if not target and adaptation.reads_target:
        yield Problem("data.target", f"is empty, but {method} needs a list to adapt to")
    if adaptation.trains_on_target and not any(stage.target_batch for stage in recipe.train.stages):
        yield Problem("train.stages", f"no stage has a target_batch above 0, so {method} never runs: set one")


def _check_modality_count(recipe: Recipe) -> Iterator[Problem]:
    """Check that methods between modalities have two."""
    adaptation, modalities = recipe.adaptation, recipe.data.modalities
    if len(modalities) > 1:
        return
    needs = f"which needs two data.modalities or more, not {format_value(modalities)}"
    if adaptation.pairs_modalities:
        yield Problem("adaptation.method", f"is {adaptation.method}, {needs}")
    elif adaptation.rolls_pairs:
        yield Problem("adaptation.correspondence_weight", f"is above 0, {needs}")


def _check_method_and_model(recipe: Recipe) -> Iterator[Problem]:
    """Check settings of the methods that are made for one model, or with weights for each stage."""
    adaptation, model, train = recipe.adaptation, recipe.model, recipe.train
    is_ta3n = isinstance(adaptation, TA3NAdaptation)
    if is_ta3n and not isinstance(model, TemporalRelationsModel):
        text = "is ta3n, which aligns frames and relations: it needs model.name temporal_relations"
        yield Problem("adaptation.method", f"{text}, not {model.name}")
    if isinstance(model, TemporalRelationsModel) and model.attention != is_ta3n:
        given = "false, but ta3n is about it" if is_ta3n else "true, but nothing but ta3n trains it"
        yield Problem("model.attention", f"is {given}: write {format_value(is_ta3n)}")
    if isinstance(adaptation, MMSADAAdaptation):
        yield from _check_stage_weights("adaptation.adversarial_weights", adaptation.adversarial_weights, train.stages)
        name, weights = "adaptation.correspondence_weights", adaptation.correspondence_weights
        yield from _check_stage_weights(name, weights, train.stages)
    if isinstance(adaptation, AdaBNAdaptation) and not adaptation.trains_on_target and train.select != "last":
        text = "but the last checkpoint alone has the target's statistics of adabn's variant strict: write last"
        yield Problem("train.select", f"is {train.select!r}, {text}")


def _check_windows(recipe: Recipe) -> Iterator[Problem]:
    """Check what goes with windows of segments, and what they alone have."""
    if not isinstance(recipe.model, ContextModel):
        if recipe.train.losses.window is not None:
            text = (
                f"is {format_value(recipe.train.losses.window)}, but {recipe.model.name} sees no windows: leave it out"
            )
            yield Problem("train.losses.window", text)
        return
    if recipe.train.mixing is not None:
        yield Problem("train.mixing", "is set, but windows of model context are not mixed: leave it out")


def _check_held_out(recipe: Recipe) -> Iterator[Problem]:
    """Check that label-free scores, and they alone, have labelled segments that were not trained on."""
    held_out, select = recipe.evaluation.held_out, recipe.train.select
    if select.startswith("label_free") and held_out is None:
        text = f"missing, train.select {select} fits a temperature on a labelled list that is not trained on: name one"
        yield Problem("evaluation.held_out", text)
    if held_out is not None and not select.startswith("label_free"):
        text = f"is {held_out!r}, but train.select {select} does not read it: leave it out"
        yield Problem("evaluation.held_out", text)
    if held_out is not None and held_out in recipe.data.source:
        yield Problem("evaluation.held_out", f"is {held_out!r}, which data.source trains on: name another list")


def _check_stage_weights(key: str, weights: tuple[float, ...], stages: tuple[Stage, ...]) -> Iterator[Problem]:
    if len(weights) != len(stages):
        yield Problem(key, f"has {len(weights)} weights for {len(stages)} stages: give one for each")
        return
    for index, (weight, stage) in enumerate(zip(weights, stages, strict=True)):
        if weight and not stage.target_batch:
            text = f"is {format_value(weight)} in a stage without target_batch, where it has no effect"
            yield Problem(key, f"{text}: give a target_batch to train.stages.{index}, or write 0")


def _check_agents(recipe: Recipe) -> Iterator[Problem]:
    """Check that agents are of modalities that the recipe has."""
    if isinstance(recipe.adaptation, MMIRAdaptation):
        for index, agent in enumerate(recipe.adaptation.agents or ()):
            if agent.partition("_")[0] not in recipe.data.modalities:
                read = format_value(recipe.data.modalities)
                text = f"is {format_value(agent)}, but data.modalities is {read}: name one of these"
                yield Problem(f"adaptation.agents.{index}", text)


def _check_training_options(recipe: Recipe) -> Iterator[Problem]:
    """Check options of `train` that methods with target clips, or models on features, do not have."""
    train, method = recipe.train, f"adaptation.method {recipe.adaptation.method}"
    if train.activation_checkpointing == "pools" and recipe.model.name != "i3d":
        text = f"is pools, which I3D alone has, but model.name is {recipe.model.name}: write true or false"
        yield Problem("train.activation_checkpointing", text)
    if train.mixing is not None and train.mixing.cutmix and recipe.data.features is not None:
        text = f"is {format_value(train.mixing.cutmix)}, but features have no picture to cut: write 0"
        yield Problem("train.mixing.cutmix", text)
    if not recipe.adaptation.reads_target:
        return
    if train.mixing is not None:
        text = f"is set, but {method} would tell the domains by it: the target is not mixed"
        yield Problem("train.mixing", text)
    if train.accumulate > 1 and train.precision == "16-mixed":
        text = (
            f"is {train.accumulate}, but with {method} 16-mixed would scale a step's gradient twice: write bf16-mixed"
        )
        yield Problem("train.accumulate", text)
    if train.patience and train.select != "last":
        yield Problem("train.patience", f"is {train.patience}, but {method} ends with its last step: leave it out")


def _check_stage(key: str, stage: Stage, recipe: Recipe) -> Iterator[Problem]:
    """Check that a stage's batches fit the method."""
    adaptation = recipe.adaptation
    if not stage.target_batch:
        return
    if not adaptation.trains_on_target:
        why = "with variant strict sees target clips after training"
        text = f"but adaptation.method {adaptation.method} {why if adaptation.reads_target else 'sees no target clip'}"
        yield Problem(f"{key}.target_batch", f"is {stage.target_batch}, {text}: write 0")
    for name, batch in {"source_batch": stage.source_batch, "target_batch": stage.target_batch}.items():
        if adaptation.rolls_pairs and batch < LEAST_ROLLED:
            yield Problem(f"{key}.{name}", f"is {batch}, must be at least {LEAST_ROLLED} to roll half of the pairs")
        size = adaptation.set_size
        if batch % size:  # a remainder would stay unseen by the agents
            below = max(batch // size, 1) * size
            text = f"is {batch}, must be a multiple of adaptation.candidates ({size})"
            yield Problem(f"{key}.{name}", f"{text}: the nearest are {below} and {below + size}")
