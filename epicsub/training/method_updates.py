"""What an adaptation method does beside the losses of a step: further updates, and a last pass over the target."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from lightning_fabric import Fabric
from torch import Tensor

from epicsub.data.annotations import Segment
from epicsub.data.batch import Batch
from epicsub.data.prepared.index import StoreChoice
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views
from epicsub.progress import track
from epicsub.recipe import Recipe, Stage
from epicsub.training.build import seed_everything_for, view_loader
from epicsub.training.step import (
    State,
    adaptation_batch,
    alignment_weight,
    apply_mixing_and_teacher,
    average_gradients,
    class_weight,
    update_weights,
)

ONE_VIEW = Views(clips=1, crops=1, flip=False)


def later_updates(
    fabric: Fabric, recipe: Recipe, stage: Stage, state: State, batch: Batch, step: tuple[int, int]
) -> dict[str, Tensor]:
    """Make the method's further updates of this step; returns their losses to log. Most methods have none."""
    method = state.adaptation
    if method is None or batch.target is None:
        return {}
    figures = {}
    generator = seed_everything_for(recipe.seed, state.step, fabric.global_rank)
    updates = method.later_updates(state.model.module)
    source = apply_mixing_and_teacher(recipe, state, batch.source, generator) if updates else batch.source
    for number, update in enumerate(updates, 1):
        state.optimizer.zero_grad(set_to_none=True)
        outputs = (state.model(batch.source.clips), state.model(batch.target.clips))
        seen = adaptation_batch(state, outputs, batch, stage, step, generator)
        loss = alignment_weight(recipe) * update.loss(seen)
        if update.classifies:
            loss = loss + class_weight(recipe, stage) * state.criterion(outputs[0], source)
        fabric.backward(loss)
        average_gradients(fabric, method.alignment_parameters())
        moved = {id(parameter) for parameter in update.parameters}
        for group in state.optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) not in moved:
                    parameter.grad = None  # an optimiser leaves parameters without gradient alone
        update_weights(fabric, recipe, state, {"the loss": loss}, batch)
        figures[f"loss_update_{number}"] = loss.detach()
    return figures


@contextmanager
def as_if_finished(
    fabric: Fabric,
    recipe: Recipe,
    root: DataRoot,
    target: list[list[Segment]],
    store: StoreChoice,
    state: State,
    total: int,
) -> Iterator[None]:
    """Within, the model is what the method would make of it if training ended here; for evaluations on the way."""
    method = state.adaptation
    if method is None or not method.reads_target_after_training or state.step == total:
        yield
        return
    kept = {name: value.clone() for name, value in state.in_use.state_dict().items()}
    after_training(fabric, recipe, root, target, store, state)
    yield
    state.in_use.load_state_dict(kept)


def after_training(
    fabric: Fabric, recipe: Recipe, root: DataRoot, target: list[list[Segment]], store: StoreChoice, state: State
) -> None:
    """Let the method see every target clip once, without labels, one view each, after the last step."""
    method = state.adaptation
    if method is None or not method.reads_target_after_training:
        return
    segments = [segment for part in target for segment in part]
    loader = view_loader(recipe, root, segments, ONE_VIEW, store)

    def clips() -> Iterable[Mapping[str, Tensor]]:
        for _, views in track(loader, "target clips without labels", len(loader)):
            yield {name: fabric.to_device(clip.flatten(0, 1)) for name, clip in views.items()}

    method.after_training(state.in_use, clips())
