"""Settings of `adaptation` that must fit each other, the data and the stages."""

from collections.abc import Iterator

from epicsub.recipe.settings import Settings
from epicsub.recipe.yaml_tree import Problem, shown

NO_TARGET = ("source_only", "supervised")
TWO_MODALITIES = ("mm_sada", "contrastive")
"""Methods between modalities."""
SETS = ("mmir", "random_removal", "min_delta", "oracle")
"""Methods that deal a batch into candidate sets."""
LEAST_ROLLED = 3
"""Clips of a domain: one that keeps its pair, and two that swap."""


def _trains_on_source(settings: Settings) -> bool:
    """Whether training sees no target clip: of AdaBN's strict variant only what follows it does."""
    method = settings["adaptation.method"]
    return method in NO_TARGET or (method == "adabn" and settings["adaptation.variant"] == "strict")


def _target_lists(settings: Settings) -> Iterator[Problem]:
    method, target = settings["adaptation.method"], settings["data.target"]
    if method in NO_TARGET and target:
        text = f"is {shown(list(target))}, but adaptation.method {method} reads no target list: leave it out"
        yield Problem("data.target", text)
    if method not in NO_TARGET and not target:
        yield Problem("data.target", f"is empty, but adaptation.method {method} needs a list to adapt to")


def _some_stage_adapts(settings: Settings) -> Iterator[Problem]:
    method = settings["adaptation.method"]
    batches = [settings[f"train.stages.{stage}.target_batch"] for stage in settings.stages()]
    if not _trains_on_source(settings) and batches and not any(batches):
        yield Problem("train.stages", f"no stage has a target_batch above 0, so adaptation.method {method} never runs")


def _correspondence(settings: Settings) -> float:
    """Weight of the correspondence loss where the method has it as an option."""
    method = settings["adaptation.method"]
    return settings["adaptation.correspondence_weight"] if method in ("adversarial", "mmir") else 0.0


def _modalities(settings: Settings) -> Iterator[Problem]:
    method, modalities = settings["adaptation.method"], settings["data.modalities"]
    if len(modalities) > 1:
        return
    if method in TWO_MODALITIES:
        text = f"is {method}, which needs two data.modalities or more, not {shown(list(modalities))}"
        yield Problem("adaptation.method", text)
    if _correspondence(settings):
        text = f"is above 0, which needs two data.modalities or more, not {shown(list(modalities))}"
        yield Problem("adaptation.correspondence_weight", text)


def _weights_of_stages(settings: Settings) -> Iterator[Problem]:
    if settings["adaptation.method"] != "mm_sada":
        return
    for name in ("adversarial_weights", "correspondence_weights"):
        weights = settings[f"adaptation.{name}"]
        if len(weights) != len(settings.stages()):
            text = f"has {len(weights)} weights for {len(settings.stages())} stages: give one for each"
            yield Problem(f"adaptation.{name}", text)
            continue
        for stage, weight in enumerate(weights):
            if weight and not settings[f"train.stages.{stage}.target_batch"]:
                text = (
                    f"is {shown(weight)} in a stage without target_batch, where it has no effect: give a target_batch"
                )
                yield Problem(f"adaptation.{name}", f"{text} to train.stages.{stage}, or write 0")


def _relations_model(settings: Settings) -> Iterator[Problem]:
    method, name = settings["adaptation.method"], settings["model.name"]
    if method == "ta3n" and name != "temporal_relations":
        text = f"is ta3n, which aligns frames and relations: it needs model.name temporal_relations, not {name}"
        yield Problem("adaptation.method", text)
    if name == "temporal_relations" and settings["model.attention"] != (method == "ta3n"):
        said = "true, but nothing but ta3n trains it" if method != "ta3n" else "false, but ta3n is about it"
        yield Problem("model.attention", f"is {said}: write {'false' if method != 'ta3n' else 'true'}")


def _last_is_adapted(settings: Settings) -> Iterator[Problem]:
    strict = settings["adaptation.method"] == "adabn" and settings["adaptation.variant"] == "strict"
    if strict and settings["train.select"] != "last":
        text = "the last checkpoint alone has the target's statistics of adabn's variant strict: write last"
        yield Problem("train.select", f"is {shown(settings['train.select'])}, but {text}")


def _agents(settings: Settings) -> Iterator[Problem]:
    if settings["adaptation.method"] != "mmir" or settings["adaptation.agents"] is None:
        return
    agents, modalities = settings["adaptation.agents"], settings["data.modalities"]
    for index, agent in enumerate(agents):
        if agent.partition("_")[0] not in modalities:
            text = f"is {shown(agent)}, but data.modalities is {shown(list(modalities))}"
            yield Problem(f"adaptation.agents.{index}", text)
        if agent in agents[:index]:
            yield Problem(f"adaptation.agents.{index}", f"is {shown(agent)}, which stands there twice")


def _removals(settings: Settings) -> Iterator[Problem]:
    if settings["adaptation.method"] not in SETS:
        return
    removals, candidates = settings["adaptation.removals"], settings["adaptation.candidates"]
    if removals >= candidates:
        yield Problem("adaptation.removals", f"is {removals}, must be below adaptation.candidates ({candidates})")


def _replay(settings: Settings) -> Iterator[Problem]:
    if settings["adaptation.method"] != "mmir":
        return
    batch, size = settings["adaptation.replay_batch"], settings["adaptation.replay_size"]
    if batch >= size:
        text = f"is {batch}, must be below adaptation.replay_size ({size}), or the agents never learn"
        yield Problem("adaptation.replay_batch", text)


def _rewards(settings: Settings) -> Iterator[Problem]:
    """Switches of our own rewards that would have no effect."""
    if settings["adaptation.method"] != "mmir":
        return
    if settings["adaptation.flush_replay"] and settings["adaptation.epsilon_schedule"] == "decay":
        yield Problem("adaptation.flush_replay", "is true, but epsilon_schedule decay counts the picks that it forgets")
    if settings["adaptation.rewards"] is None:
        return
    judge, relevance = settings["adaptation.rewards.judge"], settings["adaptation.rewards.relevance"]
    if judge != "current" and relevance != "discriminator":
        text = f"is {judge}, but adaptation.rewards.relevance {relevance} asks no discriminator: leave it out"
        yield Problem("adaptation.rewards.judge", text)


def _stage_flush(settings: Settings, stage: str) -> Iterator[Problem]:
    """Picks that are forgotten before there are enough to learn from."""
    if settings["adaptation.method"] != "mmir" or not settings["adaptation.flush_replay"]:
        return
    smaller = min(settings[f"{stage}.{name}"] for name in ("source_batch", "target_batch"))
    picks = smaller // settings["adaptation.candidates"] * settings["adaptation.removals"]
    held, batch = picks * settings["adaptation.sync_every"], settings["adaptation.replay_batch"]
    if smaller and held <= batch:
        text = f"is true, but an agent makes {held} picks between two copies and learns from {batch}"
        yield Problem("adaptation.flush_replay", f"{text}: lower adaptation.replay_batch or raise sync_every")


def _stage_target(settings: Settings, stage: str) -> Iterator[Problem]:
    batch, method = settings[f"{stage}.target_batch"], settings["adaptation.method"]
    if batch and _trains_on_source(settings):
        why = "sees no target clip" if method in NO_TARGET else "with variant strict sees target clips after training"
        yield Problem(f"{stage}.target_batch", f"is {batch}, but adaptation.method {method} {why}: write 0")


def _stage_class_weight(settings: Settings, stage: str) -> Iterator[Problem]:
    weight, batch = settings[f"{stage}.class_weight"], settings[f"{stage}.target_batch"]
    if weight is not None and not batch:
        text = f"is {shown(weight)}, but a stage without target_batch has the classification loss alone: leave it out"
        yield Problem(f"{stage}.class_weight", text)


def _stage_correspondence(settings: Settings, stage: str) -> Iterator[Problem]:
    """A rolled half of one clip would meet itself."""
    if settings["adaptation.method"] != "mm_sada" and not _correspondence(settings):
        return
    for name in ("source_batch", "target_batch"):
        batch = settings[f"{stage}.{name}"]
        if settings[f"{stage}.target_batch"] and batch < LEAST_ROLLED:
            yield Problem(f"{stage}.{name}", f"is {batch}, must be at least {LEAST_ROLLED} to roll half of the pairs")


def _stage_candidates(settings: Settings, stage: str) -> Iterator[Problem]:
    """Candidate sets that leave a remainder would keep it unseen by the agents."""
    if settings["adaptation.method"] not in SETS or not settings[f"{stage}.target_batch"]:
        return
    candidates = settings["adaptation.candidates"]
    for name in ("source_batch", "target_batch"):
        batch = settings[f"{stage}.{name}"]
        if batch % candidates:
            below = max(batch // candidates, 1) * candidates
            text = f"is {batch}, must be a multiple of adaptation.candidates ({candidates})"
            yield Problem(f"{stage}.{name}", f"{text}: the nearest are {below} and {below + candidates}")


ADAPTATION_RELATIONS = (
    _target_lists,
    _some_stage_adapts,
    _modalities,
    _weights_of_stages,
    _relations_model,
    _last_is_adapted,
    _agents,
    _removals,
    _replay,
    _rewards,
)
ADAPTATION_STAGE_RELATIONS = (
    _stage_target,
    _stage_class_weight,
    _stage_correspondence,
    _stage_candidates,
    _stage_flush,
)
