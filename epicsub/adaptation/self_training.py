"""Self-training: a mean teacher labels target clips, and the student learns the labels that are sure enough.

Ours [D], of known parts: a teacher that is the moving average of the student (Tarvainen and Valpola, 2017), hard labels
of a weak view for a strong one (FixMatch, 2020), thresholds by class (FlexMatch, 2021), predictions brought towards the
source's shares of classes (ReMixMatch, 2020).

    p <- norm(p (prior / running mean of p)^alignment),    p of teacher(weak), verb and noun each
    q(v, n) ~ p(v) p(n) r(v, n)^pairs,    q_v and q_n its marginals
    t_c = max(least_threshold, threshold sigma_c / max sigma)
    loss = w(progress) [mean mask_v CE(student(strong)_v, argmax q_v) + the noun's],    mask = max q > t_argmax

- prior: shares of classes among all source segments. r as in submission/pairs.py: how much more often the source pairs
  a verb and a noun than chance, drawn towards one. A tenth of EPIC-KITCHENS-100's validation segments bear pairs that
  its adaptation source never has, so a pair never seen has a lower r and is never ruled out.
- sigma_c: running share of target clips that are predicted as c with more than `threshold`, over c's prior. A class
  that is predicted too often has the highest threshold, one that is hardly predicted a lower one.
- The teacher begins as the student of the first step that adapts. It moves where a step begins, by the student that the
  last step left, so with decay 0 the student labels for itself.
- Weak: the target clip as training reads it, teacher in evaluation mode. Strong: entries of features left out as by
  dropout, or a box of the picture filled, the same in all frames; and whatever dropout the student has.
- The mean is over all target clips of a batch, kept or not, so that few kept ones move little.
- w rises from 0 as the strength of a gradient reversal does.

Shapes: B clips, V verbs, N nouns, C classes of either kind, S source segments.
"""

import copy
import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.adaptation.discriminator import reversal_strength
from epicsub.adaptation.interface import AdaptationBatch, AdaptationLosses, AdaptationMethod, at_least_float32
from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.errors import AdaptationError
from epicsub.modality import MODALITIES
from epicsub.recipe.base import AdaptationSection
from epicsub.recipe.unlabelled import SelfTrainingAdaptation

SHARE_FLOOR = 1e-4  # added to shares of classes that are divided by each other
TASKS = {"verb": NUM_VERBS, "noun": NUM_NOUNS}


class SelfTraining(AdaptationMethod):
    """Pseudo-labels of a mean teacher.

    Args:
        model: the student; it is copied.
        settings: the recipe's section.
    """

    settings: SelfTrainingAdaptation
    counted_verbs: tuple[int, ...] = ()
    """Verbs of the source, whose running shares of sure predictions are logged."""

    def __init__(self, model: nn.Module, settings: SelfTrainingAdaptation) -> None:
        super().__init__({}, settings)
        self.teacher = copy.deepcopy(model).requires_grad_(False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        for task, classes in TASKS.items():
            uniform_C = torch.full((classes,), 1 / classes)
            for name in ("prior", "mean", "kept"):
                self.register_buffer(f"{task}_{name}", uniform_C.clone())
        self.register_buffer("log_ratio_VN", torch.zeros(NUM_VERBS, NUM_NOUNS))
        self.train()

    @classmethod
    def for_model(cls, model: nn.Module, settings: AdaptationSection) -> "SelfTraining":
        """Take the model itself, not its features.

        Args:
            model: the student.
            settings: of this method.

        Returns:
            The method, with a copy of the model as teacher.
        """
        assert isinstance(settings, SelfTrainingAdaptation)
        return cls(model, settings)

    def train(self, mode: bool = True) -> "SelfTraining":
        """Switch modes, but for the teacher, which always predicts.

        Args:
            mode: True for training.

        Returns:
            The method.
        """
        super().train(mode)
        self.teacher.eval()
        return self

    def alignment_parameters(self) -> Iterable[nn.Parameter]:
        """No optimiser steps the teacher.

        Returns:
            Nothing.
        """
        return ()

    def count_labels(self, verb_S: Tensor, noun_S: Tensor) -> None:
        """Learn the source's shares of classes and pairs.

        Args:
            verb_S: class of each source segment.
            noun_S: as `verb_S`; negative where the lists have verbs alone.
        """
        self._begin("verb", verb_S)
        if bool((noun_S < 0).any()):
            return
        self._begin("noun", noun_S)
        seen_VN = (verb_S * NUM_NOUNS + noun_S).bincount(minlength=NUM_VERBS * NUM_NOUNS).view(NUM_VERBS, NUM_NOUNS)
        expected_VN = seen_VN.sum(1, keepdim=True).double() * seen_VN.sum(0, keepdim=True) / len(verb_S)
        self.log_ratio_VN.copy_((seen_VN + 1).double().log() - (expected_VN + 1).log())  # type: ignore[operator]

    def strong_view(self, clips: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Leave out a part of each modality.

        Args:
            clips: of the target, features (B, ..., D) or uint8 (B, C, T, H, W).
            generator: a CPU generator.

        Returns:
            New tensors; what is no modality stays.
        """
        share = self.settings.strong_drop
        return {
            name: (_without_box if x.ndim == 5 else _without_entries)(name, x, share, generator)
            if name in MODALITIES and share
            else x
            for name, x in clips.items()
        }

    def _losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Cross-entropy with the teacher's sure labels."""
        if batch.model is None or batch.weak is None:
            raise AdaptationError("self_training needs the model and the target clips as they were read")
        self._follow(batch.model)
        with torch.no_grad():
            taught = batch.weak(self.teacher)
            q_BV, q_BN = self._probabilities(taught.verb_logits_BV, taught.noun_logits_BN)
        weight = reversal_strength(batch.progress, 1.0)
        logs: dict[str, float | Tensor] = {"pseudo_weight": weight}
        terms = []
        student = {"verb": batch.target.verb_logits_BV, "noun": batch.target.noun_logits_BN}
        for (task, logits_BC), q_BC in zip(student.items(), (q_BV, q_BN), strict=True):
            label_B, keep_B = self._keep(task, q_BC)
            each_B = F.cross_entropy(at_least_float32(logits_BC), label_B, reduction="none")
            terms.append(torch.where(keep_B, each_B, 0.0).mean())
            logs[f"{task}_kept"] = 100.0 * keep_B.float().mean()
            logs[f"{task}_least_threshold"] = self._thresholds(task).amin()
        shares_V = 100.0 * self._buffer("verb_kept")
        logs |= {f"verb_sure/{verb}": shares_V[verb] for verb in self.counted_verbs}
        return AdaptationLosses(weight * torch.stack(terms).sum(), None, logs, {})

    def _begin(self, task: str, class_S: Tensor) -> None:
        """Set the prior, and the running means to it: nothing is aligned and all thresholds are equal at first."""
        prior_C = class_S.bincount(minlength=TASKS[task]) / len(class_S)
        for name in ("prior", "mean", "kept"):
            self._buffer(f"{task}_{name}").copy_(prior_C)
        if task == "verb":
            self.counted_verbs = tuple(prior_C.nonzero().flatten().tolist())

    def _buffer(self, name: str) -> Tensor:
        return self.get_buffer(name)

    @torch.no_grad()
    def _follow(self, student: nn.Module) -> None:
        """Move the teacher towards the student; all the way in the first step."""
        move = torch.where(self._buffer("steps") == 0, 1.0, 1 - self.settings.decay)
        for old, new in zip(self.teacher.parameters(), student.parameters(), strict=True):
            old.lerp_(new.detach(), move.to(old.dtype))
        for kept, seen in zip(self.teacher.buffers(), student.buffers(), strict=True):
            kept.copy_(seen)
        self._buffer("steps").add_(1)

    def _probabilities(self, verb_BV: Tensor, noun_BN: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's probabilities, aligned with the source's shares and with its pairs."""
        p_BV, p_BN = (
            self._aligned(task, at_least_float32(logits).softmax(dim=1))
            for task, logits in (("verb", verb_BV), ("noun", noun_BN))
        )
        return with_pairs(p_BV, p_BN, self._buffer("log_ratio_VN"), self.settings.pairs)

    def _aligned(self, task: str, p_BC: Tensor) -> Tensor:
        self._remember(f"{task}_mean", p_BC.mean(dim=0))
        prior_C, mean_C = self._buffer(f"{task}_prior"), self._buffer(f"{task}_mean")
        factor_C = ((prior_C + SHARE_FLOOR) / (mean_C + SHARE_FLOOR)) ** self.settings.alignment
        return F.normalize(p_BC * factor_C, p=1, dim=1)

    def _remember(self, name: str, new_C: Tensor) -> None:
        """Bring a running mean up to date; one that is not finite is left out, since the run ends with its step."""
        old_C = self._buffer(name)
        moved_C = old_C.lerp(new_C, 1 - self.settings.memory)
        old_C.copy_(torch.where(moved_C.isfinite().all(), moved_C, old_C))

    def _thresholds(self, task: str) -> Tensor:
        return class_thresholds(
            self._buffer(f"{task}_kept"),
            self._buffer(f"{task}_prior"),
            self.settings.threshold,
            self.settings.least_threshold,
        )

    @torch.no_grad()
    def _keep(self, task: str, q_BC: Tensor) -> tuple[Tensor, Tensor]:
        """The most likely class of each clip, and which clips count."""
        sure_B, label_B = q_BC.max(dim=1)
        shares_C = torch.zeros_like(q_BC[0]).index_add_(0, label_B, (sure_B > self.settings.threshold).to(q_BC.dtype))
        keep_B = sure_B > self._thresholds(task)[label_B]
        self._remember(f"{task}_kept", shares_C / len(label_B))
        return label_B, keep_B


def class_thresholds(kept_C: Tensor, prior_C: Tensor, threshold: float, least: float) -> Tensor:
    """Probability that a pseudo-label of each class must exceed.

    Args:
        kept_C: share of target clips that are surely predicted as the class.
        prior_C: its share of the source.
        threshold: of the class that is predicted most in proportion to its prior.
        least: of any class.

    Returns:
        (C,).
    """
    sigma_C = kept_C / (prior_C + SHARE_FLOOR)
    return (threshold * sigma_C / sigma_C.max().clamp_min(1e-12)).clamp_min(least)


def with_pairs(p_BV: Tensor, p_BN: Tensor, log_ratio_VN: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Marginals of q(v, n) ~ p(v) p(n) r(v, n)^strength.

    Args:
        p_BV: probabilities of verbs.
        p_BN: probabilities of nouns.
        log_ratio_VN: log r.
        strength: 0 gives p back.

    Returns:
        (B, V) and (B, N); rows sum to 1.
    """
    factor_VN = (strength * log_ratio_VN).exp().to(p_BV.dtype)
    return F.normalize(p_BV * (p_BN @ factor_VN.T), p=1, dim=1), F.normalize(p_BN * (p_BV @ factor_VN), p=1, dim=1)


def _without_entries(name: str, x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Features with entries left out and the others raised, as dropout does."""
    kept = torch.rand(x.shape, generator=generator).to(x.device) >= share
    return x * kept / (1 - share)


def _without_box(name: str, clip_BCTHW: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Clips with a box at a place of its own filled by the modality's level, in all frames."""
    sides = [max(1, round(side * math.sqrt(share))) for side in clip_BCTHW.shape[-2:]]
    fill_C = torch.tensor(MODALITIES[name].fill, dtype=clip_BCTHW.dtype, device=clip_BCTHW.device)
    filled = clip_BCTHW.clone()
    for clip_CTHW in filled:
        top, left = (
            int(torch.randint(whole - side + 1, (), generator=generator))
            for whole, side in zip(clip_CTHW.shape[-2:], sides, strict=True)
        )
        clip_CTHW[..., top : top + sides[0], left : left + sides[1]] = fill_C[:, None, None, None]
    return filled
