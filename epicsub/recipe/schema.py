"""What a recipe holds: every setting of a run, typed and frozen, with its unit, and its source where a paper has it.

Provenance tags: [P] the MMIR paper (arXiv 2311.14281), [C] its released code, [S] MM-SADA's code, [D] our choice.

A `Recipe` made here has the right keys, types and ranges. Whether its settings fit each other is checked by
`load_recipe` and `recipe_from_dict`, which are the ways in.
"""

from typing import Annotated, Literal

from pydantic import Field

from epicsub.recipe.base import (
    FILLED_LIST,
    LIST,
    PAIR,
    Count,
    Level,
    Name,
    NotNegative,
    Positive,
    Section,
    Share,
    ShareAboveZero,
    ShareBelowOne,
    Text,
    ViewSpec,
    WholeNumber,
)

Modality = Literal["rgb", "flow"]
AgentName = Literal["rgb_source", "rgb_target", "flow_source", "flow_target"]
Selection = Literal[
    "last",
    "all_verb_accuracy_at_1",
    "all_noun_accuracy_at_1",
    "all_action_accuracy_at_1",
    "all_verb_accuracy_at_5",
    "all_noun_accuracy_at_5",
    "all_action_accuracy_at_5",
    "tail_verb_accuracy_at_1",
    "tail_noun_accuracy_at_1",
    "tail_action_accuracy_at_1",
    "unseen_verb_accuracy_at_1",
    "unseen_noun_accuracy_at_1",
    "unseen_action_accuracy_at_1",
]


class Supervision(Section):
    """The organisers' supervision levels (arXiv 2008.09890) of a model that this recipe trains; 0 none to 5 most."""

    pretraining: Level
    """sls_pt, level: what the initial weights were trained on (the organisers' default is 2)."""
    labels: Level
    """sls_tl, level: which labels training reads (the organisers' default is 3)."""
    data: Level
    """sls_td, level: which clips training sees; 3 the training list, 4 the validation list too."""


class Augment(Section):
    """Random changes of a training clip; the same for all its frames and modalities."""

    crop: Literal["scale_jitter", "random_resized"]
    """How the square is cut: TSN's 13 offsets at one of `scales` [C], or any place and shape of a share of the area."""
    scales: Annotated[tuple[ShareAboveZero, ...], FILLED_LIST] | None = None
    """Sides of the crop as shares of the short side (scale_jitter only); 1, .875, .75, .66 in [C]."""
    area: Annotated[tuple[ShareAboveZero, ...], PAIR] | None = None
    """Smallest and largest share of the picture's area (random_resized only)."""
    flip: Share
    """Probability of a mirrored clip; flow changes the sign of u with it. 0.5 in [C]."""
    color_jitter: NotNegative = 0.0
    """Largest relative change of brightness, contrast and saturation, rgb only; 0 is none."""


class Data(Section):
    """Which clips, and how they are cut from the videos."""

    root: Text | None = None
    """Data folder; null takes --data, $EPICSUB_DATA or data/."""
    source: Annotated[tuple[Text, ...], FILLED_LIST]
    """Labelled lists under annotations/."""
    target: Annotated[tuple[Text, ...], LIST] = ()
    """Lists under annotations/ to adapt to, without their labels, drawn from in balance; none = no adaptation."""
    skip: Text | None = None
    """File of narration ids to leave out, one a line; null leaves out none."""
    modalities: Annotated[tuple[Modality, ...], FILLED_LIST]
    """What the model sees, in this order."""
    decoder: Literal["auto", "pyav", "torchcodec", "decord"] = "auto"
    """What decodes the videos; auto takes the fastest that loads."""
    frames: Count
    """Frames of a clip."""
    sampling: Literal["dense", "uniform"]
    """dense: a window of frames * stride seconds; uniform: one frame from each equal part of the segment."""
    stride: Positive | None = None
    """Seconds between two frames (dense only); 1/30 s is every second frame at 60 frames a second [S]."""
    short_side: Count
    """Pixels of the picture's short side after resizing."""
    size: Count
    """Pixels of the square that the model sees."""
    augment: Augment
    """Random changes of a training clip."""
    workers: WholeNumber | None = None
    """Processes that decode; null chooses by the machine, 0 decodes in the training process."""


class I3DModel(Section):
    """One Inception I3D a modality (arXiv 1705.07750), verb and noun heads, sum of the streams' logits [P]."""

    name: Literal["i3d"]
    """Model."""
    width: Positive = 1.0
    """Share of the paper's channels in every layer; published weights need 1.0."""
    dropout: ShareBelowOne = 0.5
    """Probability of dropping a pooled feature [P]."""
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Share of a batch in the running statistics; 0.01 as published, more where a run has few steps."""
    weights: dict[Modality, Text | None]
    """Initial weights of each modality: a published name, a file, or null for random ones."""


class FrameLSTMModel(Section):
    """An image backbone on each frame, a bidirectional LSTM over them, the mean over time, verb and noun heads."""

    name: Literal["frame_lstm"]
    """Model."""
    backbone: Text
    """Name of a timm model, e.g. resnet50.tv2_in1k."""
    hidden: Count = 1024
    """Units of the LSTM in each direction."""
    layers: Count = 2
    """Layers of the LSTM."""
    dropout: ShareBelowOne = 0.3
    """Probability of dropping a unit between the LSTM's layers."""
    weights: Text | None
    """Initial weights of the backbone: "timm" for those timm publishes, a file, or null for random ones."""


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


class Stage(Section):
    """A stretch of training with its own batch and learning rate."""

    steps: Count
    """Optimiser steps."""
    learning_rate: Positive
    """Learning rate, the highest of the schedule."""
    source_batch: Count
    """Labelled clips a step, over all devices."""
    target_batch: WholeNumber = 0
    """Unlabelled clips a step, over all devices; 0 is a stage without adaptation."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate over the stage's steps; cosine ends at 0."""
    warmup_steps: WholeNumber = 0
    """Steps of linear warm-up at the stage's start."""


class Optimizer(Section):
    """The optimiser of model and discriminators."""

    name: Literal["sgd", "adam", "adamw"]
    """Optimiser; sgd in [C] and [S], though both papers write Adam."""
    momentum: ShareBelowOne = 0.9
    """Momentum of sgd, first beta of adam and adamw."""
    weight_decay: NotNegative
    """Weight decay a step."""


class Train(Section):
    """The course of training."""

    stages: Annotated[tuple[Stage, ...], FILLED_LIST]
    """Stages, one after the other."""
    optimizer: Optimizer
    """The optimiser of model and discriminators."""
    class_weight: Positive = 1.0
    """Weight of the classification loss in stages that adapt; 1.0 [P], 0.2 in [S]."""
    clip_grad: Positive | None = None
    """Largest norm of the gradient; null does not clip."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Floating point of the forward and backward pass."""
    devices: Count = 1
    """Devices that share a step's batch."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Kind of device; auto takes the best there is."""
    log_every: Count
    """Steps between two lines of the log."""
    checkpoint_every: Count
    """Steps between two checkpoints."""
    evaluate_every: Count | None
    """Steps between two evaluations on the protocol's validation list; null never evaluates."""
    select: Selection
    """Which checkpoint becomes best.pth: last, or the one with the highest of this score."""


class EvaluationSettings(Section):
    """How the model is scored and how it predicts."""

    protocol: Text = "validation/ek100.yaml"
    """File that names the lists, counts and class subsets."""
    views: ViewSpec = "1x1"
    """Temporal clips x spatial crops of a segment, +flip for mirrored ones too."""
    batch_size: Count
    """Segments a forward pass."""


class Recipe(Section):
    """One run: data, model, adaptation, training and evaluation."""

    name: Name
    """Name of the run and of its folder under outputs/."""
    description: Text
    """One sentence for lists and reports."""
    seed: WholeNumber
    """Seed of weights, order, crops and agents."""
    supervision: Supervision
    """The organisers' supervision levels of the trained model."""
    data: Data
    """Which clips, and how they are cut from the videos."""
    model: Annotated[I3DModel | FrameLSTMModel, Field(discriminator="name")]
    """The network."""
    adaptation: Annotated[SourceOnly | AdversarialAdaptation | MMIRAdaptation, Field(discriminator="method")]
    """How the network is adapted to the target lists."""
    train: Train
    """The course of training."""
    evaluation: EvaluationSettings
    """How the model is scored and how it predicts."""
