"""The gradients of a run's batch after an epoch, as a file of the run."""

from __future__ import annotations

from pathlib import Path

from mnist_cli.autograd import dumps
from mnist_cli.base.files import atomic_write
from mnist_cli.config.names import dataset_label
from mnist_cli.gradients.batch_loss import BatchLoss, choose_batch
from mnist_cli.gradients.dump import make_dump
from mnist_cli.networks.ensemble import first_member
from mnist_cli.training.session import Session


def write_epoch_dump(session: Session, epoch: int) -> Path:
    """Write ``grad/epoch-NNNN.json``, always of the batch that ``mnist inspect-grad`` takes.

    Uses a copy of the network, or of an ensemble's first member, since a batch norm in training
    mode would remember the batch. Random numbers come from forked generators. The dump therefore
    does not change the run's bits.
    """
    state, config, data, compute = session.state, session.config, session.data, session.compute
    batch = choose_batch(data.cut(config).train, None, config.seed)
    subject = BatchLoss(
        model=first_member(state.model).train(),
        name=config.model.label,
        images=session.normalisation(batch.images.to(compute.device).float()),
        labels=batch.labels.to(compute.device),
        indices=tuple(batch.indices.tolist()),
        dataset=dataset_label(data.spec.name),
        split="train",
        device=compute.device,
        precision=compute.precision,
        seed=config.seed,
        training=True,
        smoothing=config.label_smoothing,
        deterministic=config.deterministic,
        source=session.run.last,
    )
    graph = make_dump(subject).graph.with_context(epoch=epoch, step=state.step)
    path = session.run.gradients / f"epoch-{epoch:04d}.json"
    atomic_write(path, dumps(graph), parents=True)
    return path
