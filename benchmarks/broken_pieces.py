"""Break each piece of the adaptation methods in a copy of the code, and see that its tests notice.

    python benchmarks/broken_pieces.py --json benchmarks/results/broken_pieces.json

One piece at a time: its line is changed in the copy, the tests named beside it are run, and the line is put back. A
break is caught when a test fails. The tests pass on the untouched copy first, or nothing is concluded. A line that the
code no longer has stops the script, so that the list cannot fall behind.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from machine import benchmark_parser, write_figures

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("epicsub", "tests", "benchmarks", "recipes", "validation", "pyproject.toml")


class Break(NamedTuple):
    """A change of one line, and who should notice."""

    what: str
    file: str  # under epicsub/
    line: str
    broken: str
    tests: str  # under tests/


A, D = "adaptation/", "adaptation/dqn.py"
STEP, STEPPED = "training/step.py", "training/test_adapting_step.py"
BREAKS = (
    Break("reversal keeps the sign", A + "discriminator.py", "return -ctx.lam * gradient", "return ctx.lam * gradient",
          A + "test_discriminator.py"),
    Break("reversal rises without its factor", A + "discriminator.py", "return lam_max * (2.0 /", "return (2.0 /",
          A + "test_discriminator.py"),
    Break("domain labels swapped", A + "discriminator.py",
          "logits_B.new_zeros(len(source_BD)), logits_B.new_ones(len(target_BD))",
          "logits_B.new_ones(len(source_BD)), logits_B.new_zeros(len(target_BD))", A + "test_discriminator.py"),
    Break("domain loss summed", A + "discriminator.py", "binary_cross_entropy_with_logits(logits_B, labels_B)",
          'binary_cross_entropy_with_logits(logits_B, labels_B, reduction="sum")', A + "test_discriminator.py"),
    Break("probabilities keep the graph", A + "discriminator.py", "@torch.no_grad()\ndef target_probabilities",
          "def target_probabilities", A + "test_discriminator.py"),
    Break("relevance of the target not turned", A + "discriminator.py", "else 1.0 - p_target_B", "else p_target_B",
          A + "test_mmir_refinement.py"),
    Break("reward at the threshold", A + "task.py", "delta_B < threshold", "delta_B <= threshold",
          A + "test_mmir_refinement.py"),
    Break("state aliased by the next", D, "next_state_KND = state_KND.clone()", "next_state_KND = state_KND",
          A + "test_dqn.py"),
    Break("another row zeroed", D, "device=state_KND.device), action_K] = 0.0",
          "device=state_KND.device), action_K - 1] = 0.0", A + "test_dqn.py"),
    Break("epsilon is the probability of the greedy pick", D, "generator=generator) < epsilon)",
          "generator=generator) >= epsilon)", A + "test_dqn.py"),
    Break("value beyond the end", D, "torch.where(batch.done, torch.zeros_like(value_R), value_R)", "value_R",
          A + "test_dqn.py"),
    Break("removed actions in the maximum", D, "best_R = greedy(chooser_RN, batch.available_next)",
          "best_R = chooser_RN.argmax(dim=1)", A + "test_dqn.py"),
    Break("double DQN asks the target which", D, "online(batch.next_state) if double", "q_target_RN if double",
          A + "test_dqn.py"),
    Break("removed actions picked again", D, "q_KN.masked_fill(~available_KN, NEVER)", "q_KN", A + "test_dqn.py"),
    Break("target network learns", D, "copy.deepcopy(self.online).requires_grad_(False)", "self.online",
          A + "test_dqn.py"),
    Break("target network never copied", A + "mmir.py", "_agent(agent).sync()", "pass", A + "test_mmir_losses.py"),
    Break("agents' loss in the backbone's", A + "mmir.py", "return AdaptationLosses(alignment,",
          "return AdaptationLosses(sum(agents, alignment),", A + "test_mmir_losses.py"),
    Break("an instance in two sets", D, "torch.randperm(count, generator=generator)",
          "torch.randint(count, (count,), generator=generator)", A + "test_mmir_refinement.py"),
    Break("nothing is taken out of the domain loss", A + "mmir.py",
          "kept[domain][modality] = f_BD[kept_mask(removed[name], len(f_BD))]", "pass",
          A + "test_mmir_losses.py"),
    Break("class loss loses what was taken out", A + "mmir.py", 'if self.settings.class_instances == "kept" else None',
          "if True else None", A + "test_mmir_switches.py"),
    Break("agents that are off are on", A + "mmir.py", "for name, agent in agents.items() if name in chosen",
          "for name, agent in agents.items()", A + "test_mmir_switches.py"),
    Break("streams multiplied", "models/streams.py", "torch.stack(verb).sum(dim=0)", "torch.stack(verb).prod(dim=0)",
          "models/test_streams.py"),
    Break("mean over one evaluation less", "training/selection.py", "left // self.every < self.count",
          "left // self.every < self.count - 1", "training/test_selection.py"),
    Break("target keeps its labels", "data/domains.py", "replace(segment, verb_class=None, noun_class=None)",
          "segment", "data/test_domains.py"),
    Break("MMD without its cross term", A + "mmd.py", "- 2 * mean_kernel(x_MD, y_ND)", "", A + "test_mmd.py"),
    Break("MMD of distances, not squares", A + "mmd.py", "return (x_MD.square()", "return (x_MD.abs()",
          A + "test_mmd.py"),
    Break("AdaBN's variance is biased", A + "adabn.py", "/ (self.count - 1)", "/ self.count", A + "test_adabn.py"),
    Break("AdaBN averages batches evenly", A + "adabn.py", "self.sum_C += centred_NC.sum(dim=0)",
          "self.sum_C += centred_NC.mean(dim=0)", A + "test_adabn.py"),
    Break("MCD's discrepancy squared", A + "mcd.py", ".abs().sum(dim=1)", ".square().sum(dim=1)", A + "test_mcd.py"),
    Break("MCD thinned by verbs that there are not", A + "mcd.py", "/ count_unmasked(one_BC)", "/ one_BC.shape[1]",
          A + "test_mcd.py"),
    Break("MCD without the reversal", A + "mcd.py", "reverse_gradient(at_least_float32(f_BD), lam)",
          "at_least_float32(f_BD)", A + "test_mcd.py"),
    Break("rolled clips meet their own", A + "mm_sada.py", ".roll(1)", ".roll(0)", A + "test_correspondence.py"),
    Break("correspondence labels turned", A + "mm_sada.py", "torch.arange(count) < count // 2",
          "torch.arange(count) >= count // 2", A + "test_correspondence.py"),
    Break("InfoNCE one way", A + "contrastive.py", "F.cross_entropy(similarity_BB.T, own_B)",
          "F.cross_entropy(similarity_BB, own_B)", A + "test_contrastive.py"),
    Break("anchors without positives divide by 0", A + "contrastive.py", "count_A.clamp_min(1)", "count_A",
          A + "test_contrastive.py"),
    Break("unsure target clips are anchors", A + "contrastive.py", "positive_AB & sure_B[:, None]", "positive_AB",
          A + "test_contrastive.py"),
    Break("TA3N's attention turned", A + "ta3n.py", "(1.0 + domain_entropy_B)", "(1.0 - domain_entropy_B)",
          A + "test_ta3n.py"),
    Break("TA3N's frames not reversed", A + "ta3n.py", "risen * settings.frame_reversal",
          "-risen * settings.frame_reversal",
          A + "test_ta3n.py"),
    Break("min-Delta takes the highest", A + "adversarial.py", "return -delta_B", "return delta_B",
          A + "test_removal.py"),
    Break("MMIR plus takes the surest", A + "mmir_plus.py", "unfitness_B.topk(", "(-unfitness_B).topk(",
          A + "test_mmir_plus.py"),
    Break("a quantile's reward turned", A + "task.py", "delta_B.quantile(quantile)", "delta_B.quantile(1 - quantile)",
          A + "test_rewards.py"),
    Break("agents without a discount", A + "mmir.py", "settings.replay_batch, self.settings.gamma",
          "settings.replay_batch, 0.0", A + "test_mmir_losses.py"),
    Break("agents always double", A + "mmir.py", "self.settings.double, draws", "True, draws",
          A + "test_mmir_losses.py"),
    Break("controls' reversal does not rise", A + "adversarial.py",
          "reversal_strength(batch.progress, self.settings.lam_max)", "self.settings.lam_max", A + "test_removal.py"),
    Break("MMIR plus's reversal does not rise", A + "mmir_plus.py",
          "reversal_strength(batch.progress, self.settings.lam_max)", "self.settings.lam_max", A + "test_mmir_plus.py"),
    Break("the source in the target's place", STEP, "state.model(batch.target.clips)", "output", STEPPED),
    Break("classification weighs 1", STEP, "_class_weight(recipe, stage) * classification", "classification", STEPPED),
    Break("alignment weighs 1", STEP, "recipe.adaptation.alignment_weight * adapted.alignment",
          "adapted.alignment", STEPPED),
    Break("the stage's progress stands still", STEP, "progress=step[1] / stage.length", "progress=0.5", STEPPED),
    Break("agents never step", STEP, "state.agent_optimizer.step(adapted.agent_losses, fabric)", "pass", STEPPED),
)  # fmt: skip


def main() -> None:
    """Break, test, put back; print one line each."""
    parser = benchmark_parser(__doc__)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, copy / name)
        if failed := failing(copy, sorted({piece.tests for piece in BREAKS})):
            raise SystemExit(f"the tests fail on the code as it is, so they prove nothing: {failed}")
        noticed = {piece.what: tried(copy, piece) for piece in BREAKS}
    caught = sum(bool(test) for test in noticed.values())
    print(f"{caught} of {len(BREAKS)} noticed")
    write_figures(arguments.json, {"broken": len(BREAKS), "caught": caught}, noticed=noticed)


def tried(copy: Path, piece: Break) -> str:
    """The first test that fails on the broken piece; empty where none does."""
    path = copy / "epicsub" / piece.file
    text = path.read_text()
    if text.count(piece.line) != 1:
        raise SystemExit(f"{piece.file}: {piece.line!r} stands there {text.count(piece.line)} times, not once")
    path.write_text(text.replace(piece.line, piece.broken))
    found = failing(copy, [piece.tests])
    path.write_text(text)
    print(f"{piece.what}: {found or 'NOT NOTICED'}", flush=True)
    return found


def failing(copy: Path, tests: list[str]) -> str:
    """The first test that fails, by name."""
    words = ["-x", "-q", "-p", "no:cacheprovider", *(f"tests/{name}" for name in tests)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], check=False, cwd=copy, capture_output=True, text=True
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if done.returncode and not lines:
        raise SystemExit(f"{tests}: pytest did not run\n{done.stdout}{done.stderr}")
    return lines[0].split(" - ")[0].removeprefix("FAILED ") if lines else ""


if __name__ == "__main__":
    main()
