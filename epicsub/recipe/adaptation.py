"""`adaptation` of a recipe: one section per method. Tags as in schema.py."""

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from epicsub.modality import MODALITIES
from epicsub.recipe.base import (
    FILLED_LIST,
    LIST,
    AdaptationSection,
    AlignmentSection,
    Count,
    NotNegative,
    Positive,
    Section,
    Share,
    ShareBelowOne,
)
from epicsub.recipe.unlabelled import Unlabelled
from epicsub.recipe.yaml_tree import Problem, format_value

if TYPE_CHECKING:
    AgentName = str
else:  # an agent per domain of each modality
    AgentName = Literal[tuple(f"{modality}_{domain}" for modality, domain in product(MODALITIES, ("source", "target")))]


class SourceOnly(AdaptationSection):
    """No adaptation: training never sees a target clip."""

    reads_target = False

    method: Literal["source_only"]


class Supervised(AdaptationSection):
    """Training on the target's own labels, in data.source: an upper bound, not an adaptation."""

    reads_target = False

    method: Literal["supervised"]


class MMDAdaptation(AdaptationSection):
    """Maximum mean discrepancy of the features, summed over modalities [S]."""

    method: Literal["mmd"]
    kernels: Literal["mm_sada", "dan"] = "mm_sada"
    """Kernel widths: 12 [S], times the features' length over the 1,024 that they are for [D], or 5 around the batch's
    mean squared distance (deep adaptation networks)."""
    loss_weight: NotNegative = 1.0
    """Weight of the discrepancy beside the classification loss; 0.2 beside 0.2 in [S]."""


class AdaBNAdaptation(AdaptationSection):
    """The target's own batch norm statistics."""

    method: Literal["adabn"]
    variant: Literal["strict", "training_time"] = "strict"
    """strict: estimated over all target clips after training; training_time: shared running averages, as in [S]."""
    batch_size: Annotated[int, Field(ge=2)] | None = None
    """strict: target clips that go through the network at a time, in an order drawn by the seed; null is 128 [D]."""

    @property
    def trains_on_target(self) -> bool:
        """True if training steps see target clips: strict sees them after training."""
        return self.variant == "training_time"


class BNOnlyAdaptation(AdaptationSection):
    """Control: target clips go through the network, and so through its batch norms, without a loss [D]."""

    method: Literal["bn_only"]


class MCDAdaptation(AdaptationSection):
    """Maximum classifier discrepancy: two classifiers, and features that leave them nothing to differ on."""

    method: Literal["mcd"]
    updates: Literal["one", "three"] = "one"
    """one through a gradient reversal [S], or the three of the original, about six times the time of a step."""
    lam_max: NotNegative = 1.0
    """Final strength of the reversed gradient, with updates one; 1.0 is the default of [S]."""
    discrepancy: Literal["scaled", "published"] = "scaled"
    """Difference of both classifiers: sum over classes times 1/8, so that it does not depend on their number [D], or
    the mean over them [S], the same for eight."""
    feature_updates: Count = 4
    """Updates of the features in a step, with updates three (recalled, not verified)."""
    loss_weight: NotNegative = 1.0
    """Weight of the discrepancy beside the classification loss; 0.2 beside 0.2 in [S]."""


class MMSADAAdaptation(AdaptationSection):
    """MM-SADA: a discriminator per modality, and self-supervision by modality correspondence [S]."""

    pairs_modalities = True

    method: Literal["mm_sada"]
    adversarial_weights: Annotated[tuple[NotNegative, ...], FILLED_LIST] = (0.0, 1.0)
    """Weight of the domain loss in each stage [S]."""
    correspondence_weights: Annotated[tuple[NotNegative, ...], FILLED_LIST] = (5.0, 1.0)
    """Weight of the correspondence loss in each stage [S]."""
    lam_max: NotNegative = 0.2
    """Final strength of the reversed gradient [S]."""
    discriminator_hidden: Count = 100
    """Hidden units of a discriminator [S]."""
    correspondence_hidden: Count = 100
    """Hidden units of the correspondence classifier [S]."""

    @property
    def rolls_pairs(self) -> bool:
        """True if half of a batch's pairs of modalities are rolled, for the correspondence loss."""
        return True


class ContrastiveAdaptation(AdaptationSection):
    """Contrast across modalities and domains in the style of Kim et al. (arXiv 2108.11974); not a reproduction."""

    pairs_modalities = True

    method: Literal["contrastive"]
    label: Literal["verb", "noun", "action"] = "verb"
    """What makes two clips of one class [D]; action is verb and noun."""
    temperature: Positive = 0.1
    """Temperature of both losses (recalled, not verified)."""
    confidence: Share = 0.8
    """Least probability of a target clip's predicted class for it to count (recalled, not verified)."""
    modal_weight: NotNegative = 1.0
    """Weight of the contrast between modalities [D]."""
    domain_weight: NotNegative = 1.0
    """Weight of the contrast between domains [D]."""
    hidden: Count = 512
    """Units of the projections' layer between [D]."""
    dim: Count = 128
    """Dimensions that clips are contrasted in [D]."""
    loss_weight: NotNegative = 1.0
    """Weight of both beside the classification loss [D]."""


class TA3NAdaptation(AdaptationSection):
    """TA3N: attentive alignment of frames, relations and videos, for model temporal_relations on features."""

    method: Literal["ta3n"]
    relation_reversal: NotNegative = 0.75
    """Strength of the reversed gradient below relations; of the authors' code, as all of these."""
    video_reversal: NotNegative = 0.75
    """Strength of the reversed gradient below videos."""
    frame_reversal: NotNegative = 0.5
    """Strength of the reversed gradient below frames."""
    entropy_weight: NotNegative = 0.003
    """Weight of the attentive entropy."""
    warmup: bool = True
    """Let the reversals rise from 0 over a stage, as the challenge's script does; false keeps them constant."""
    loss_weight: NotNegative = 1.0
    """Weight of all beside the classification loss."""


class AdversarialAdaptation(AlignmentSection):
    """A domain discriminator per modality behind a gradient reversal: MMIR without its agents."""

    method: Literal["adversarial"]
    correspondence_weight: NotNegative = 0.0
    """Weight of MM-SADA's correspondence loss; none [P], 1.0 in [C]'s main script."""

    @property
    def rolls_pairs(self) -> bool:
        """True if half of a batch's pairs of modalities are rolled, for the correspondence loss."""
        return self.correspondence_weight > 0


class MMIRPlusAdaptation(AlignmentSection):
    """Refinement by what the task says of an instance instead of the discriminator: ours, not the paper's."""

    method: Literal["mmir_plus"]
    share: ShareBelowOne = 0.2
    """Of each domain's clips of a step that the alignment leaves out; 0.2 is what MMIR removes, 1 of 5."""


class RefinementSection(AlignmentSection):
    """What every method that removes instances from candidate sets before the alignment has."""

    candidates: Annotated[int, Field(ge=2)] = 5
    """Instances of a candidate set [P]."""
    removals: Count = 1
    """Instances removed from each candidate set, the paper's E [P]."""

    @property
    def set_size(self) -> int:
        """Clips of which a batch with target clips must be a multiple."""
        return self.candidates


class RewardsSection(Section):
    """Other rewards for the agents: ours, not the paper's. See epicsub/adaptation/task.py."""

    relevance: Literal["task"]
    """Relevance by the entropy of source predictions and the target's distance to source classes."""
    quantile: ShareBelowOne | None = None
    """Quantile of a batch's relevance that is the reward's threshold, in place of tau_source and tau_target."""
    continuous: bool = False
    """Reward by the distance from the threshold, -1 to 1, in place of its sign."""


class MMIRAdaptation(RefinementSection):
    """Multi-modal instance refinement: agents remove instances before the adversarial alignment [P]."""

    method: Literal["mmir"]
    epsilon: Share = 0.5
    """Probability of a random action, with epsilon_schedule constant [P]."""
    epsilon_schedule: Literal["constant", "decay"] = "constant"
    """constant [P], or decay: 0.01 + 0.89 exp(-picks / 24000) [C]."""
    tau_source: Share = 0.5
    """Reward threshold of the source agents [P]."""
    tau_target: Share = 0.5
    """Reward threshold of the target agents [P]."""
    gamma: Share = 0.9
    """Discount of the next state's value [P]; without effect where removals is 1."""
    double: bool = True
    """Double DQN [C]; false takes the plain maximum of the paper's Eq. 5."""
    replay_size: Count = 200
    """Picks an agent remembers [C]."""
    replay_batch: Count = 64
    """Picks an agent learns from in a step [C]."""
    sync_every: Count = 6
    """Steps between two copies of an agent into its target network; 48 picks at 8 per step [C]."""
    agent_lr: Positive = 1e-3
    """Learning rate of the agents' own SGD [D]."""
    agent_momentum: ShareBelowOne = 0.9
    """Momentum of the agents' own SGD [D]."""
    agent_loss: Literal["mse", "huber"] = "mse"
    """Loss of the agents: the mean square of Eq. 6 [P], or Huber's, linear for errors above 1."""
    agent_clip_grad: Positive | None = None
    """Largest norm of an agent's gradient; null does not clip [P]."""
    agents: Annotated[tuple[AgentName, ...], LIST] | None = None
    """Agents at work; null takes both domains of every modality [P], [] none: adversarial alone."""
    class_instances: Literal["all", "kept"] = "all"
    """Source clips in the classification loss: all [P], or those that no agent of a modality has removed."""
    correspondence_weight: NotNegative = 0.0
    """Weight of MM-SADA's correspondence loss; none [P], 1.0 in [C]'s main script."""
    rewards: RewardsSection | None = None
    """Other rewards than the paper's [ours]; null is Eqs. 3 and 4."""

    @property
    def rolls_pairs(self) -> bool:
        """True if half of a batch's pairs of modalities are rolled, for the correspondence loss."""
        return self.correspondence_weight > 0


class RandomRemovalAdaptation(RefinementSection):
    """Control: as many instances removed as by MMIR, uniformly at random [ours]."""

    method: Literal["random_removal"]


class MinDeltaAdaptation(RefinementSection):
    """Control: of each candidate set the instance of lowest relevance is removed by rule, without agents [ours]."""

    method: Literal["min_delta"]


class OracleAdaptation(RefinementSection):
    """Control on synthetic data: planted outliers are removed first. A ceiling for refinement of this shape [ours]."""

    method: Literal["oracle"]
    outliers: str
    """CSV with a narration_id column that names the planted outliers of source and target lists."""


Adaptation = Annotated[
    SourceOnly
    | Supervised
    | MMDAdaptation
    | AdaBNAdaptation
    | BNOnlyAdaptation
    | MCDAdaptation
    | AdversarialAdaptation
    | MMSADAAdaptation
    | ContrastiveAdaptation
    | TA3NAdaptation
    | MMIRAdaptation
    | RandomRemovalAdaptation
    | MinDeltaAdaptation
    | OracleAdaptation
    | MMIRPlusAdaptation
    | Unlabelled,
    Field(discriminator="method"),
]


def _check_agents(mmir: MMIRAdaptation) -> Iterator[Problem]:
    agents = mmir.agents or ()
    for index, agent in enumerate(agents):
        if agent in agents[:index]:
            text = f"is {format_value(agent)}, which is listed twice, list it once"
            yield Problem(f"adaptation.agents.{index}", text)
    if mmir.replay_batch >= mmir.replay_size:
        text = f"is {mmir.replay_batch}, must be below adaptation.replay_size ({mmir.replay_size})"
        yield Problem("adaptation.replay_batch", f"{text}, or the agents never learn")


def check_adaptation(adaptation: Adaptation) -> Iterator[Problem]:
    """Check that the settings of `adaptation` fit each other.

    Args:
        adaptation: The section.

    Yields:
        What does not fit.
    """
    if isinstance(adaptation, RefinementSection) and adaptation.removals >= adaptation.candidates:
        text = f"is {adaptation.removals}, must be below adaptation.candidates ({adaptation.candidates})"
        yield Problem("adaptation.removals", text)
    if isinstance(adaptation, AdaBNAdaptation) and adaptation.batch_size and adaptation.variant != "strict":
        text = f"is {adaptation.batch_size}, but only variant strict reads the target by itself: leave it out"
        yield Problem("adaptation.batch_size", text)
    if isinstance(adaptation, MMIRAdaptation):
        yield from _check_agents(adaptation)
