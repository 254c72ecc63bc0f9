"""`adaptation` of a recipe: MMIR and its controls, which remove instances. Tags as in schema.py."""

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from epicsub.modality import MODALITIES
from epicsub.recipe.base import LIST, AlignmentSection, Count, NotNegative, Positive, Section, Share, ShareBelowOne
from epicsub.recipe.yaml_tree import Problem, format_value

if TYPE_CHECKING:
    AgentName = str
else:  # an agent per domain of each modality
    AgentName = Literal[tuple(f"{modality}_{domain}" for modality, domain in product(MODALITIES, ("source", "target")))]


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
    """Steps between two copies of an agent into its target network; 48 picks at 8 a step [C]."""
    agent_lr: Positive = 1e-3
    """Learning rate of the agents' own SGD [D]."""
    agent_momentum: ShareBelowOne = 0.9
    """Momentum of the agents' own SGD [D]."""
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


def check_refinement(adaptation: RefinementSection) -> Iterator[Problem]:
    """Check that the settings of a method that removes instances fit each other.

    Args:
        adaptation: The section.

    Yields:
        What does not fit.
    """
    if adaptation.removals >= adaptation.candidates:
        text = f"is {adaptation.removals}, must be below adaptation.candidates ({adaptation.candidates})"
        yield Problem("adaptation.removals", text)
    if isinstance(adaptation, MMIRAdaptation):
        yield from _check_agents(adaptation)


def _check_agents(mmir: MMIRAdaptation) -> Iterator[Problem]:
    agents = mmir.agents or ()
    for index, agent in enumerate(agents):
        if agent in agents[:index]:
            yield Problem(f"adaptation.agents.{index}", f"is {format_value(agent)}, which is listed twice")
    if mmir.replay_batch >= mmir.replay_size:
        text = f"is {mmir.replay_batch}, must be below adaptation.replay_size ({mmir.replay_size})"
        yield Problem("adaptation.replay_batch", f"{text}, or the agents never learn")
