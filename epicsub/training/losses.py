"""Classification losses of the verb, noun and action heads, for long-tailed classes and for mixed and soft labels.

Every loss gives one number a clip and the mean is taken over clips, also with class weights (torch's own weighted mean
divides by the batch's weights, and would make a step in parts differ from the step at once).

Shapes: B clips, K classes (V verbs, N nouns, A actions).
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.data.batch import LabelledClipBatch, Labels
from epicsub.models.heads import TwoHeadOutput

LossName = Literal["cross_entropy", "focal", "logit_adjusted", "equalised"]
WeightName = Literal["none", "square_root", "effective_number"]


def class_weights(counts_K: Tensor, name: WeightName, beta: float = 0.999) -> Tensor:
    """Weight of each class by its training segments, (K,); those of the classes that occur sum to their number.

    A class that never occurs weighs 0: no clip is labelled with it, and label smoothing gives it nothing.

    Args:
        counts_K: segments of each class.
        name: none; square_root, n^-1/2; effective_number, (1 - beta) / (1 - beta^n) (arXiv 1901.05555, Eq 3).
        beta: of effective_number.
    """
    occurs_K = counts_K > 0
    n_K = counts_K.double().clamp_min(1)
    raw_K = {
        "none": torch.ones_like(n_K),
        "square_root": n_K.rsqrt(),
        "effective_number": (1 - beta) / (1 - beta**n_K),
    }[name] * occurs_K
    return (raw_K / raw_K.sum() * occurs_K.sum()).float()


class HeadLoss(nn.Module):
    """The loss of one head.

    - focal (arXiv 1708.02002, Eq 4): (1 - p)^gamma times cross-entropy, p the probability of the right class.
    - logit_adjusted (arXiv 2007.07314, Eq 10): cross-entropy of logits + tau * log prior. A class that never occurs
      gets prior 1: with its true prior, 0, nothing would teach the head to avoid it.
    - equalised (arXiv 2003.05176, Eqs 10 and 11, softmax form): a rare class is left out of the denominator of clips
      of other classes, each with probability `ignore`. A class that never occurs is not rare: it stays in.

    Args:
        counts_K: training segments of each class.
        name: which loss.
        gamma: of focal.
        tau: of logit_adjusted.
        tail_share: of equalised: a class below this share of all segments is rare.
        ignore: of equalised.
        weights: class weights, see `class_weights`; with focal too, as in arXiv 1901.05555.
        beta: of effective_number.
        label_smoothing: share of the label that all classes get (cross_entropy and logit_adjusted).
    """

    def __init__(
        self,
        counts_K: Tensor,
        name: LossName = "cross_entropy",
        gamma: float = 2.0,
        tau: float = 1.0,
        tail_share: float = 0.005,
        ignore: float = 0.9,
        weights: WeightName = "none",
        beta: float = 0.999,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.name, self.gamma, self.ignore, self.label_smoothing = name, gamma, ignore, label_smoothing
        share_K = counts_K.double() / counts_K.sum()
        log_prior_K = torch.where(counts_K > 0, share_K.clamp_min(1e-30).log(), 0.0)
        self.register_buffer("adjustment_K", (tau * log_prior_K).float())
        self.register_buffer("rare_K", (counts_K > 0) & (share_K < tail_share))
        self.register_buffer("weight_K", None if weights == "none" else class_weights(counts_K, weights, beta))
        self.adjustment_K: Tensor
        self.rare_K: Tensor
        self.weight_K: Tensor | None

    def forward(self, logits_BK: Tensor, label_B: Tensor) -> Tensor:
        """Loss of each clip, (B,), in float32 or more; random numbers (equalised) come from torch's own generator."""
        logits_BK = logits_BK.to(torch.promote_types(logits_BK.dtype, torch.float32))
        if self.name == "logit_adjusted":
            logits_BK = logits_BK + self.adjustment_K
        if self.name == "equalised":
            logits_BK = logits_BK.masked_fill(self._ignored(logits_BK, label_B), float("-inf"))
        smoothing = self.label_smoothing
        if self.name != "focal":
            return F.cross_entropy(logits_BK, label_B, self.weight_K, reduction="none", label_smoothing=smoothing)
        nll_B = F.cross_entropy(logits_BK, label_B, reduction="none")
        wrong_B = (-torch.expm1(-nll_B)).clamp_min(1e-12)  # a power below 1 has no gradient at 0
        focal_B = wrong_B**self.gamma * nll_B
        return focal_B if self.weight_K is None else self.weight_K[label_B] * focal_B

    def _ignored(self, logits_BK: Tensor, label_B: Tensor) -> Tensor:
        """Which classes are no negatives of which clips, (B, K) bool."""
        drawn_BK = torch.rand_like(logits_BK) < self.ignore
        own_BK = F.one_hot(label_B, logits_BK.shape[1]).bool()
        return drawn_BK & self.rare_K & ~own_BK


def soft_label_loss(student_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(teacher || student) at temperature T of each clip, (B,) (arXiv 1503.02531, section 2).

    Args:
        student_BK: logits.
        teacher_BK: logits or log-probabilities: a softmax does not tell them apart.
        temperature: T; its square keeps the size of the gradient.
    """
    student = F.log_softmax(student_BK.float() / temperature, dim=1)
    teacher = F.log_softmax(teacher_BK.float() / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)


def action_labels(pairs_A2: Tensor, verb_B: Tensor, noun_B: Tensor) -> Tensor:
    """Row of each (verb, noun) in the sorted table of actions, which holds them all, (B,)."""
    base = int(pairs_A2[:, 1].max()) + 1
    keys_A = pairs_A2[:, 0] * base + pairs_A2[:, 1]
    return torch.searchsorted(keys_A, verb_B * base + noun_B)


class Criterion(nn.Module):
    """L_cls of a batch: every head's loss and weight, mixed labels, and a teacher's soft labels.

    Args:
        heads: the loss of verb and noun, and of action where the model has that head.
        weights: factor of each head.
        pairs_A2: verb and noun of each class of the action head, sorted; None without one.
        soft: share of the teacher's soft labels in the verb and noun losses; 0 without a teacher.
        temperature: of the soft labels.
        verbs: the only verbs there are; soft labels are among them, whatever else the teacher knows. None: all.
    """

    def __init__(
        self,
        heads: Mapping[str, HeadLoss],
        weights: Mapping[str, float],
        pairs_A2: Tensor | None = None,
        soft: float = 0.0,
        temperature: float = 1.0,
        verbs: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(heads)
        self.register_buffer("verbs_K", None if verbs is None else torch.tensor(sorted(verbs)), persistent=False)
        self.verbs_K: Tensor | None
        self.register_buffer("pairs_A2", pairs_A2)
        self.pairs_A2: Tensor | None
        self.weights, self.soft, self.temperature = dict(weights), soft, temperature

    def forward(self, output: TwoHeadOutput, source: LabelledClipBatch, chosen_B: Tensor | None = None) -> Tensor:
        """Compute the loss over the chosen clips, of every classifier of the model.

        Args:
            output: of the model, for the clips of `source`.
            source: labels, also of mixed clips and of a teacher.
            chosen_B: bool; None takes all clips.

        Returns:
            A scalar.
        """
        logits = {"verb": output.verb_logits_BV, "noun": output.noun_logits_BN, "action": output.action_logits_BA}
        losses = []
        for head in self.heads:
            logits_BK = logits[head]
            if logits_BK is None:  # a model's second classifier has no action head
                continue
            loss_B = self._mixed_loss(head, logits_BK, source)
            losses.append(self.weights[head] * (loss_B if chosen_B is None else loss_B[chosen_B]).mean())
        loss = torch.stack(losses).sum()
        return loss if output.second is None else loss + self(output.second, source, chosen_B)

    def _mixed_loss(self, head: str, logits_BK: Tensor, source: LabelledClipBatch) -> Tensor:
        loss_B = self._label_loss(head, logits_BK, source.labels)
        if source.share_B is None or source.partner is None:
            return loss_B
        return source.share_B * loss_B + (1 - source.share_B) * self._label_loss(head, logits_BK, source.partner)

    def _label_loss(self, head: str, logits_BK: Tensor, labels: Labels) -> Tensor:
        label_B = {"verb": labels.verb_B, "noun": labels.noun_B}.get(head)
        if label_B is None:
            assert self.pairs_A2 is not None
            label_B = action_labels(self.pairs_A2, labels.verb_B, labels.noun_B)
        hard_B: Tensor = self.heads[head](logits_BK, label_B)
        teacher_BK = {"verb": labels.teacher_verb_BV, "noun": labels.teacher_noun_BN}.get(head)
        if not self.soft or teacher_BK is None:
            return hard_B
        if head == "verb" and self.verbs_K is not None:
            logits_BK, teacher_BK = logits_BK[:, self.verbs_K], teacher_BK[:, self.verbs_K]
        return (1 - self.soft) * hard_B + self.soft * soft_label_loss(logits_BK, teacher_BK, self.temperature)
