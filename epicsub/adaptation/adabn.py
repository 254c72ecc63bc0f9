"""Adaptive batch normalisation: the target's own mean and variance in every batch norm, and no weight changed.

Li et al., "Adaptive Batch Normalization for practical domain adaptation", Pattern Recognition 80, 2018.

[S] MM-SADA's code (jonmun/MM-SADA-code, 69fe0f7), read and never run or copied, [D] our own choice.

- `strict`: train on the source alone; then forget the running statistics, pass every target training clip through the
  model with batch norm in training mode and dropout off, and keep the statistics of what came. One view of each clip.
- The statistics are those of all values that a layer saw, whatever the batches' sizes: torch's own cumulative average
  (momentum None) would count a small last batch like a full one [D]. But every layer after the first sees values that
  the layers before it have normalised by their batch, so the batches are large, and drawn by the seed from all target
  clips [D]: neighbours of a list are of one video, and a batch of them has that video's mean, not the target's.
- `training_time`: what MM-SADA's "BN" mode does [S]: during training the target passes through the same running
  averages as the source, without a loss. Not the paper's method; named so that nobody confuses the two.
- `bn_only` is the same as a control [D]: every method that sends target clips through the network in training changes
  the running averages by it, whatever its loss does. What a loss gains is its gain over this control.

The validation and test clips that a recipe adapts to are the target training clips: transductive, as for every method.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from epicsub.adaptation.interface import AdaptationBatch, AdaptationLosses, AdaptationMethod
from epicsub.errors import AdaptationError
from epicsub.recipe.adaptation import AdaBNAdaptation, BNOnlyAdaptation
from epicsub.recipe.base import AdaptationSection

BATCH = 128  # of a 16 x 224 x 224 I3D's forward pass alone, in about 8 GiB


class AdaBN(AdaptationMethod):
    """Batch statistics of the target, estimated after training or averaged in it; as a control, in it alone.

    Args:
        model: whose batch norms see the target.
        settings: the recipe's section.

    Raises:
        AdaptationError: the model has no batch norm with running statistics.
    """

    def __init__(self, model: nn.Module, settings: AdaBNAdaptation | BNOnlyAdaptation) -> None:
        super().__init__({}, settings)
        if not batch_norms(model):
            raise AdaptationError(
                f"adaptation.method: {settings.method} changes batch norm statistics, but the model has none: give it "
                "batch norm, or take source_only"
            )
        if isinstance(settings, AdaBNAdaptation) and settings.variant == "strict":
            self.target_batch_after_training = settings.batch_size or BATCH

    @classmethod
    def for_model(cls, model: nn.Module, settings: AdaptationSection) -> "AdaBN":
        """Take the model itself, not its features.

        Args:
            model: whose batch norms see the target.
            settings: of this method.

        Returns:
            The method.
        """
        assert isinstance(settings, AdaBNAdaptation | BNOnlyAdaptation)
        return cls(model, settings)

    def _losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Nothing to align: the target has passed through the model, and that is all."""
        return AdaptationLosses(batch.source.verb_logits_BV.new_zeros(()), None, {}, {})

    def after_training(self, model: nn.Module, clips: Iterable[Mapping[str, Tensor]]) -> None:
        """Replace the running statistics by the target's (`strict`).

        Args:
            model: trained.
            clips: every target clip once, in large batches of all kitchens and videos.

        Raises:
            AdaptationError: there are no clips, or too few values for a variance.
        """
        estimate_statistics(model, clips)


def batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """Batch norms that keep running statistics.

    Args:
        model: any.

    Returns:
        The layers by name.
    """
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


@torch.no_grad()
def estimate_statistics(model: nn.Module, clips: Iterable[Mapping[str, Tensor]]) -> None:
    """Set every running mean and (unbiased) variance to those of all values that reach the layer from `clips`.

    Everything else of the model keeps its value, and its mode afterwards. Sums are kept in float64, around the first
    batch's mean, so that a large mean leaves the variance its digits.

    Args:
        model: with batch norm.
        clips: batches as the model takes them.

    Raises:
        AdaptationError: there are too few values for a variance.
    """
    layers = batch_norms(model)
    modes = {module: module.training for module in model.modules()}
    saved = {name: (layer.momentum, layer.num_batches_tracked) for name, layer in layers.items()}
    sums: dict[str, _Sums] = {}
    model.eval()
    hooks = []
    for name, layer in layers.items():
        layer.train()  # normalise by the batch; momentum 0 leaves the running statistics as they are
        layer.momentum, layer.num_batches_tracked = 0.0, None
        # A layer's input is seen nowhere else; the hooks are gone at the end.
        hooks.append(layer.register_forward_pre_hook(_collect(sums, name)))
    try:
        for batch in clips:
            model(batch)
    finally:
        for hook in hooks:
            hook.remove()
        for name, layer in layers.items():
            layer.momentum, layer.num_batches_tracked = saved[name]
        for module, mode in modes.items():
            module.training = mode
    if len(sums) < len(layers) or any(entry.count < 2 for entry in sums.values()):  # n - 1 divides
        raise AdaptationError("adaptation.clips: AdaBN saw too few target clips to estimate a variance; take more")
    for name, layer in layers.items():
        mean_C, variance_C = sums[name].statistics()
        layer.running_mean.copy_(mean_C)  # type: ignore[union-attr]  # batch_norms() returns none without
        layer.running_var.copy_(variance_C)  # type: ignore[union-attr]


class _Sums:
    """Running sums of one layer's input, by channel, around `origin_C`."""

    def __init__(self, origin_C: Tensor) -> None:
        self.origin_C = origin_C
        self.count = 0
        self.sum_C, self.squares_C = torch.zeros_like(origin_C), torch.zeros_like(origin_C)

    def add(self, x_NC: Tensor) -> None:
        centred_NC = x_NC.double() - self.origin_C
        self.count += len(x_NC)
        self.sum_C += centred_NC.sum(dim=0)
        self.squares_C += centred_NC.square().sum(dim=0)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and unbiased variance, as torch's running variance is."""
        mean_C = self.sum_C / self.count
        return self.origin_C + mean_C, (self.squares_C - self.count * mean_C.square()) / (self.count - 1)


def _collect(sums: dict[str, _Sums], name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x_NC = inputs[0].movedim(1, -1).flatten(0, -2)
        if name not in sums:
            sums[name] = _Sums(x_NC.double().mean(dim=0))
        sums[name].add(x_NC)

    return hook
