"""The recipe's model and the heads that tell the order, which are dropped afterwards.

Shapes: B clips, C channels, n pieces, T frames, S pixels of a clip's side, D features, N permutations.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from epicsub.models.streams import Stream, TwoStream
from epicsub.pretext.order import HeadName, OrderTask, make_head, whole_clip


class OrderNetwork(nn.Module):
    """Streams of a model, one head per task and modality. The model itself is not changed.

    Args:
        model: the recipe's.
        tasks: what is told.
        head: joint reads a whole shuffled clip, siamese each piece alone.
    """

    def __init__(self, model: TwoStream, tasks: Sequence[OrderTask], head: HeadName) -> None:
        super().__init__()
        self.model, self.head = model, head
        self.tasks = {task.name: task for task in tasks}
        self.heads = nn.ModuleDict(
            {
                f"{task.name}_{name}": make_head(task, head, self._dim(name))
                for task in tasks
                for name in model.modalities
            }
        )

    def forward(self, task: str, pieces: Mapping[str, Tensor], side: int) -> dict[str, Tensor]:
        """Tell the order of shuffled clips, each modality by itself.

        Args:
            task: temporal or spatial.
            pieces: (B, n, C, T, H, W) per modality, in the shuffled order, 0 to 255.
            side: S, in pixels.

        Returns:
            (B, N) logits per modality.
        """
        logits = {}
        for name in self.model.modalities:
            stream, piece_BnCTHW = self.model.stream(name), pieces[name]
            if self.head == "joint":
                features = stream.features(whole_clip(self.tasks[task], piece_BnCTHW, side))  # type: ignore[index]
            else:
                alone = _features_of_pieces(stream, piece_BnCTHW.flatten(0, 1))
                features = alone.reshape(*piece_BnCTHW.shape[:2], -1)
            logits[name] = self.heads[f"{task}_{name}"](features)
        return logits

    def trained_parameters(self) -> list[nn.Parameter]:
        """List what the tasks have a gradient for: what `model.weights` loads, what pools it, and the heads.

        Returns:
            The parameters; not those of the model's own heads over verbs and nouns.
        """
        trunks = [self.model.stream(name).trunk for name in self.model.modalities]
        if self.head == "siamese":
            trunks = [loaded_part(trunk) for trunk in trunks]
        return [parameter for module in (*trunks, self.heads) for parameter in module.parameters()]

    def weights_of(self, modality: str) -> dict[str, Tensor]:
        """Copy what a recipe's `model.weights` takes for a stream.

        Args:
            modality: of the stream.

        Returns:
            Tensors under the names of the trunk, or of a frame model's backbone; no head.
        """
        state = loaded_part(self.model.stream(modality).trunk).state_dict()
        return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}

    def _dim(self, modality: str) -> int:
        """Features that a head reads, of a clip or of a piece."""
        if self.head == "joint":
            return self.model.feature_dims[modality]
        trunk = self.model.stream(modality).trunk
        return int(getattr(trunk, "backbone", trunk).num_features)


def loaded_part(trunk: nn.Module) -> nn.Module:
    """Find the part of a stream's trunk that `model.weights` loads.

    Args:
        trunk: of a stream.

    Returns:
        The backbone of a frame model, the library's network of a `VideoTrunk`, or the trunk itself.
    """
    for name in ("backbone", "network"):
        part = getattr(trunk, name, None)
        if isinstance(part, nn.Module):
            return part
    return trunk


def _features_of_pieces(stream: Stream, piece_BCTHW: Tensor) -> Tensor:
    """(B, D) of pieces; of a frame model the mean of the backbone's features, as what is over time is not kept."""
    backbone = getattr(stream.trunk, "backbone", None)
    if backbone is None:
        return stream.features(piece_BCTHW)
    count, frames = piece_BCTHW.shape[0], piece_BCTHW.shape[2]
    pictures = stream.normalise(piece_BCTHW).transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    features: Tensor = cast("nn.Module", backbone)(pictures)
    return features.reshape(count, frames, -1).mean(dim=1)
