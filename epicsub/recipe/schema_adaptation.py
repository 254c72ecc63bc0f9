"""`adaptation` of a recipe: one section a method. Tags as in schema.py."""

from typing import Annotated, Literal

from pydantic import Field

from epicsub.recipe.base import FILLED_LIST, Count, NotNegative, Positive, Section, Share, ShareBelowOne

AgentName = Literal["rgb_source", "rgb_target", "flow_source", "flow_target"]


class SourceOnly(Section):
    """No adaptation: training never sees a target clip."""

    method: Literal["source_only"]
    """Adaptation method."""


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
    agents: Annotated[tuple[AgentName, ...], FILLED_LIST] | None = None
    """Agents at work; null takes both domains of every modality [P]."""


Adaptation = Annotated[SourceOnly | AdversarialAdaptation | MMIRAdaptation, Field(discriminator="method")]
