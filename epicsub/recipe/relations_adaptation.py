"""Settings of `adaptation` that must fit each other, the data and the stages."""

from collections.abc import Iterator

from epicsub.recipe.settings import Settings
from epicsub.recipe.yaml_tree import Problem, shown


def _target_lists(settings: Settings) -> Iterator[Problem]:
    method, target = settings["adaptation.method"], settings["data.target"]
    if method == "source_only" and target:
        text = f"is {shown(list(target))}, but adaptation.method source_only reads no target list: leave it out"
        yield Problem("data.target", text)
    if method != "source_only" and not target:
        yield Problem("data.target", f"is empty, but adaptation.method {method} needs a list to adapt to")


def _some_stage_adapts(settings: Settings) -> Iterator[Problem]:
    method = settings["adaptation.method"]
    batches = [settings[f"train.stages.{stage}.target_batch"] for stage in settings.stages()]
    if method != "source_only" and batches and not any(batches):
        yield Problem("train.stages", f"no stage has a target_batch above 0, so adaptation.method {method} never runs")


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
    if settings["adaptation.method"] != "mmir":
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


def _stage_target(settings: Settings, stage: str) -> Iterator[Problem]:
    batch = settings[f"{stage}.target_batch"]
    if settings["adaptation.method"] == "source_only" and batch:
        text = f"is {batch}, but adaptation.method source_only sees no target clip: write 0"
        yield Problem(f"{stage}.target_batch", text)


def _stage_candidates(settings: Settings, stage: str) -> Iterator[Problem]:
    """Candidate sets that leave a remainder would keep it unseen by the agents."""
    if settings["adaptation.method"] != "mmir" or not settings[f"{stage}.target_batch"]:
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
    _agents,
    _removals,
    _replay,
)
ADAPTATION_STAGE_RELATIONS = (
    _stage_target,
    _stage_candidates,
)
