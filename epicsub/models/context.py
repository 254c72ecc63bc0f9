"""A segment and its neighbours: a transformer over windows of features made before.

After MTCN (Kazakos et al., "With a Little Help from my Temporal Context", BMVC 2021, arXiv 2111.01024), its code read
and never copied, with the intervals of TIM (Chalk et al., CVPR 2024, arXiv 2404.05559). [D] our own choice.

- Per modality: dropout, linear, ReLU; plus a learnt vector of the place (shared by modalities) and of the modality. A
  verb and a noun query with places of their own. One verb and one noun head for queries and all tokens.
- `position: index` is the place in the window; `interval` is start and stop in seconds from the middle segment's start,
  by three layers, beside the features, and then the order of rows says nothing; `both` has both.
- Places where a video begins or ends are masked [D]; MTCN repeats the first or last segment.
- In training the output has verb and noun scores of every token too, for the auxiliary loss, without which little of
  context's worth is learned.
- The features that adaptation aligns are the verb and the noun query's outputs, under the names `verb` and `noun`.

Shapes: B segments, W places, M modalities, D entries of a feature, H units, L tokens (2 + M W), V verbs, N nouns.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.errors import ModelError
from epicsub.modality import PRESENT, SECONDS
from epicsub.models.heads import ALL_CLASSES, Classes, TwoHeadOutput

QUERIES = ("verb", "noun")
INITIAL = 0.02  # standard deviation of learnt vectors at the start


class Block(nn.Module):
    """Self-attention and an MLP, each normalised before and added (pre-norm [D])."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, width),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLH: Tensor, seen_BL: Tensor) -> Tensor:
        """Let tokens look at each other.

        Args:
            x_BLH: tokens.
            seen_BL: bool, those that are looked at.

        Returns:
            (B, L, H).
        """
        q, k, v = self.qkv(self.norm(x_BLH)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, seen_BL[:, None, None], rate)
        x_BLH = x_BLH + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        seen_BLH: Tensor = x_BLH + self.dropout(self.mlp(x_BLH))
        return seen_BLH


class Context(nn.Module):
    """Verbs and nouns of a segment from its own features and those of its neighbours.

    Args:
        dims: D of each modality.
        window: W, odd; 1 is the segment alone.
        width: H.
        layers: blocks.
        heads: of the attention; must divide H.
        position: what tells tokens apart: index, interval or both.
        dropout: probability of dropping inside the blocks and before the heads.
        input_dropout: probability of dropping an entry of a feature.
        classes: what the model classifies.

    Raises:
        ModelError: no modality, an even window, or heads that do not divide the width.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        window: int = 9,
        width: int = 256,
        layers: int = 2,
        heads: int = 8,
        position: Literal["index", "interval", "both"] = "both",
        dropout: float = 0.1,
        input_dropout: float = 0.3,
        classes: Classes = ALL_CLASSES,
    ) -> None:
        super().__init__()
        if not dims or window % 2 == 0 or width % heads:
            raise ModelError(
                f"context needs a modality, an odd window and heads that divide the width; got {dict(dims)}, {window}, "
                f"{heads} heads for {width}"
            )
        self.dims, self.modalities, self.window = dict(dims), tuple(dims), window
        self.feature_dims = dict.fromkeys(QUERIES, width)
        self.input_dropout = nn.Dropout(input_dropout)
        self.embed = nn.ModuleDict({name: nn.Linear(dim, width) for name, dim in dims.items()})
        self.kind = nn.Parameter(INITIAL * torch.randn(len(dims), width))
        self.queries = nn.Parameter(INITIAL * torch.randn(len(QUERIES), width))
        self.place = nn.Parameter(INITIAL * torch.randn(window, width)) if position != "interval" else None
        self.interval = Interval(width) if position != "index" else None
        self.blocks = nn.ModuleList([Block(width, heads, dropout) for _ in range(layers)])
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        self.verb_head, self.noun_head = classes.verb_head(width), classes.noun_head(width)
        self.action_head = classes.action_head(self.feature_dims)

    def classify(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Verb and noun logits of the queries' outputs.

        Args:
            features: (B, H) of `verb` and `noun`.

        Returns:
            (B, V) and (B, N).
        """
        return self.verb_head(self.dropout(features["verb"])), self.noun_head(self.dropout(features["noun"]))

    def forward(self, clips: Mapping[str, Tensor]) -> TwoHeadOutput:
        """Classify the segments in the middle.

        Args:
            clips: features (B, W, D) per modality, float; `present` (B, W) bool, all without it; `seconds` (B, W, 2),
                which intervals need.

        Returns:
            Scores and features; in training those of tokens too.

        Raises:
            ModelError: something is missing, or has another shape.
        """
        self._refuse(clips)
        first = clips[self.modalities[0]]
        present_BW = clips.get(PRESENT)
        if present_BW is None:
            present_BW = torch.ones(first.shape[:2], dtype=torch.bool, device=first.device)
        tokens = torch.cat([self._tokens(name, clips, present_BW) for name in self.modalities], dim=1)
        queries_B2H = self.queries.expand(len(first), -1, -1)
        if self.interval is not None:
            middle_B12 = clips[SECONDS][:, self.window // 2, None]
            queries_B2H = self.interval(queries_B2H, middle_B12.expand(-1, len(QUERIES), -1))
        x_BLH = torch.cat([queries_B2H, tokens], dim=1)
        always_B2 = torch.ones_like(present_BW[:, :1]).expand(-1, len(QUERIES))
        seen_BL = torch.cat([always_B2, *([present_BW] * len(self.modalities))], dim=1)
        for block in self.blocks:
            x_BLH = block(x_BLH, seen_BL)
        x_BLH = self.norm(x_BLH)
        features = {name: x_BLH[:, number] for number, name in enumerate(QUERIES)}
        output = TwoHeadOutput(*self.classify(features), features)
        if self.training:
            dropped_BLH = self.dropout(x_BLH[:, len(QUERIES) :])
            output = output._replace(
                token_verb_logits_BLV=self.verb_head(dropped_BLH), token_noun_logits_BLN=self.noun_head(dropped_BLH)
            )
        return output if self.action_head is None else self.action_head(output, fold=not self.training)

    def _tokens(self, name: str, clips: Mapping[str, Tensor], present_BW: Tensor) -> Tensor:
        """Tokens of one modality, (B, W, H); what masked places hold is not read."""
        x_BWD = torch.where(present_BW[:, :, None], clips[name].float(), 0.0)
        x_BWH: Tensor = torch.relu(self.embed[name](self.input_dropout(x_BWD)))
        if self.interval is not None:
            seconds_BW2 = torch.where(present_BW[:, :, None], clips[SECONDS].float(), 0.0)
            x_BWH = self.interval(x_BWH, seconds_BW2)
        x_BWH = x_BWH + self.kind[self.modalities.index(name)]
        return x_BWH if self.place is None else x_BWH + self.place

    def _refuse(self, clips: Mapping[str, Tensor]) -> None:
        needed = {name: (self.window, dim) for name, dim in self.dims.items()}
        needed |= {SECONDS: (self.window, 2)} if self.interval is not None else {}
        problems = [
            f"{name} is {tuple(clips[name].shape) if name in clips else 'missing'}, expected (B, {of[0]}, {of[1]})"
            for name, of in needed.items()
            if name not in clips or tuple(clips[name].shape[1:]) != of
        ]
        if problems:
            raise ModelError("\n".join(problems))


class Interval(nn.Module):
    """Start and stop by three layers, beside a token: (B, W, H) and (B, W, 2) to (B, W, H)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.LayerNorm(width),
        )  # fmt: skip
        self.join = nn.Linear(2 * width, width)

    def forward(self, x_BWH: Tensor, seconds_BW2: Tensor) -> Tensor:
        """Add times to tokens.

        Args:
            x_BWH: tokens.
            seconds_BW2: start and stop of each.

        Returns:
            (B, W, H).
        """
        joined_BWH: Tensor = self.join(torch.cat([x_BWH, self.encode(seconds_BW2).to(x_BWH.dtype)], dim=2))
        return joined_BWH
