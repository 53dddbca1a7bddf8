"""The networks of torchvision with random weights at small sizes, in both modes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torchvision import models, ops

from zoo.registry import ZOO, Graph, Made, MissingError, graph, leaf, run

MOST = 100_000_000
"""Parameters of the largest network that is tried: each is held five times, in 4 bytes."""

SIDES = {"inception_v3": 299}
QUICK = {"squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "resnet18"}


def _check_size(name: str) -> None:
    """Leave a network out that is too large; a smaller one of its family is there."""
    count = next(iter(models.get_model_weights(name))).meta["num_params"]
    if count > MOST:
        raise MissingError(f"{count / 1e6:.0f} million parameters")


def _classifier(name: str, mode: str) -> tuple[Any, ...]:
    _check_size(name)
    options: dict[str, Any] = {"weights": None, "num_classes": 10}
    side = SIDES.get(name, 64)
    if name.startswith("vit_"):
        options["image_size"] = side
    if name in {"googlenet", "inception_v3"}:
        options["init_weights"] = False
    if name == "maxvit_t":
        build: Any = partial(
            models.MaxVit, (64, 64), 16, 2, [16, 32], [1, 1], 8, stochastic_depth_prob=0.2
        )
        options, side = {"num_classes": 10}, 64
    else:
        build = models.get_model_builder(name)
    return run(build(**options).train(mode == "train"), torch.randn(2, 3, side, side))


def _segmentation(name: str, mode: str) -> tuple[Any, ...]:
    build = models.get_model_builder(name)
    options: dict[str, Any] = {} if name.startswith("lraspp") else {"aux_loss": True}
    model = build(weights=None, weights_backbone=None, num_classes=5, **options)
    return run(model.train(mode == "train"), torch.randn(2, 3, 48, 48))


def _targets() -> list[dict[str, Tensor]]:
    boxes = torch.tensor([[4.0, 6.0, 40.0, 50.0], [20.0, 10.0, 60.0, 44.0]])
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, 6:50, 4:40] = masks[1, 10:44, 20:60] = 1
    points = torch.cat([torch.rand(2, 17, 2) * 20 + 22, torch.ones(2, 17, 1)], 2)
    one = {"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks, "keypoints": points}
    return [one, {key: value.flip(0) for key, value in one.items()}]


def _detection(name: str, mode: str) -> tuple[Any, ...]:
    build = models.get_model_builder(name)
    options: dict[str, Any] = {"num_classes": 2} if "keypoint" in name else {"num_classes": 3}
    if not name.startswith("ssd"):
        options |= {"min_size": 64, "max_size": 64}
    model = build(weights=None, weights_backbone=None, **options).train(mode == "train")
    if mode == "eval":  # random weights are unsure of everything
        for part in (model, getattr(model, "roi_heads", None)):
            if hasattr(part, "score_thresh"):
                part.score_thresh, part.detections_per_img = 0.0, 8
    targets = _targets()
    if "keypoint" in name:
        for one in targets:
            one["labels"].fill_(1)
    return run(model, list(torch.rand(2, 3, 64, 64)), targets if mode == "train" else None)


def _flow(name: str, mode: str) -> tuple[Any, ...]:
    model = models.get_model(name, weights=None).train(mode == "train")
    return run(model, *torch.rand(2, 1, 3, 128, 128), num_flow_updates=2)


def _video(name: str, mode: str) -> tuple[Any, ...]:
    frames, side = (14, 224) if name == "s3d" else (4, 64 if name.startswith("mvit") else 32)
    build, small = models.video.mvit._mvit, {"spatial_size": (64, 64), "temporal_size": 4}
    # Their builders set sizes of 16 images of 224 by 224.
    with patch.object(models.video.mvit, "_mvit", lambda **given: build(**(given | small))):
        model = models.get_model(name, weights=None, num_classes=5)
    clips = torch.randn(1 if name == "s3d" else 2, 3, frames, side, side)
    return run(model.train(mode == "train"), clips)


def _quantised(name: str, _: str) -> tuple[Any, ...]:
    """Quantisation-aware training: fake quantisation with observers that learn in forward."""
    from torch.ao.quantization import get_default_qat_qconfig, prepare_qat

    build = getattr(models.quantization, name)
    model = build(weights=None, quantize=False, num_classes=10).train()
    model.fuse_model(is_qat=True)
    model.qconfig = get_default_qat_qconfig("fbgemm")
    return run(prepare_qat(model), torch.randn(2, 3, 64, 64))


FAMILIES: tuple[tuple[str, Any, Callable[..., Any]], ...] = (
    ("classification", models, _classifier),
    ("segmentation", models.segmentation, _segmentation),
    ("detection, with its losses", models.detection, _detection),
    ("optical flow", models.optical_flow, _flow),
    ("video", models.video, _video),
)


def _add_networks() -> None:
    for kind, module, make in FAMILIES:
        for name in models.list_models(module=module):
            for mode in ("train", "eval"):
                ZOO[f"{name}, {mode}"] = Graph(
                    f"torchvision: {kind}", partial(make, name, mode), slow=name not in QUICK
                )
    for name in ("mobilenet_v2", "mobilenet_v3_large", "resnet18", "googlenet"):
        ZOO[f"{name}, quantisation-aware"] = Graph(
            "torchvision: quantisation-aware training", partial(_quantised, name, ""), slow=True
        )


_add_networks()
OPS = "torchvision: operators"
BOXES = torch.tensor([[0.0, 1.0, 2.0, 9.0, 9.5], [0.0, 0.0, 3.0, 7.0, 8.0]])


@graph(OPS)
def roi_operators() -> Made:
    x = leaf(1, 8, 12, 12)
    parts = [
        ops.roi_align(x, BOXES, (2, 2), sampling_ratio=2, aligned=True),
        ops.roi_pool(x, BOXES, (2, 2)),
        ops.ps_roi_align(x, BOXES, (2, 2)),
        ops.ps_roi_pool(x, BOXES, (2, 2)),
    ]
    return torch.stack([one.sin().sum() for one in parts]).sum(), {"x": x}


@graph(OPS)
def deformable_convolution() -> Made:
    x, w, b = leaf(2, 4, 8, 8), leaf(6, 2, 3, 3), leaf(6)
    offset, mask = leaf(2, 18, 6, 6), leaf(2, 9, 6, 6)
    out = ops.deform_conv2d(x, offset, w, b, mask=mask.sigmoid())
    return out.square().mean(), {"x": x, "w": w, "b": b, "offset": offset, "mask": mask}


@graph(OPS)
def losses_of_boxes() -> Made:
    one, other = leaf(4, 2), leaf(4, 2)
    mine, theirs = torch.cat([one, one.exp() + one], 1), torch.cat([other, other.exp() + other], 1)
    losses = (ops.generalized_box_iou_loss, ops.complete_box_iou_loss, ops.distance_box_iou_loss)
    found = [loss(mine, theirs, reduction="sum") for loss in losses]
    focal = ops.sigmoid_focal_loss(mine, (theirs > 0).float(), reduction="mean")
    return torch.stack([*found, focal]).sum(), {"one": one, "other": other}


@graph(OPS)
def blocks() -> tuple[Any, ...]:
    model = nn.Sequential(
        ops.Conv2dNormActivation(3, 8, norm_layer=ops.FrozenBatchNorm2d),
        ops.SqueezeExcitation(8, 2),
        ops.StochasticDepth(0.5, "row"),
        ops.DropBlock2d(0.3, 3),
    )
    return run(model, torch.randn(4, 3, 8, 8))


@graph(OPS)
def transformed_images() -> Made:
    from torchvision.transforms import v2

    x = leaf(2, 3, 16, 16)
    turn = v2.Compose([v2.RandomAffine(20, (0.1, 0.1)), v2.GaussianBlur(3), v2.Resize((9, 9))])
    return turn(x.sigmoid()).sin().sum(), {"x": x}


@graph(OPS)
def tv_tensors() -> Made:
    from torchvision import tv_tensors as kinds
    from torchvision.transforms.v2 import functional

    x = kinds.Image(torch.rand(1, 3, 8, 8)).requires_grad_()
    return functional.gaussian_blur(x, [3, 3]).square().sum(), {"x": x}
