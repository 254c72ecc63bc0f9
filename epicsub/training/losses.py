"""Classification losses of the verb, noun and action heads, for long-tailed classes and for mixed and soft labels.

Every loss gives one number per clip and the mean is taken over clips, also with class weights. torch's own weighted
mean divides by the weights of the batch, which would make a step in parts differ from the step at once; here the
weights are scaled so that their mean over the training clips is 1. Over all of them both means are the same, and a
step is as long with class weights as without.

Shapes: B clips, K classes (V verbs, N nouns, A actions).
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.data.batch import LabelledClipBatch, Labels
from epicsub.models.heads import TwoHeadOutput
from epicsub.recipe.losses import LossName, WeightName


def class_weights(counts_K: Tensor, name: WeightName, beta: float = 0.999) -> Tensor:
    """Weigh each class by its training segments.

    A class that never occurs weighs 0: no clip is labelled with it, and label smoothing gives it nothing.

    Args:
        counts_K: segments of each class.
        name: a row of `WEIGHTS`.
        beta: of effective_number.

    Returns:
        (K,); their mean over the training segments is 1, whatever the counts.
    """
    n_K = counts_K.double()
    raw_K = WEIGHTS[name](n_K.clamp_min(1), beta) * (n_K > 0)
    return (raw_K * n_K.sum() / (raw_K * n_K).sum()).float()


WEIGHTS: dict[WeightName, Callable[[Tensor, float], Tensor]] = {
    "none": lambda n_K, beta: torch.ones_like(n_K),
    "square_root": lambda n_K, beta: n_K.rsqrt(),
    "effective_number": lambda n_K, beta: (1 - beta) / (1 - beta**n_K),  # arXiv 1901.05555, Eq 3
}
"""Weight of a class by its number of training segments, by the recipe's name."""


class HeadLoss(nn.Module):
    """The loss of one head.

    Args:
        counts_K: training segments of each class.
        name: a row of `LOSSES`.
        gamma: of focal.
        tau: of logit_adjusted.
        tail_share: of equalised: a class below this share of all segments is rare.
        ignore: of equalised: probability.
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
        """Compute the loss of each clip; random numbers (equalised) come from torch's own generator.

        Args:
            logits_BK: of the head.
            label_B: int64.

        Returns:
            (B,) in float32 or more.
        """
        return LOSSES[self.name](self, logits_BK.to(torch.promote_types(logits_BK.dtype, torch.float32)), label_B)


def _cross_entropy(loss: HeadLoss, logits_BK: Tensor, label_B: Tensor) -> Tensor:
    smoothing = loss.label_smoothing
    return F.cross_entropy(logits_BK, label_B, loss.weight_K, reduction="none", label_smoothing=smoothing)


def _focal(loss: HeadLoss, logits_BK: Tensor, label_B: Tensor) -> Tensor:
    """(1 - p)^gamma times cross-entropy, p the probability of the right class."""
    nll_B = F.cross_entropy(logits_BK, label_B, reduction="none")
    wrong_B = (-torch.expm1(-nll_B)).clamp_min(1e-12)  # a power below 1 has no gradient at 0
    focal_B = wrong_B**loss.gamma * nll_B
    return focal_B if loss.weight_K is None else loss.weight_K[label_B] * focal_B


def _logit_adjusted(loss: HeadLoss, logits_BK: Tensor, label_B: Tensor) -> Tensor:
    """Cross-entropy of logits + tau * log prior.

    A class that never occurs gets prior 1: with its true prior, 0, nothing would teach the head to avoid it.
    """
    return _cross_entropy(loss, logits_BK + loss.adjustment_K, label_B)


def _equalised(loss: HeadLoss, logits_BK: Tensor, label_B: Tensor) -> Tensor:
    """Cross-entropy without rare classes in the denominator of clips of other classes, each with a probability.

    A class that never occurs is not rare: it stays in.
    """
    drawn_BK = torch.rand_like(logits_BK) < loss.ignore
    own_BK = F.one_hot(label_B, logits_BK.shape[1]).bool()
    return _cross_entropy(loss, logits_BK.masked_fill(drawn_BK & loss.rare_K & ~own_BK, float("-inf")), label_B)


LOSSES: dict[LossName, Callable[[HeadLoss, Tensor, Tensor], Tensor]] = {
    "cross_entropy": _cross_entropy,
    "focal": _focal,  # arXiv 1708.02002, Eq 4
    "logit_adjusted": _logit_adjusted,  # arXiv 2007.07314, Eq 10
    "equalised": _equalised,  # arXiv 2003.05176, Eqs 10 and 11, softmax form
}
"""Loss of each clip, by the recipe's name. A new loss is a row here and its name in recipe/losses.py."""


def soft_label_loss(student_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
    """Compute T^2 * KL(teacher || student) at temperature T of each clip (arXiv 1503.02531, section 2).

    Args:
        student_BK: logits.
        teacher_BK: logits or log-probabilities: a softmax does not tell them apart.
        temperature: T; its square keeps the size of the gradient.

    Returns:
        (B,).
    """
    student = F.log_softmax(student_BK.float() / temperature, dim=1)
    teacher = F.log_softmax(teacher_BK.float() / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1)


def action_labels(pairs_A2: Tensor, verb_B: Tensor, noun_B: Tensor) -> Tensor:
    """Find each clip's row in the table of actions.

    Args:
        pairs_A2: verb and noun of each action, sorted; holds all that are asked for.
        verb_B: labels.
        noun_B: labels.

    Returns:
        (B,) int64.
    """
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
        window: weight of the loss on all segments of a window, where a model scores them.
    """

    def __init__(
        self,
        heads: Mapping[str, HeadLoss],
        weights: Mapping[str, float],
        pairs_A2: Tensor | None = None,
        soft: float = 0.0,
        temperature: float = 1.0,
        verbs: Sequence[int] | None = None,
        window: float = 0.1,
    ) -> None:
        super().__init__()
        self.window = window
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
            chosen = loss_B.mean() if chosen_B is None else torch.where(chosen_B, loss_B, 0.0).sum() / chosen_B.sum()
            losses.append(self.weights[head] * chosen)
        loss = torch.stack(losses).sum() + self._window_loss(output, source.labels)
        return loss if output.second is None else loss + self(output.second, source, chosen_B)

    def _window_loss(self, output: TwoHeadOutput, labels: Labels) -> Tensor | float:
        """Loss of the segments around, each by its own label; 0 where the model scores none."""
        tasks = {
            "verb": (output.token_verb_logits_BLV, labels.window_verb_BW),
            "noun": (output.token_noun_logits_BLN, labels.window_noun_BW),
        }
        losses = []
        for head, (logits_BLK, label_BW) in tasks.items():
            if head not in self.heads or logits_BLK is None or label_BW is None or not self.window:
                continue
            label_B = label_BW.repeat(1, logits_BLK.shape[1] // label_BW.shape[1]).flatten()
            known_B = label_B >= 0
            loss_B = self.heads[head](logits_BLK.flatten(0, 1), label_B.clamp_min(0))
            losses.append(self.weights[head] * torch.where(known_B, loss_B, 0.0).sum() / known_B.sum().clamp_min(1))
        return self.window * torch.stack(losses).sum() if losses else 0.0

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
