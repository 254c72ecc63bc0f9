"""What a batch does to all of its tensors at once."""

import torch

from epicsub.data.batch import Batch, ClipBatch, LabelledClipBatch, Labels


def batch() -> Batch:
    labels = Labels(verb_B=torch.arange(3), noun_B=torch.arange(3), teacher_verb_BV=torch.rand(3, 97))
    clips = {"rgb": torch.rand(3, 3, 2, 4, 4).contiguous(memory_format=torch.channels_last_3d)}
    source = LabelledClipBatch(narration_ids=["a", "b", "c"], clips=clips, labels=labels, partner=labels)
    return Batch(source, ClipBatch(narration_ids=["d"], clips={"rgb": torch.rand(1, 3, 2, 4, 4)}))


def test_to_moves_every_tensor_and_keeps_the_rest() -> None:
    moved = batch().to(torch.device("meta"))
    labels = moved.source.labels
    tensors = [
        moved.source.clips["rgb"],
        labels.verb_B,
        labels.noun_B,
        labels.teacher_verb_BV,
        moved.target.clips["rgb"],
    ]
    assert all(tensor.is_meta for tensor in tensors)
    assert moved.source.partner.verb_B.is_meta
    assert (moved.source.share_B, labels.teacher_noun_BN) == (None, None)
    assert moved.source.narration_ids == ["a", "b", "c"]
    assert moved.source.clips["rgb"].is_contiguous(memory_format=torch.channels_last_3d)


def test_domains_come_by_name_and_a_batch_may_have_no_target() -> None:
    whole = batch()
    assert list(whole.by_domain()) == ["source", "target"]
    alone = Batch(whole.source)
    assert list(alone.by_domain()) == ["source"]
    assert alone.to(torch.device("cpu")).target is None
