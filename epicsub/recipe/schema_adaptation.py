"""`adaptation` of a recipe: one section a method. Tags as in schema.py."""

from typing import Annotated, Literal

from pydantic import Field

from epicsub.recipe.base import FILLED_LIST, LIST, Count, NotNegative, Positive, Section, Share, ShareBelowOne

AgentName = Literal["rgb_source", "rgb_target", "flow_source", "flow_target", "audio_source", "audio_target"]


class SourceOnly(Section):
    """No adaptation: training never sees a target clip."""

    method: Literal["source_only"]
    """Adaptation method."""


class Supervised(Section):
    """Training on the target's own labels, in data.source: an upper bound, not an adaptation."""

    method: Literal["supervised"]
    """Adaptation method."""


class MMDAdaptation(Section):
    """Maximum mean discrepancy of the features, summed over modalities [S]."""

    method: Literal["mmd"]
    """Adaptation method."""
    kernels: Literal["mm_sada", "dan"] = "mm_sada"
    """Kernel widths: 12 fixed ones [S], or 5 around the batch's mean squared distance (deep adaptation networks)."""
    loss_weight: NotNegative = 1.0
    """Weight of the discrepancy beside the classification loss; 0.2 beside 0.2 in [S]."""


class AdaBNAdaptation(Section):
    """The target's own batch norm statistics."""

    method: Literal["adabn"]
    """Adaptation method."""
    variant: Literal["strict", "training_time"] = "strict"
    """strict: estimated over all target clips after training; training_time: shared running averages, as in [S]."""


class MCDAdaptation(Section):
    """Maximum classifier discrepancy: two classifiers, and features that leave them nothing to differ on."""

    method: Literal["mcd"]
    """Adaptation method."""
    updates: Literal["one", "three"] = "one"
    """one through a gradient reversal [S], or the three of the original, about six times the time of a step."""
    lam_max: NotNegative = 1.0
    """Final strength of the reversed gradient, with updates one; 1.0 is the default of [S]."""
    feature_updates: Count = 4
    """Updates of the features in a step, with updates three (recalled, not verified)."""
    loss_weight: NotNegative = 1.0
    """Weight of the discrepancy beside the classification loss; 0.2 beside 0.2 in [S]."""


class MMSADAAdaptation(Section):
    """MM-SADA: a discriminator a modality, and self-supervision by modality correspondence [S]."""

    method: Literal["mm_sada"]
    """Adaptation method."""
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


class ContrastiveAdaptation(Section):
    """Contrast across modalities and domains in the style of Kim et al. (arXiv 2108.11974); not a reproduction."""

    method: Literal["contrastive"]
    """Adaptation method."""
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


class TA3NAdaptation(Section):
    """TA3N: attentive alignment of frames, relations and videos, for model temporal_relations on features."""

    method: Literal["ta3n"]
    """Adaptation method."""
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


class AdversarialAdaptation(Section):
    """A domain discriminator a modality behind a gradient reversal: MMIR without its agents."""

    method: Literal["adversarial"]
    """Adaptation method."""
    lam_max: NotNegative = 0.2
    """Final strength of the reversed gradient; 0.2 in [C] and [S], the paper is silent."""
    discriminator_hidden: Count = 128
    """Hidden units of a discriminator [P]."""
    loss_weight: NotNegative = 1.0
    """Weight of the alignment loss beside the classification loss [P]."""
    correspondence_weight: NotNegative = 0.0
    """Weight of MM-SADA's correspondence loss; none [P], 1.0 in [C]'s main script."""


class RewardsSection(Section):
    """Other rewards for the agents: ours, not the paper's. What they are about: epicsub/adaptation/rewards.py."""

    judge: Literal["current", "averaged", "unreversed"] = "current"
    """Discriminator that relevance is read from: in training [P], its running average, or one without reversal."""
    relevance: Literal["discriminator", "entropy", "task"] = "discriminator"
    """What an instance is judged by: the discriminator [P], its prediction's entropy, or that and class distance."""
    quantile: ShareBelowOne | None = None
    """Quantile of a batch's relevance that is the reward's threshold, in place of tau_source and tau_target."""
    continuous: bool = False
    """Reward by the distance from the threshold, -1 to 1, in place of its sign."""


class MMIRAdaptation(Section):
    """Multi-modal instance refinement: agents take instances out before the adversarial alignment [P]."""

    method: Literal["mmir"]
    """Adaptation method."""
    lam_max: NotNegative = 0.2
    """Final strength of the reversed gradient; 0.2 in [C] and [S], the paper is silent."""
    discriminator_hidden: Count = 128
    """Hidden units of a discriminator [P]."""
    loss_weight: NotNegative = 1.0
    """Weight of the alignment loss beside the classification loss [P]."""
    candidates: Annotated[int, Field(ge=2)] = 5
    """Instances of a candidate set [P]."""
    removals: Count = 1
    """Instances an agent takes out of each candidate set, the paper's E [P]."""
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
    """Steps between two copies of an agent into its target network; 48 picks at 8 a step [C]."""
    agent_lr: Positive = 1e-3
    """Learning rate of the agents' own SGD [D]."""
    agent_momentum: ShareBelowOne = 0.9
    """Momentum of the agents' own SGD [D]."""
    agents: Annotated[tuple[AgentName, ...], LIST] | None = None
    """Agents at work; null takes both domains of every modality [P], [] none: adversarial alone."""
    class_instances: Literal["all", "kept"] = "all"
    """Source clips in the classification loss: all [P], or those that no agent of a modality has taken out."""
    correspondence_weight: NotNegative = 0.0
    """Weight of MM-SADA's correspondence loss; none [P], 1.0 in [C]'s main script."""
    flush_replay: bool = False
    """Forget the picks whenever the target network is copied [ours]."""
    rewards: RewardsSection | None = None
    """Other rewards than the paper's [ours]; null is Eqs. 3 and 4."""


class RandomRemovalAdaptation(Section):
    """Control: as many instances out as MMIR takes, evenly at random [ours]."""

    method: Literal["random_removal"]
    """Adaptation method."""
    lam_max: NotNegative = 0.2
    """Final strength of the reversed gradient, as for adversarial."""
    discriminator_hidden: Count = 128
    """Hidden units of a discriminator [P]."""
    loss_weight: NotNegative = 1.0
    """Weight of the alignment loss beside the classification loss [P]."""
    candidates: Annotated[int, Field(ge=2)] = 5
    """Instances of a candidate set, as for mmir [P]."""
    removals: Count = 1
    """Instances taken out of each candidate set, as for mmir [P]."""


class MinDeltaAdaptation(Section):
    """Control: of each candidate set the instance of lowest relevance goes, by a plain rule without agents [ours]."""

    method: Literal["min_delta"]
    """Adaptation method."""
    lam_max: NotNegative = 0.2
    """Final strength of the reversed gradient, as for adversarial."""
    discriminator_hidden: Count = 128
    """Hidden units of a discriminator [P]."""
    loss_weight: NotNegative = 1.0
    """Weight of the alignment loss beside the classification loss [P]."""
    candidates: Annotated[int, Field(ge=2)] = 5
    """Instances of a candidate set, as for mmir [P]."""
    removals: Count = 1
    """Instances taken out of each candidate set, as for mmir [P]."""


class OracleAdaptation(Section):
    """Control on made-up data: planted outliers go first. The ceiling of any refinement of this shape [ours]."""

    method: Literal["oracle"]
    """Adaptation method."""
    outliers: str
    """CSV with a narration_id column that names the planted outliers of source and target lists."""
    lam_max: NotNegative = 0.2
    """Final strength of the reversed gradient, as for adversarial."""
    discriminator_hidden: Count = 128
    """Hidden units of a discriminator [P]."""
    loss_weight: NotNegative = 1.0
    """Weight of the alignment loss beside the classification loss [P]."""
    candidates: Annotated[int, Field(ge=2)] = 5
    """Instances of a candidate set, as for mmir [P]."""
    removals: Count = 1
    """Instances taken out of each candidate set, as for mmir [P]."""


class MMIRPlusAdaptation(Section):
    """Refinement by what the task says of an instance instead of the discriminator: ours, not the paper's."""

    method: Literal["mmir_plus"]
    """Adaptation method."""
    lam_max: NotNegative = 0.2
    """Final strength of the reversed gradient, as for adversarial."""
    discriminator_hidden: Count = 128
    """Hidden units of a discriminator [P]."""
    loss_weight: NotNegative = 1.0
    """Weight of the alignment loss beside the classification loss [P]."""
    share: ShareBelowOne = 0.2
    """Of each domain's clips of a step that the alignment leaves out; 0.2 is what MMIR takes out, 1 of 5."""


Adaptation = Annotated[
    SourceOnly
    | Supervised
    | MMDAdaptation
    | AdaBNAdaptation
    | MCDAdaptation
    | AdversarialAdaptation
    | MMSADAAdaptation
    | ContrastiveAdaptation
    | TA3NAdaptation
    | MMIRAdaptation
    | RandomRemovalAdaptation
    | MinDeltaAdaptation
    | OracleAdaptation
    | MMIRPlusAdaptation,
    Field(discriminator="method"),
]
