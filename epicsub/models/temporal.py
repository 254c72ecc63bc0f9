"""Modules over time of the frame models: (B, T, D) features of frames to (B, num_features) of a clip."""

import torch
from torch import Tensor, nn

from epicsub.errors import ModelError

SCALES = (1, 2, 4)  # every frame, every second, every fourth


class MeanPool(nn.Module):
    """The mean over time: temporal segment networks' consensus (arXiv 1608.00859), before the heads."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.num_features = dim

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Average over time.

        Args:
            x_BTD: features of T frames.

        Returns:
            (B, D).
        """
        return x_BTD.mean(dim=1)


class BiLSTM(nn.LSTM):
    """A bidirectional LSTM, the mean of its outputs over time.

    Args:
        dim: D.
        hidden: units in each direction.
        layers: of the LSTM.
        dropout: probability of dropping a unit between layers, so without effect for one.
    """

    def __init__(self, dim: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__(
            dim, hidden, layers, batch_first=True, bidirectional=True, dropout=dropout if layers > 1 else 0.0
        )
        self.num_features = 2 * hidden

    def forward(self, x_BTD: Tensor) -> Tensor:  # type: ignore[override]
        """Run the LSTM, then average over time.

        Args:
            x_BTD: features of T frames.

        Returns:
            (B, D').
        """
        return super().forward(x_BTD)[0].mean(dim=1)


class TemporalTransformer(nn.Module):
    """A transformer encoder over the frames with learnt positions, the mean over time.

    Args:
        dim: D.
        frames: T that it has positions for.
        layers: of the encoder.
        heads: of its attention.
        dropout: probability inside its blocks.

    Raises:
        ModelError: features that the heads cannot share.
    """

    def __init__(self, dim: int, frames: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        if dim % heads:
            raise ModelError(f"the backbone's {dim} features do not divide over {heads} heads")
        self.num_features = dim
        self.positions_TD = nn.Parameter(torch.zeros(frames, dim))
        nn.init.trunc_normal_(self.positions_TD, std=0.02)
        block = nn.TransformerEncoderLayer(
            dim, heads, 4 * dim, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(block, layers, norm=nn.LayerNorm(dim), enable_nested_tensor=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Encode, then average over time.

        Args:
            x_BTD: features of T frames.

        Returns:
            (B, D').

        Raises:
            ModelError: the clip has another number of frames than the positions.
        """
        if x_BTD.shape[1] != len(self.positions_TD):
            raise ModelError(f"the model was made for {len(self.positions_TD)} frames, the clip has {x_BTD.shape[1]}")
        encoded_BTD: Tensor = self.encoder(x_BTD + self.positions_TD)
        return encoded_BTD.mean(dim=1)


class MultiScaleLSTM(nn.Module):
    """Short, medium and long: one bidirectional LSTM on every frame, one on every second, one on every fourth.

    Their means over time are joined by a linear layer.

    Args:
        dim: D.
        hidden: units in each direction, of each LSTM.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.num_features = 2 * hidden
        self.scales = nn.ModuleList(BiLSTM(dim, hidden, 1, 0.0) for _ in SCALES)
        self.fusion = nn.Linear(2 * hidden * len(SCALES), 2 * hidden)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Fuse the scales.

        Args:
            x_BTD: features of T frames.

        Returns:
            (B, D').
        """
        pooled = [scale(x_BTD[:, ::every]) for scale, every in zip(self.scales, SCALES, strict=True)]
        fused_BD: Tensor = self.fusion(torch.cat(pooled, dim=1))
        return fused_BD
