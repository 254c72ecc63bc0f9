"""Maximum classifier discrepancy: two classifiers seek target clips on which they differ, features leave them none.

Saito et al., "Maximum Classifier Discrepancy for Unsupervised Domain Adaptation", CVPR 2018.

[S] MM-SADA's code (jonmun/MM-SADA-code, 69fe0f7), thuml/Transfer-Learning-Library ("TLL"), both read and never run or
copied; [R] recalled, not verified; [D] our own choice.

- Two classifiers, each fused over the streams by the sum of logits, both trained on the source (Eq 1 twice). The model
  carries them (models/two_classifiers.py), and predicts by the mean of their softmaxes [D].
- Discrepancy: |softmax1 - softmax2| on fused target logits, mean over clips; verb plus noun [D]. Over the classes,
  `scaled` takes the sum times 1/8 [D], at most 1/4 whatever their number; `published` takes the mean [S], at most 2/C:
  the same for the eight verbs of MM-SADA's lists, but 2/97 and 2/300 on EPIC-KITCHENS-100, where the classification
  loss has grown. The classes are those that no mask excludes.
- `one`, the default [S]: one update of everything. Target features reach both classifiers through a gradient
  reversal, and the loss is minus the discrepancy: the classifiers raise it, the features lower it. Weight: [S] has 0.2
  beside a classification loss of 0.2, which is 1 beside 1. The reversal's strength follows the usual schedule up to
  lam_max; 1.0 is the authors' default, what they ran MCD with is not in their scripts [R].
- `three`, as published: A all by classification; B the classifiers by classification minus discrepancy; C, 4 times [R],
  the features by discrepancy. B and C are updates of their own on the same clips, so a step costs about six.

Shapes: B clips, V verbs, N nouns, C classes.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from epicsub.adaptation.discriminator import reversal_strength, reverse_gradient
from epicsub.adaptation.interface import (
    AdaptationBatch,
    AdaptationLosses,
    AdaptationMethod,
    LaterUpdate,
    at_least_float32,
)
from epicsub.errors import AdaptationError
from epicsub.models.heads import TwoHeadOutput, count_unmasked
from epicsub.models.two_classifiers import TwoClassifiers
from epicsub.recipe.adaptation import MCDAdaptation

PUBLISHED_CLASSES = 8  # verbs of the lists that [S] was run on


def discrepancy(one_BC: Tensor, other_BC: Tensor, published: bool = True) -> Tensor:
    """Absolute difference of two softmaxes, mean over clips.

    Args:
        one_BC: logits.
        other_BC: logits.
        published: the mean over the C unmasked classes; else the sum over them, times 1/8.

    Returns:
        A scalar: 0 where they agree, at most 2 / C, or 2 / 8 whatever C is.
    """
    apart_B = (one_BC.softmax(dim=1) - other_BC.softmax(dim=1)).abs().sum(dim=1)
    return apart_B.mean() / (count_unmasked(one_BC) if published else PUBLISHED_CLASSES)


def both_tasks(one: TwoHeadOutput, other: TwoHeadOutput, published: bool = True) -> Tensor:
    """Discrepancy over verbs plus that over nouns.

    Args:
        one: scores of a classifier.
        other: scores of the other.
        published: see `discrepancy`.

    Returns:
        A scalar.
    """
    verb = discrepancy(one.verb_logits_BV, other.verb_logits_BV, published)
    return verb + discrepancy(one.noun_logits_BN, other.noun_logits_BN, published)


class MCD(AdaptationMethod):
    """Maximum classifier discrepancy."""

    settings: MCDAdaptation

    def _losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Minus the discrepancy on the target through the reversal; 0 with later updates."""
        if not isinstance(batch.model, TwoClassifiers) or batch.target.second is None:
            raise AdaptationError("MCD needs a model with two classifiers in training mode (models/two_classifiers.py)")
        seen = self._discrepancy(batch.target, batch.target.second)
        logs: dict[str, float | Tensor] = {"discrepancy": seen.detach()}
        if self.settings.updates == "three":
            return AdaptationLosses(seen.detach() * 0.0, None, logs, {})
        lam = reversal_strength(batch.progress, self.settings.lam_max)
        reversed_features = {
            modality: reverse_gradient(at_least_float32(f_BD), lam) for modality, f_BD in batch.target.features.items()
        }
        first = batch.model.first_logits(reversed_features)
        second = batch.model.second_logits(reversed_features)
        return AdaptationLosses(-self._discrepancy(first, second), None, logs | {"reversal": lam}, {})

    def later_updates(self, model: nn.Module) -> Sequence[LaterUpdate]:
        """Steps B and C of the original; none for `one`.

        Args:
            model: with two classifiers.

        Returns:
            Updates in order.
        """
        if self.settings.updates == "one":
            return ()
        classifiers = TwoClassifiers.head_parameters(model)
        known = {id(parameter) for parameter in classifiers}
        features = [parameter for parameter in model.parameters() if id(parameter) not in known]
        agree = LaterUpdate(features, self._target_discrepancy, classifies=False)
        return (
            LaterUpdate(classifiers, lambda batch: -self._target_discrepancy(batch), classifies=True),
            *[agree] * self.settings.feature_updates,
        )

    def _target_discrepancy(self, batch: AdaptationBatch) -> Tensor:
        assert batch.target.second is not None
        return self._discrepancy(batch.target, batch.target.second)

    def _discrepancy(self, one: TwoHeadOutput, other: TwoHeadOutput) -> Tensor:
        return both_tasks(one, other, self.settings.discrepancy == "published")
